// One layer: its shapes, the equation with its four terms, and the four attentions with their numbers.

// The trained numbers beside those that are drawn; none while they are drawn themselves.
const trainedOf = (head, state) => (state.held ? null : head.trained?.values);

const layerPanels = {
  spatial: (head, state, data) => {
    const { span, words } = data, ghost = trainedOf(head, state);
    const k = head.values.length;
    const side = Math.min(62, 200 / k);
    const cells = head.values.flatMap((row, y) =>
      row.map((value, x) => {
        const [cx, cy] = [at((x + 0.5) * side), (y + 0.5) * side + (ghost ? -3 : 4)];
        const before = ghost ? `<text x="${cx}" y="${at(cy + 15)}" class="middle ghost-text">${numberText(ghost[y][x], span)}</text>` : "";
        const half = span ? 21 : 17;
        const number = side >= 40
          ? `<rect x="${at((x + 0.5) * side - half)}" y="${at(cy - 13)}" width="${2 * half}" height="${ghost ? 33 : 18}" rx="4" class="plate"/>
             <text x="${cx}" y="${at(cy)}" class="middle">${numberText(value, span)}</text>${before}` : "";
        return `<rect x="${at(x * side)}" y="${at(y * side)}" width="${at(side)}" height="${at(side)}" style="fill:${shade("spatial", value, data)}" class="tap"><title>${esc(fill(words.tap, { row: y + 1, column: x + 1, value: numberText(value, span, 3) }))}</title></rect>${number}`;
      }),
    );
    return svgOf(k * side + 1, k * side + 1, `role="img" aria-label="${esc(head.alt)}"`, cells.join(""));
  },

  channel: (head, state, data) => layerProfile("channel", head, state, data),
  filter: (head, state, data) => layerProfile("filter", head, state, data),

  kernel: (head, state, data) => {
    const { span, words } = data, trained = trainedOf(head, state);
    const width = state.panel, height = 150;
    const step = Math.min(64, width / head.values.length), bar = step * 0.68;
    const y = (value) => 20 + height * (1 - along(value, span));
    const bars = head.values
      .map((value, i) => {
        const x = i * step + (step - bar) / 2, top = Math.min(y(value), y(0)), high = Math.abs(y(value) - y(0));
        const ghost = trained
          ? `<line x1="${at(x - 3)}" x2="${at(x + bar + 3)}" y1="${at(y(trained[i]))}" y2="${at(y(trained[i]))}" class="ghost-line"/>` : "";
        const label = head.kept[i] ? numberText(value, span) : words.left_out;
        const text = step >= 30
          ? numberPlate(label, x + bar / 2, value < 0 ? Math.min(top + high + 15, height + 16) : top - 5) +
            `<text x="${at(x + bar / 2)}" y="${height + 36}" class="middle faint">W${i + 1}</text>` : "";
        const color = span ? shade("kernel", value, data) : kernelTone(i, head.values.length);
        return `<rect x="${at(x)}" y="20" width="${at(bar)}" height="${height}" class="${head.kept[i] ? "well" : "absent"}"/>
          <rect x="${at(x)}" y="${at(top)}" width="${at(bar)}" height="${at(high)}" style="fill:${color}"><title>${esc(fill(words.kernel, { kernel: i + 1, value: numberText(value, span, 3) }))}</title></rect>${ghost}${text}`;
      })
      .join("");
    const wide = step * head.values.length;
    const axis = span ? `<line x2="${at(wide)}" y1="${at(y(0))}" y2="${at(y(0))}" class="axis"/>` : "";
    return svgOf(wide, height + 42, `role="img" aria-label="${esc(head.alt)}"`, bars + axis);
  },
};

const PROFILE = { top: 20, height: 150, left: 38 };

const profileOrder = (head, sorted) => {
  const order = head.values.map((_, i) => i);
  return sorted ? order.sort((a, b) => head.values[b] - head.values[a]) : order;
};

const profileRange = (head, trained, fitted, span) => {
  const all = head.values.concat(trained ?? []);
  if (!fitted) return span ? [-span, span] : [0, Math.max(1, ...all)];
  const low = Math.min(...all), high = Math.max(...all), margin = Math.max((high - low) * 0.05, 0.005);
  return span ? [Math.min(0, low) - margin, Math.max(0, high) + margin] : [Math.max(0, low - margin), high + margin];
};

