// All layers x four heads. One column a layer; click or arrow keys choose one. Spatial: the k x k taps as a small map.
// Channel and filter: a cell a channel, in channel order, row by row. Kernel: a row for each of W1..WK, as long as its share.
// Differences from what is typical: the same cells, and the kernels' rows filled, in the tones of a difference.

const GLANCE_GAP = 6;
const GLANCE_LEAST = 20; // px of a column
const GLANCE_PATIENCE = 3000; // ms after which a choice that was not answered is given up
const KERNEL_ROW = 12; // px, where there are up to four kernels

const glanceCells = {
  spatial: (layer, ghost, w, h, data) => {
    const k = Math.round(Math.sqrt(layer.spatial.length));
    const side = w / k;
    return layer.spatial
      .map((value, i) => {
        const [x, y] = [(i % k) * side, Math.floor(i / k) * side];
        const dot = ghost
          ? `<circle cx="${at(x + side / 2)}" cy="${at(y + side / 2)}" r="${at(side / 5)}" style="fill:${shade("spatial", ghost.spatial[i], data)}"/>`
          : "";
        return `<rect x="${at(x)}" y="${at(y)}" width="${at(side)}" height="${at(side)}" style="fill:${shade("spatial", value, data)}"/>${dot}`;
      })
      .join("") + `<rect width="${at(w)}" height="${at(w)}" class="frame"/>`;
  },
  channel: (layer, ghost, w, h, data) => glanceStrip("channel", layer.channel, w, h, data),
  filter: (layer, ghost, w, h, data) => glanceStrip("filter", layer.filter, w, h, data),
  kernel: (layer, ghost, w, h, data) => {
    const count = layer.kernel.length, row = h / count, high = at(row > 4 ? row - 2 : row);
    return layer.kernel.map((value, i) => {
      const y = at(i * row + (row > 4 ? 1 : 0)), middle = at((i + 0.5) * row);
      if (data.span) {
        const dot = ghost ? `<circle cx="${at(w / 2)}" cy="${middle}" r="${at(Math.min(3, row / 3))}" style="fill:${shade("kernel", ghost.kernel[i], data)}"/>` : "";
        return `<rect y="${y}" width="${w}" height="${high}" style="fill:${shade("kernel", value, data)}"/>${dot}`;
      }
      const tick = ghost ? `<rect x="${at(ghost.kernel[i] * (w - 2))}" y="${at(i * row)}" width="2" height="${at(row)}" class="tick"/>` : "";
      return `<rect y="${y}" width="${w}" height="${high}" class="well"/>
        <rect y="${y}" width="${at(value * w)}" height="${high}" style="fill:${kernelTone(i, count)}"/>${tick}`;
    }).join("");
  },
};

// The paths of a strip's cells. Kept, since they are the same for every step of a drag: writing thousands of them is slow.
const stripPaths = new Map();
const stripCells = (w, h, columns, count) => {
  const key = [w, h, columns, count].join(), wide = w / columns, high = h / Math.ceil(count / columns);
  const cell = (_, i) => `M${at((i % columns) * wide)} ${at(Math.floor(i / columns) * high)}h${at(wide)}v${at(high)}h-${at(wide)}z`;
  if (!stripPaths.has(key)) stripPaths.set(key, Array.from({ length: count }, cell));
  return stripPaths.get(key);
};

const glanceStrip = (head, { levels, columns }, w, h, data) => {
  const bytes = atob(levels), cells = stripCells(w, h, columns, bytes.length);
  const color = (share) => shade(head, data.span ? (2 * share - 1) * data.span : share, data);
  return `<rect width="${w}" height="${h}" class="well"/><g class="cells">${inTones(bytes.length, (i) => cells[i], (i) => bytes.charCodeAt(i) / 255, color)}</g>`;
};

const legendLine = ([first = "", ...rest]) => (rest.length ? `${first} · ${rest.join(" ")}` : first);

