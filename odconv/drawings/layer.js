// One layer: its shapes, the equation with its four terms, and the four attentions with their numbers.

const layerPanels = {
  spatial: (head, state, { span, words }) => {
    const k = head.values.length;
    const side = Math.min(62, 200 / k);
    const cells = head.values.flatMap((row, y) =>
      row.map((value, x) => {
        const [cx, cy] = [at((x + 0.5) * side), (y + 0.5) * side + (head.ghost ? -3 : 4)];
        const ghost = head.ghost ? `<text x="${cx}" y="${at(cy + 15)}" class="middle tiny ghost-text">${numberText(head.ghost[y][x], span)}</text>` : "";
        const half = span ? 21 : 17;
        const number = side >= 40
          ? `<rect x="${at((x + 0.5) * side - half)}" y="${at(cy - 13)}" width="${2 * half}" height="${head.ghost ? 33 : 18}" rx="4" class="plate"/>
             <text x="${cx}" y="${at(cy)}" class="middle">${numberText(value, span)}</text>${ghost}` : "";
        return `<rect x="${at(x * side)}" y="${at(y * side)}" width="${at(side)}" height="${at(side)}" style="fill:${shade("spatial", value, span)}" class="tap"><title>${esc(fill(words.tap, { row: y + 1, column: x + 1, value: numberText(value, span, 3) }))}</title></rect>${number}`;
      }),
    );
    return svgOf(k * side + 1, k * side + 1, `role="img" aria-label="${esc(head.alt)}"`, cells.join(""));
  },

  channel: (head, state, data) => layerProfile("channel", head, state, data),
  filter: (head, state, data) => layerProfile("filter", head, state, data),

  kernel: (head, state, { span, words }) => {
    const width = state.panel, height = 150;
    const step = Math.min(64, width / head.values.length), bar = step * 0.68;
    const y = (value) => 20 + height * (1 - along(value, span));
    const bars = head.values
      .map((value, i) => {
        const x = i * step + (step - bar) / 2, top = Math.min(y(value), y(0)), high = Math.abs(y(value) - y(0));
        const ghost = head.ghost
          ? `<line x1="${at(x - 3)}" x2="${at(x + bar + 3)}" y1="${at(y(head.ghost[i]))}" y2="${at(y(head.ghost[i]))}" class="ghost-line"/>` : "";
        const label = head.kept[i] ? numberText(value, span) : words.left_out;
        const text = step >= 26
          ? `<text x="${at(x + bar / 2)}" y="${at(value < 0 ? Math.min(top + high + 14, height + 16) : top - 5)}" class="middle halo">${esc(label)}</text>
             <text x="${at(x + bar / 2)}" y="${height + 36}" class="middle faint">W${i + 1}</text>` : "";
        return `<rect x="${at(x)}" y="20" width="${at(bar)}" height="${height}" class="${head.kept[i] ? "well" : "absent"}"/>
          <rect x="${at(x)}" y="${at(top)}" width="${at(bar)}" height="${at(high)}" style="fill:${kernelTone(i, head.values.length)}"><title>${esc(fill(words.kernel, { kernel: i + 1, value: numberText(value, span, 3) }))}</title></rect>${ghost}${text}`;
      })
      .join("");
    const wide = step * head.values.length;
    const axis = span ? `<line x2="${at(wide)}" y1="${at(y(0))}" y2="${at(y(0))}" class="axis"/>` : "";
    return svgOf(wide, height + 42, `role="img" aria-label="${esc(head.alt)}"`, bars + axis);
  },
};

const PROFILE = { top: 8, height: 150, left: 38 };

const profileOrder = (head, sorted) => {
  const order = head.values.map((_, i) => i);
  return sorted ? order.sort((a, b) => head.values[b] - head.values[a]) : order;
};

const profileRange = (head, fitted, span) => {
  const all = head.values.concat(head.ghost ?? []);
  if (!fitted) return span ? [-span, span] : [0, Math.max(1, ...all)];
  const low = Math.min(...all), high = Math.max(...all), margin = Math.max((high - low) * 0.05, 0.005);
  return span ? [Math.min(0, low) - margin, Math.max(0, high) + margin] : [Math.max(0, low - margin), high + margin];
};

