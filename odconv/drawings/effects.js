// The map of effects: layers from left to right, heads from top to bottom, a cell for the effect of that one switch. Click, or
// arrow keys and Enter, choose a cell.

const EFFECTS = { gutter: 74, row: 26, gap: 2, top: 20, least: 17, most: 44 };

const drawEffects = (root, data, act) =>
  drawAtWidth(root, (state) => {
    const { layers, words, span } = data, { gutter, row, gap, top, least, most } = EFFECTS;
    if (!root.querySelector("[role=grid]")) {
      root.innerHTML = `<div role="grid" tabindex="0"></div><div class="foot"><p class="tones"></p><p class="note"></p></div><p class="readout" aria-hidden="true">&nbsp;</p><p class="sentence"></p>`;
    }
    const grid = root.querySelector("[role=grid]"), readout = root.querySelector(".readout");
    const room = Math.max(1, Math.floor((state.width - gutter) / least)), bands = Math.max(1, Math.ceil(layers.length / room));
    const per = Math.max(1, Math.ceil(layers.length / bands)), column = Math.min(most, (state.width - gutter) / per);
    const height = top + HEADS.length * (row + gap) + 16;
    state.at ??= [0, 0]; // layer and head that the keyboard is at
    const chosen = (layer, head) => data.selected?.layer === layer.name && data.selected.head === head;
    const cell = (layer, i, x, n) => {
      const one = layer.cells[n], place = `x="${at(x + 1)}" y="${top + n * (row + gap)}" width="${at(column - 2)}" height="${row}"`;
      if (!one) return `<rect ${place} class="absent"><title>${esc(words.no_head)}</title></rect>`;
      const fill = one.value === null ? "transparent" : shade(one.head, one.value, data);
      return `<g role="gridcell" id="${state.id}-${i}-${n}" data-layer="${i}" data-head="${n}" data-value="${one.value ?? ""}" aria-selected="${chosen(layer, one.head)}" aria-label="${esc(one.title)}">
        <title>${esc(one.title)}</title><rect ${place} class="${one.value === null ? "absent" : "tap"}" style="fill:${fill}"/></g>`;
    };
    const band = (some, first) => {
      const rows = HEADS.map((head, n) => {
        const y = top + n * (row + gap);
        return `<g role="row"><rect y="${y}" width="4" height="${row}" style="fill:var(--${head})"/><text x="10" y="${y + row / 2 + 4}">${esc(words.heads[head])}</text>
          ${some.map((layer, i) => cell(layer, first + i, gutter + i * column, n)).join("")}</g>`;
      }).join("");
      const titles = some.map((layer, i) => {
        const x = gutter + i * column, starts = i === 0 || some[i - 1].stage !== layer.stage;
        return `${starts ? `<text x="${at(x + 1)}" y="12" class="faint">${esc(layer.stage)}</text>` : ""}${column >= 22 ? `<text x="${at(x + column / 2)}" y="${height - 4}" class="middle faint">${esc(layer.label)}</text>` : ""}`;
      }).join("");
      return svgOf(state.width, height, 'role="presentation"', titles + rows);
    };
    grid.setAttribute("aria-label", data.alt);
    grid.innerHTML = Array.from({ length: bands }, (_, i) => band(layers.slice(i * per, (i + 1) * per), i * per)).join("");
    root.querySelector(".tones").innerHTML = toneKey(data);
    root.querySelector(".note").textContent = data.note;
    root.querySelector(".sentence").textContent = data.sentence;

    const stand = (i, n) => {
      const one = layers[i]?.cells[n];
      grid.querySelector(".here")?.classList.remove("here");
      readout.textContent = one?.title ?? (layers[i] ? words.no_head : "\u00a0");
      const found = grid.querySelector(`#${state.id}-${i}-${n}`);
      found?.classList.add("here");
      grid.setAttribute("aria-activedescendant", found?.id ?? "");
    };
    const choose = ([i, n]) => layers[i]?.cells[n] && act.choose({ layer: layers[i].name, head: layers[i].cells[n].head });
    const cellOf = (event) => event.target.closest("[role=gridcell]");
    grid.onclick = (event) => {
      const found = cellOf(event);
      if (!found) return;
      state.at = [Number(found.dataset.layer), Number(found.dataset.head)];
      choose(state.at);
    };
    grid.onpointermove = (event) => {
      const found = cellOf(event);
      if (found) stand(Number(found.dataset.layer), Number(found.dataset.head));
    };
    grid.onfocus = () => stand(...state.at);
    grid.onkeydown = (event) => {
      const [i, n] = state.at, last = layers.length - 1;
      const next = {
        ArrowRight: [Math.min(i + 1, last), n], ArrowLeft: [Math.max(i - 1, 0), n], ArrowDown: [i, Math.min(n + 1, 3)], ArrowUp: [i, Math.max(n - 1, 0)],
        Home: [0, n], End: [last, n],
      }[event.key];
      if (next) stand(...(state.at = next));
      else if (event.key === "Enter" || event.key === " ") choose(state.at);
      else return;
      event.preventDefault();
    };
    if (grid.matches(":focus")) stand(...state.at);
  });