const layerProfile = (name, head, state, data) => {
  const { span, words } = data, trained = trainedOf(head, state);
  const { top, height, left } = PROFILE, width = state.panel - left - 4;
  const order = profileOrder(head, state.sorted), [low, high] = profileRange(head, trained, state.fitted, span);
  const step = width / order.length;
  const y = (value) => at(top + height * (1 - Math.min(Math.max((value - low) / (high - low), 0), 1)));
  const ticks = [low, (low + high) / 2, high]
    .map((v) => `<line x1="${left}" x2="${at(left + width)}" y1="${y(v)}" y2="${y(v)}" class="grid"/><text x="${left - 5}" y="${Number(y(v)) + 4}" class="end">${numberText(v, span)}</text>`)
    .join("");
  const base = top + height, from = span ? y(0) : at(base);
  const axis = state.sorted ? words.sorted_axis : fill(words.channel_axis, { last: order.length - 1 });
  const content = `${ticks}
    ${profileBars(name, order.map((i) => head.values[i]), left, step, y, from, data)}
    ${span ? `<line x1="${left}" x2="${at(left + width)}" y1="${from}" y2="${from}" class="axis"/>` : ""}
    ${trained ? trainedMarks(order.map((i) => trained[i]), left, step, y) : ""}
    ${trained ? `<text x="${at(left + width)}" y="${top - 8}" class="end faint">${esc(marksText(words, step))}</text>` : ""}
    <line class="cursor" y1="${top}" y2="${base}"/>
    <text x="${left}" y="${base + 15}" class="faint">${esc(axis)}</text>`;
  return `${svgOf(state.panel, base + 20, `role="img" aria-label="${esc(head.alt)}" data-profile="${name}"`, content)}
    <p class="readout" aria-hidden="true">&nbsp;</p>`;
};

const followPointer = (root, data, state) => {
  for (const svg of root.querySelectorAll("[data-profile]")) {
    const head = shownOf(data.heads[svg.dataset.profile], state), order = profileOrder(head, state.sorted);
    const cursor = svg.querySelector(".cursor"), readout = svg.nextElementSibling;
    const trained = trainedOf(head, state);
    const width = state.panel - PROFILE.left - 4;
    svg.onpointermove = (event) => {
      const box = svg.getBoundingClientRect(), shrunk = box.width / state.panel;
      const x = (event.clientX - box.left) / shrunk - PROFILE.left;
      const i = order[Math.min(Math.max(Math.floor((x / width) * order.length), 0), order.length - 1)];
      cursor.setAttribute("transform", `translate(${at(Math.min(Math.max(x, 0), width) + PROFILE.left)} 0)`);
      readout.textContent = fill(trained ? data.words.channel_and_trained : data.words.channel, {
        channel: i,
        value: numberText(head.values[i], data.span, 3),
        trained: trained ? numberText(trained[i], data.span, 3) : "",
      });
    };
    svg.onpointerleave = () => {
      cursor.removeAttribute("transform");
      readout.textContent = "\u00a0";
    };
  }
};

// What a panel draws: while the button is held, the network as trained.
const shownOf = (head, state) => (state.held && head.trained ? { ...head, ...head.trained } : head);

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
    if (!root.querySelector(".panels")) {
      const button = (name) => `<button type="button" class="${name}"></button>`;
      root.innerHTML = `<div class="about"></div><div class="panels"></div>
        <div class="choices" role="group">${button("sort")} ${button("fit")} ${HOLD_BUTTON} <span class="chosen faint"></span></div>
        <div class="foot"><p class="tones"></p><p class="note"></p></div>`;
    }
    const columns = state.width >= 1100 ? 4 : state.width >= 560 ? 2 : 1;
    state.panel = (state.width - (columns - 1) * 28) / columns;
    const heads = Object.fromEntries(HEADS.map((name) => [name, shownOf(data.heads[name], state)]));
    const panel = (name) => {
      const head = heads[name];
      return `<section aria-label="${esc(head.title)}">
        <h4 style="border-color:var(--${name})">${esc(head.title)}</h4>
        ${head.absent
          ? `<p class="why">${esc(head.absent)}</p>`
          : `${layerPanels[name](head, state, data)}<p class="statistics">${esc(head.statistics)}</p><p class="caption">${esc(head.caption)}</p>`}</section>`;
    };
    const part = (name) => root.querySelector(name);
    part(".about").innerHTML = equation(data);
    part(".panels").style.setProperty("--columns", columns);
    part(".panels").innerHTML = HEADS.map(panel).join("");
    part(".choices").setAttribute("aria-label", data.words.choices);
    part(".chosen").textContent = state.fitted ? data.words.fitted : "";
    for (const [name, choice] of [["sort", "sorted"], ["fit", "fitted"]]) {
      const button = part(`.${name}`);
      button.textContent = data.words[name];
      button.setAttribute("aria-pressed", Boolean(state[choice]));
      button.onclick = () => {
        state[choice] = !state[choice];
        state.draw(state);
      };
    }
    updateHold(part(".hold"), data.words.hold, HEADS.some((name) => data.heads[name].trained), state);
    part(".foot").hidden = !data.span;
    part(".tones").innerHTML = data.span ? toneKey(data) : "";
    part(".note").textContent = data.note;
    followPointer(root, data, state);
  });