const layerProfile = (name, head, state, { span, words }) => {
  const { top, height, left } = PROFILE, width = state.panel - left - 4;
  const order = profileOrder(head, state.sorted), [low, high] = profileRange(head, state.fitted, span);
  const step = width / order.length;
  const y = (value) => at(top + height * (1 - (value - low) / (high - low)));
  const steps = (values) => order.map((i, x) => `${at(left + x * step)},${y(values[i])} ${at(left + (x + 1) * step)},${y(values[i])}`).join(" ");
  const ticks = [low, (low + high) / 2, high]
    .map((v) => `<line x1="${left}" x2="${at(left + width)}" y1="${y(v)}" y2="${y(v)}" class="grid"/><text x="${left - 5}" y="${Number(y(v)) + 4}" class="end tiny">${numberText(v, span)}</text>`)
    .join("");
  const base = top + height, from = span ? y(0) : base;
  const axis = state.sorted ? words.sorted_axis : fill(words.channel_axis, { last: order.length - 1 });
  const content = `${ticks}
    <polygon points="${left},${from} ${steps(head.values)} ${at(left + width)},${from}" style="fill:var(--${name})"/>
    ${span ? `<line x1="${left}" x2="${at(left + width)}" y1="${from}" y2="${from}" class="axis"/>` : ""}
    ${head.ghost ? `<polyline points="${steps(head.ghost)}" class="ghost-line"/>` : ""}
    <line class="cursor" y1="${top}" y2="${base}"/>
    <text x="${left}" y="${base + 15}" class="faint">${esc(axis)}</text>`;
  return `${svgOf(state.panel, base + 20, `role="img" aria-label="${esc(head.alt)}" data-profile="${name}"`, content)}
    <p class="readout" aria-hidden="true">&nbsp;</p>`;
};

const followPointer = (root, data, state) => {
  for (const svg of root.querySelectorAll("[data-profile]")) {
    const head = data.heads[svg.dataset.profile], order = profileOrder(head, state.sorted);
    const cursor = svg.querySelector(".cursor"), readout = svg.nextElementSibling;
    const width = state.panel - PROFILE.left - 4;
    svg.onpointermove = (event) => {
      const box = svg.getBoundingClientRect(), shrunk = box.width / state.panel;
      const x = (event.clientX - box.left) / shrunk - PROFILE.left;
      const i = order[Math.min(Math.max(Math.floor((x / width) * order.length), 0), order.length - 1)];
      cursor.setAttribute("transform", `translate(${at(Math.min(Math.max(x, 0), width) + PROFILE.left)} 0)`);
      readout.textContent = fill(head.ghost ? data.words.channel_and_trained : data.words.channel, {
        channel: i,
        value: numberText(head.values[i], data.span, 3),
        trained: head.ghost ? numberText(head.ghost[i], data.span, 3) : "",
      });
    };
    svg.onpointerleave = () => {
      cursor.removeAttribute("transform");
      readout.textContent = "\u00a0";
    };
  }
};

const equation = (data) => {
  const term = (head, symbol, sub) =>
    data.heads[head].absent
      ? `<span class="term gone" title="${esc(data.heads[head].absent)}">${symbol}<sub>${sub}</sub></span>`
      : `<span class="term" style="border-color:var(--${head})">${symbol}<sub>${sub}</sub></span>`;
  return `<p class="equation"><span class="hidden">${esc(data.equation)}</span><span aria-hidden="true">y = ${term("filter", "a", "f")} · [ (
    ${term("spatial", "a", "s")} · Σ<sub>i</sub> ${term("kernel", "a", "w,i")} W<sub>i</sub> ) ∗ ( ${term("channel", "a", "c")} · x ) ]</span></p>
    <p class="shapes">${data.shapes.map((shape) => `<span>${esc(shape)}</span>`).join(" ")}<span class="line">${esc(data.cost)}</span></p>`;
};

const drawLayer = (root, data) =>
  drawAtWidth(root, (state) => {
    const columns = state.width >= 900 ? 4 : state.width >= 520 ? 2 : 1;
    state.panel = (state.width - (columns - 1) * 28) / columns;
    state.sorted ??= false;
    state.fitted ??= false;
    const panel = (name) => {
      const head = data.heads[name];
      return `<section aria-label="${esc(head.title)}">
        <h4 style="border-color:var(--${name})">${esc(head.title)}</h4>
        ${head.absent
          ? `<p class="why">${esc(head.absent)}</p>`
          : `${layerPanels[name](head, state, data)}<p class="statistics">${esc(head.statistics)}</p><p class="caption">${esc(head.caption)}</p>`}</section>`;
    };
    const toggle = (id, on, text) => `<button id="${state.id}-${id}" type="button" aria-pressed="${on}">${esc(text)}</button>`;
    const choices = `<div class="choices" role="group" aria-label="${esc(data.words.choices)}">
        ${toggle("sorted", state.sorted, data.words.sort)} ${toggle("fitted", state.fitted, data.words.fit)}
        ${state.fitted ? `<span class="faint">${esc(data.words.fitted)}</span>` : ""}</div>`;
    replace(root, `${equation(data)}<div class="panels" style="--columns:${columns}">${HEADS.map(panel).join("")}</div>${choices}`);
    for (const id of ["sorted", "fitted"]) {
      root.querySelector(`#${state.id}-${id}`).onclick = () => {
        state[id] = !state[id];
        state.draw(state);
      };
    }
    followPointer(root, data, state);
  });