// The rows W1..WK are named where there is room for a line of text, else the first and the last; with the kernel's tone, where
// the rows are not in the tones of differences.
const kernelNames = (count, height, end, toned) => {
  const row = height / count, all = row >= KERNEL_ROW;
  return Array.from({ length: count }, (_, i) => !all && i && i < count - 1 ? "" :
    `<text x="${end - 11}" y="${at(Math.max((i + 0.5) * row + 4, all ? 0 : 9))}" class="end">W${i + 1}</text>${toned ? "" : `
     <rect x="${end - 8}" y="${at(i * row + 1)}" width="5" height="${at(Math.max(row - 2, 2))}" style="fill:${kernelTone(i, count)}"/>`}`).join("");
};

// How the cells of a head lie in its row of the drawing: so many, ``columns`` side by side.
const glanceGrid = (head, values) => {
  if (head === "kernel") return { columns: 1, count: values.length };
  if (head === "spatial") return { columns: Math.round(Math.sqrt(values.length)), count: values.length };
  return { columns: values.columns, count: atob(values.levels).length };
};
const glanceValues = (layer, held, head) => ((held && layer.ghost) || layer)[head];

// Which cell is under the pointer: its layer's place, head and place there; null where there is none.
const glanceCellUnder = ({ layers, held }, event) => {
  const group = event.target.closest("[data-head]");
  if (!group) return null;
  const at = Number(group.closest("[role=option]").dataset.index), { head } = group.dataset, values = glanceValues(layers[at], held, head);
  if (!values) return null;
  const box = group.getBoundingClientRect(), { columns, count } = glanceGrid(head, values);
  const index = (part, most) => Math.min(Math.floor(part * most), most - 1);
  const entry = index((event.clientY - box.top) / box.height, Math.ceil(count / columns)) * columns + index((event.clientX - box.left) / box.width, columns);
  return entry < count ? { at, head, entry } : null;
};

// What a cell is, in words: of a channel's the tone is known, and so about what its gate is.
const readGlanceCell = ({ layers, words, span, held }, cell) => {
  if (!cell) return "";
  const { head, entry } = cell, layer = layers[cell.at], values = glanceValues(layer, held, head);
  const said = (key, more) => fill(words[key], { layer: layer.name, head: words.heads[head], ...more });
  if (head === "kernel") return said("cell_kernel", { kernel: entry + 1, value: numberText(values[entry], span) });
  if (head === "spatial") {
    const { columns } = glanceGrid(head, values);
    return said("cell_tap", { row: Math.floor(entry / columns) + 1, column: (entry % columns) + 1, value: numberText(values[entry], span) });
  }
  const { pool, count } = values, share = atob(values.levels).charCodeAt(entry) / 255, value = numberText(span ? (2 * share - 1) * span : share, span);
  return pool === 1 ? said("cell_channel", { channel: entry, value }) : said("cell_channels", { first: entry * pool, last: Math.min((entry + 1) * pool, count) - 1, value });
};

// The cell that Shift and an arrow key lead to from another one of the same layer: up and down to another head, else along.
const glanceCellBeside = (data, at, cell, key) => {
  const present = HEADS.filter((head) => glanceValues(data.layers[at], data.held, head));
  const count = (head) => glanceGrid(head, glanceValues(data.layers[at], data.held, head)).count;
  if (!present.length) return null;
  if (cell?.at !== at || !present.includes(cell.head)) return { at, head: present[0], entry: 0 };
  const by = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1 }[key];
  if (key === "ArrowUp" || key === "ArrowDown") {
    const head = present[Math.min(Math.max(present.indexOf(cell.head) + by, 0), present.length - 1)];
    return head === cell.head ? cell : { at, head, entry: 0 };
  }
  return { ...cell, entry: Math.min(Math.max(cell.entry + by, 0), count(cell.head) - 1) };
};

// A frame around the cell that the keys have led to.
const frameGlanceCell = (list, data, cell) => {
  list.querySelector(".cell-here")?.remove();
  const group = cell && list.querySelector(`[data-index="${cell.at}"] [data-head="${cell.head}"]`);
  if (!group) return;
  const { width, height } = group.getBBox(), { columns, count } = glanceGrid(cell.head, glanceValues(data.layers[cell.at], data.held, cell.head));
  const wide = width / columns, high = height / Math.ceil(count / columns);
  group.insertAdjacentHTML("beforeend", `<rect x="${at((cell.entry % columns) * wide)}" y="${at(Math.floor(cell.entry / columns) * high)}" width="${at(wide)}" height="${at(high)}" class="cell-here"/>`);
};

