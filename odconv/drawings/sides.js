// Two passes side by side: a side's picture and what its network says; how far the sides differ in every layer; and one layer
// of both, head by head, with the difference. Needs prediction.js and side_by_side.js.

const drawSide = (root, data) => {
  if (!root.querySelector(".side")) {
    root.innerHTML = `<div class="side"><img><div><p class="side-title"></p><p class="faint"></p><div class="said"></div></div></div>`;
  }
  const image = root.querySelector("img"), { thumbnail, alt, title } = data.picture;
  image.hidden = !thumbnail;
  if (thumbnail && image.src !== thumbnail) image.src = thumbnail;
  image.alt = alt;
  root.querySelector(".side-title").textContent = title;
  root.querySelector(".faint").textContent = data.caption;
  drawPrediction(root.querySelector(".said"), data.prediction);
};

const MAP = { gutter: 74, row: 23, gap: 2, top: 20, least: 13, most: 40 };

// Layers from left to right, heads from top to bottom. Click or arrow keys choose a layer, as at a glance.
const drawDifferences = (root, data, act) =>
  drawAtWidth(root, (state) => {
    if (data.selected === state.wanted || performance.now() - (state.chosenAt ?? 0) > 3000) state.wanted = undefined;
    state.selected = state.wanted ?? data.selected;
    if (!root.querySelector("[role=listbox]")) {
      root.innerHTML = `<p class="caption"></p><div role="listbox" tabindex="0" aria-orientation="horizontal"></div>
        <div class="foot"><p class="tones"></p><p class="note"></p></div>`;
    }
    const { layers, words, top } = data, { gutter, row, gap, least, most } = MAP;
    const room = Math.max(1, Math.floor((state.width - gutter) / least)), bands = Math.max(1, Math.ceil(layers.length / room));
    const per = Math.max(1, Math.ceil(layers.length / bands)), column = Math.min(most, (state.width - gutter) / per);
    const foot = MAP.top + HEADS.length * (row + gap);
    const band = (some, first) => {
      const names = HEADS.map((head, i) => {
        const y = MAP.top + i * (row + gap);
        return `<rect y="${y}" width="4" height="${row}" style="fill:var(--${head})"/><text x="10" y="${y + row / 2 + 4}">${esc(words.heads[head])}</text>`;
      }).join("");
      const columns = some.map((layer, i) => {
        const x = gutter + i * column, starts = i === 0 || some[i - 1].stage !== layer.stage;
        const cells = HEADS.map((head, n) => {
          const size = layer.sizes[n], place = `x="${at(x + 1)}" y="${MAP.top + n * (row + gap)}" width="${at(column - 2)}" height="${row}"`;
          return size === null ? `<rect ${place} class="absent"/>` : `<rect ${place} class="tap" style="fill:${tone(head, size / top)}" data-size="${size}"/>`;
        }).join("");
        return `${starts ? `<text x="${at(x + 1)}" y="12" class="faint">${esc(layer.stage)}</text>` : ""}
          <g role="option" id="${state.id}-${first + i}" data-index="${first + i}" aria-selected="${layer.name === state.selected}" aria-label="${esc(layer.alt)}">
          <title>${esc(layer.alt)}</title><rect x="${at(x)}" y="${MAP.top - 3}" width="${at(column)}" height="${foot - MAP.top + 4}" rx="3" class="column"/>${cells}</g>`;
      }).join("");
      return svgOf(state.width, foot + 3, 'role="presentation"', names + columns);
    };
    const list = root.querySelector("[role=listbox]");
    const index = () => layers.findIndex((layer) => layer.name === state.selected);
    root.querySelector(".caption").textContent = data.title;
    list.setAttribute("aria-label", data.alt);
    list.setAttribute("aria-activedescendant", `${state.id}-${index()}`);
    list.innerHTML = Array.from({ length: bands }, (_, i) => band(layers.slice(i * per, (i + 1) * per), i * per)).join("");
    const ramps = HEADS.map((head) => `<i style="background:linear-gradient(to right,${[0, 0.25, 0.5, 0.75, 1].map((v) => tone(head, v)).join(",")})"></i>`).join("");
    root.querySelector(".tones").innerHTML = `<span>${esc(data.scale[0])}</span><span class="ramps">${ramps}</span><span>${esc(data.scale[1])}</span>`;
    root.querySelector(".note").textContent = data.note;
    const choose = (i) => {
      const layer = layers[i];
      if (!layer || layer.name === state.selected) return;
      state.selected = state.wanted = layer.name; // shown at once, before the page has answered
      state.chosenAt = performance.now();
      for (const option of list.querySelectorAll("[role=option]")) option.setAttribute("aria-selected", Number(option.dataset.index) === i);
      list.setAttribute("aria-activedescendant", `${state.id}-${i}`);
      act.choose(layer.name);
    };
    list.onclick = (event) => {
      const option = event.target.closest("[role=option]");
      if (option) choose(Number(option.dataset.index));
    };
    list.onkeydown = (event) => {
      const here = index();
      const there = { ArrowRight: here + 1, ArrowLeft: here - 1, ArrowDown: here + per, ArrowUp: here - per, Home: 0, End: layers.length - 1 }[event.key];
      if (there === undefined) return;
      event.preventDefault();
      choose(there);
    };
  });

const SIDES = { height: 40, name: 76, gap: 20 };

const drawSides = (root, data) =>
  drawAtWidth(root, (state) => {
    const wide = state.width >= 560, { height, gap } = SIDES, gutter = wide ? SIDES.name : 0;
    const cell = (state.width - gutter - 2 * gap - (wide ? gap : 0)) / 3;
    const draw = (head, one, i) => {
      if (one.absent) return `<p class="why small">${esc(one.absent)}</p>`;
      const how = i === 2 ? data : { ...data, span: null };
      const extra = head === "kernel" ? 17 : 0;
      return `${svgOf(cell, height + extra, `role="img" aria-label="${esc(one.alt)}"`, comparedCells[head](one.values, null, cell, height, how))}
        <p class="faint">${esc(one.statistics)}</p>`;
    };
    const row = ({ head, name, cells }) => `<section class="sides-row" data-head="${head}" aria-label="${esc(name)}"><p class="sides-name" style="border-color:var(--${head})">${esc(name)}</p>
      ${cells.map((one, i) => `<div data-side="${i}">${draw(head, one, i)}</div>`).join("")}</section>`;
    root.innerHTML = `<div class="sides${wide ? " wide" : ""}" style="--gutter:${gutter}px;--gap:${gap}px">
      <div class="sides-row heading"><span></span>${data.titles.map((title) => `<h4>${esc(title)}</h4>`).join("")}</div>
      ${data.rows.map(row).join("")}</div>
      <div class="foot"><p class="tones">${data.compared ? toneKey(data) : ""}</p><p class="note">${esc(data.note)}</p></div>`;
  });