const drawGlance = (root, data, act) =>
  drawAtWidth(root, (state) => {
    // A layer that was chosen here and is on its way: data that were sent before do not take it back.
    if (data.selected === state.wanted || performance.now() - (state.chosenAt ?? 0) > GLANCE_PATIENCE) state.wanted = undefined;
    state.selected = state.wanted ?? data.selected;
    if (!root.querySelector("[role=listbox]")) {
      root.innerHTML = `<div role="listbox" tabindex="0" aria-orientation="horizontal"></div>
        <div class="foot"><p class="tones"></p><p class="readout" role="status"></p>${HOLD_BUTTON}</div><p class="note kept"></p>`;
    }
    const compared = data.layers.some((layer) => layer.ghost);
    updateHold(root.querySelector(".hold"), data.words.hold, compared, state);
    const wide = state.width >= 560;
    const gutter = wide ? 118 : 34;
    // All layers in one band where columns of a text of three signs hold them; else bands whose columns are easier to hit.
    const room = state.width - gutter, one = wide && room / data.layers.length >= GLANCE_LEAST;
    const most = Math.max(1, Math.floor(room / (wide ? 30 : 36)));
    const bands = one ? 1 : Math.ceil(data.layers.length / most);
    const per = Math.ceil(data.layers.length / bands);
    const column = Math.min(76, room / per);
    const w = Math.floor(column * 0.84);
    const strip = bands > 1 ? 64 : w >= 40 ? 128 : 96; // whole pixels for each of 32 rows
    const kernels = Math.max(1, ...data.layers.map((layer) => layer.kernel?.length ?? 1));
    const words = wide ? 14 * (1 + data.legend.spatial.length) : 0; // a narrow map is lower than the lines beside it
    const heights = { spatial: Math.max(w, words), channel: strip, filter: strip, kernel: Math.max(4, kernels) * (kernels > 4 ? 5 : (w >= 40 ? 15 : KERNEL_ROW)) };
    const title = wide ? 0 : 16; // on a phone a head's name stands above its row

    const band = (layers, first) => {
      let y = 19;
      const rows = HEADS.map((head) => {
        const height = heights[head], top = y + title;
        y = top + height + GLANCE_GAP;
        return { head, top, height };
      });
      const numbers = y + 6, foot = y + 21; // base lines: effective kernels, and the layers' labels
      const names = `<g transform="translate(0 ${rows[3].top})">${kernelNames(kernels, rows[3].height, gutter - 2, data.span)}</g>`;
      const labels = rows
        .map(({ head, top, height }) =>
          wide
            ? `<rect x="0" y="${at(top)}" width="4" height="${at(height)}" style="fill:var(--${head})"/>
               <text x="11" y="${at(top + 12)}" class="strong">${esc(data.words.heads[head])}</text>
               ${data.legend[head].map((line, i) => `<text x="11" y="${at(top + 26 + 14 * i)}" class="faint">${esc(line)}</text>`).join("")}`
            : `<rect x="0" y="${at(top - 12)}" width="8" height="8" style="fill:var(--${head})"/>
               <text x="12" y="${at(top - 4)}" class="faint"><tspan class="strong">${esc(data.words.heads[head])}</tspan> ${esc(legendLine(data.legend[head]))}</text>`,
        )
        .join("");
      const counted = kernels > 1 && wide ? `<text x="11" y="${at(numbers)}" class="faint">${esc(data.words.effective)}</text>` : "";
      const columns = layers
        .map((layer, i) => {
          const x = Math.round(gutter + i * column + (column - w) / 2);
          const shown = state.held && layer.ghost ? layer.ghost : layer, ghost = state.held ? null : layer.ghost;
          const cells = rows
            .map(({ head, top, height }) => {
              const cell = shown[head]
                ? glanceCells[head](shown, ghost, w, height, data)
                : `<rect width="${at(w)}" height="${at(head === "spatial" ? w : height)}" class="absent"/><text x="${at(w / 2)}" y="${at((head === "spatial" ? w : height) / 2 + 4)}" class="middle faint">${w < 20 ? "–" : esc(data.words.no_head)}</text>`;
              return `<g transform="translate(${x} ${at(top)})" data-head="${head}">${cell}</g>`;
            })
            .join("");
          const effective = shown.kernel ? `<text x="${at(x + w / 2)}" y="${at(numbers)}" class="middle">${num(shown.effective, 1)}</text>` : "";
          const starts = i === 0 || layers[i - 1].stage !== layer.stage;
          const last = starts && state.width - x < 8 * layer.stage.length; // its name would be cut off
          return `${starts ? `<text x="${last ? state.width : x}" y="12" class="faint${last ? " end" : ""}">${esc(layer.stage)}</text>` : ""}
            ${starts && i ? `<line x1="${at(gutter + i * column)}" x2="${at(gutter + i * column)}" y1="3" y2="${at(foot)}" class="stage"/>` : ""}
            <g role="option" id="${state.id}-${first + i}" data-index="${first + i}" data-name="${esc(layer.name)}" aria-selected="${layer.name === state.selected}" aria-label="${esc(layer.alt)}">
              <rect x="${at(gutter + i * column + 1)}" y="15" width="${at(column - 2)}" height="${at(foot - 10)}" rx="4" class="column"/>
              ${cells}${effective}<text x="${at(x + w / 2)}" y="${at(foot)}" class="middle faint">${esc(layer.label)}</text>
            </g>`;
        })
        .join("");
      const over = labels + (kernels > 1 ? names : "") + counted;
      return svgOf(state.width, foot + 7, 'role="presentation"', wide ? over + columns : `${columns}<g class="over">${over}</g>`);
    };

    const pieces = Array.from({ length: bands }, (_, i) => band(data.layers.slice(i * per, (i + 1) * per), i * per));
    const index = data.layers.findIndex((layer) => layer.name === state.selected);
    const list = root.querySelector("[role=listbox]");
    list.setAttribute("aria-label", data.alt);
    list.setAttribute("aria-activedescendant", `${state.id}-${index}`);
    list.innerHTML = pieces.join("");
    root.querySelector(".tones").innerHTML = toneKey(data);
    root.querySelector(".note").textContent = data.note;

    const readout = root.querySelector(".readout"), reader = { ...data, held: state.held };
    const read = (cell) => { readout.textContent = readGlanceCell(reader, cell); };
    list.onpointermove = (event) => read(glanceCellUnder(reader, event));
    list.onpointerleave = () => read(state.cell);
    list.onblur = () => lookAt(null);
    const lookAt = (cell) => {
      state.cell = cell;
      read(cell);
      frameGlanceCell(list, reader, cell);
    };
    if (state.cell) lookAt(state.cell.at < data.layers.length && glanceValues(data.layers[state.cell.at], state.held, state.cell.head) ? state.cell : null);

    const choose = (i) => {
      const layer = data.layers[i];
      if (!layer || layer.name === state.selected) return;
      state.selected = state.wanted = layer.name; // shown at once, before the page has answered
      state.chosenAt = performance.now();
      for (const option of list.querySelectorAll("[role=option]")) {
        option.setAttribute("aria-selected", option.dataset.name === layer.name);
      }
      list.setAttribute("aria-activedescendant", `${state.id}-${i}`);
      act.choose(layer.name);
    };
    list.onclick = (event) => {
      const option = event.target.closest("[role=option]");
      if (option) choose(Number(option.dataset.index));
    };
    list.onkeydown = (event) => {
      const here = data.layers.findIndex((layer) => layer.name === state.selected);
      const there = { ArrowRight: here + 1, ArrowLeft: here - 1, ArrowDown: here + per, ArrowUp: here - per, Home: 0, End: data.layers.length - 1 }[event.key];
      if (there === undefined) return;
      event.preventDefault();
      if (event.shiftKey && event.key.startsWith("Arrow")) lookAt(glanceCellBeside(reader, here, state.cell, event.key));
      else {
        lookAt(null);
        choose(there);
      }
    };
  });
