// All layers x four heads. One column a layer; click or arrow keys choose one. Spatial: the k x k taps as a small map.
// Channel and filter: gates sorted, the widest on top; the width is the gate. Kernel: the shares of the K kernels.
// Differences from what is typical start from the middle: more to the right, less to the left; a row for each kernel.

const GLANCE_ROWS = { spatial: 0, channel: 62, filter: 62, kernel: 62 }; // heights in px; 0: as high as wide
const GLANCE_GAP = 12;
const GLANCE_PATIENCE = 3000; // ms after which a choice that was not answered is given up

const glanceCells = {
  spatial: (layer, ghost, w, h, span) => {
    const k = Math.round(Math.sqrt(layer.spatial.length));
    const side = w / k;
    return layer.spatial
      .map((value, i) => {
        const [x, y] = [(i % k) * side, Math.floor(i / k) * side];
        const dot = ghost
          ? `<circle cx="${at(x + side / 2)}" cy="${at(y + side / 2)}" r="${at(side / 5)}" style="fill:${shade("spatial", ghost.spatial[i], span)}"/>`
          : "";
        return `<rect x="${at(x)}" y="${at(y)}" width="${at(side)}" height="${at(side)}" style="fill:${shade("spatial", value, span)}"/>${dot}`;
      })
      .join("") + `<rect width="${at(w)}" height="${at(w)}" class="frame"/>`;
  },
  channel: (layer, ghost, w, h, span) => glanceProfile("channel", layer, ghost, w, h, span),
  filter: (layer, ghost, w, h, span) => glanceProfile("filter", layer, ghost, w, h, span),
  kernel: (layer, ghost, w, h, span) => {
    if (span) return glanceShifts(layer, ghost, w, h, span);
    const stack = (shares, x, width, extra) => {
      let y = 0;
      return shares
        .map((share, i) => {
          const top = y;
          y += share * h;
          return share === 0 ? "" : `<rect x="${at(x)}" y="${at(top)}" width="${at(width)}" height="${at(share * h)}" class="share" style="fill:${kernelTone(i, shares.length)}"${extra}/>`;
        })
        .join("");
    };
    const strip = ghost ? w * 0.22 : 0;
    return stack(layer.kernel, strip ? strip + 2 : 0, strip ? w - strip - 2 : w, "") +
      (ghost ? stack(ghost.kernel, 0, strip, ' opacity="0.6"') : "");
  },
};

const glanceShifts = (layer, ghost, w, h, span) => {
  const row = h / layer.kernel.length, x = (value) => along(value, span) * w;
  const rows = layer.kernel.map((value, i) => {
    const from = Math.min(x(0), x(value)), wide = Math.abs(x(value) - x(0)), y = i * row + 1;
    const mark = ghost
      ? `<line x1="${at(x(ghost.kernel[i]))}" x2="${at(x(ghost.kernel[i]))}" y1="${at(y)}" y2="${at(y + row - 2)}" class="ghost-line"/>` : "";
    return `<rect x="${at(from)}" y="${at(y)}" width="${at(wide)}" height="${at(row - 2)}" style="fill:${kernelTone(i, layer.kernel.length)}"/>${mark}`;
  });
  return `<rect width="${at(w)}" height="${h}" class="well"/>${rows.join("")}<line x1="${at(w / 2)}" x2="${at(w / 2)}" y2="${h}" class="axis"/>`;
};

const glanceProfile = (head, layer, ghost, w, h, span) => {
  const outline = (values) =>
    values.map((v, i) => `${at(along(v, span) * w)},${at((i / (values.length - 1)) * h)}`).join(" ");
  const base = at(along(0, span) * w);
  return `<rect width="${at(w)}" height="${h}" class="well"/>
    <polygon points="${base},0 ${outline(layer[head])} ${base},${h}" style="fill:var(--${head})"/>
    <line x1="${at(w / 2)}" x2="${at(w / 2)}" y2="${h}" class="${span ? "axis" : "half"}"/>
    ${ghost ? `<polyline points="${outline(ghost[head])}" class="ghost-line"/>` : ""}`;
};

const drawGlance = (root, data, act) =>
  drawAtWidth(root, (state) => {
    // A layer that was chosen here and is on its way: data that were sent before do not take it back.
    if (data.selected === state.wanted || performance.now() - (state.chosenAt ?? 0) > GLANCE_PATIENCE) state.wanted = undefined;
    state.selected = state.wanted ?? data.selected;
    const wide = state.width >= 640;
    const gutter = wide ? 118 : 0;
    const most = Math.max(1, Math.floor((state.width - gutter) / (wide ? 34 : 36)));
    const bands = Math.ceil(data.layers.length / most);
    const per = Math.ceil(data.layers.length / bands);
    const column = Math.min(68, (state.width - gutter) / per);
    const w = column * 0.8;
    const title = wide ? 0 : 15; // on a phone a head's name stands above its row

    const band = (layers, first) => {
      let y = 24;
      const rows = HEADS.map((head) => {
        const height = GLANCE_ROWS[head] || w;
        const top = y + title + (head === "kernel" ? 14 : 0);
        y = top + height + GLANCE_GAP;
        return { head, top, height };
      });
      const foot = y + 4;
      const labels = rows
        .map(({ head, top, height }) =>
          wide
            ? `<rect x="0" y="${top}" width="4" height="${at(height)}" style="fill:var(--${head})"/>
               <text x="11" y="${top + 13}" class="strong">${esc(data.words.heads[head])}</text>
               ${data.legend[head].map((line, i) => `<text x="11" y="${top + 28 + 13 * i}" class="faint">${esc(line)}</text>`).join("")}`
            : `<rect x="0" y="${top - (head === "kernel" ? 25 : 11)}" width="8" height="8" style="fill:var(--${head})"/>
               <text x="12" y="${top - (head === "kernel" ? 17 : 3)}" class="faint"><tspan class="strong">${esc(data.words.heads[head])}</tspan> ${esc(data.legend[head].join(" · "))}</text>`,
        )
        .join("");
      const columns = layers
        .map((layer, i) => {
          const x = gutter + i * column + (column - w) / 2;
          const cells = rows
            .map(({ head, top, height }) => {
              const cell = layer[head]
                ? glanceCells[head](layer, layer.ghost, w, height, data.span)
                : `<rect width="${at(w)}" height="${at(height)}" class="absent"/><text x="${at(w / 2)}" y="${at(height / 2 + 4)}" class="middle faint">${esc(data.words.no_head)}</text>`;
              const note = head === "kernel" && layer.kernel
                ? `<text x="${at(w / 2)}" y="-4" class="middle tiny">${num(layer.effective, 1)}</text>` : "";
              return `<g transform="translate(${at(x)} ${at(top)})">${cell}${note}</g>`;
            })
            .join("");
          const starts = i === 0 || layers[i - 1].stage !== layer.stage;
          return `${starts ? `<text x="${at(x)}" y="13" class="faint">${esc(layer.stage)}</text>` : ""}
            ${starts && i ? `<line x1="${at(x - column * 0.1)}" x2="${at(x - column * 0.1)}" y1="4" y2="${foot + 10}" class="stage"/>` : ""}
            <g role="option" id="${state.id}-${first + i}" data-index="${first + i}" data-name="${esc(layer.name)}" aria-selected="${layer.name === state.selected}" aria-label="${esc(layer.alt)}">
              <title>${esc(layer.alt)}</title>
              <rect x="${at(gutter + i * column + 1)}" y="17" width="${at(column - 2)}" height="${at(foot - 4)}" rx="4" class="column"/>
              ${cells}<text x="${at(x + w / 2)}" y="${foot + 6}" class="middle tiny">${esc(layer.label)}</text>
            </g>`;
        })
        .join("");
      return svgOf(state.width, foot + 16, 'role="presentation"', wide ? labels + columns : `${columns}<g class="over">${labels}</g>`);
    };

    const pieces = Array.from({ length: bands }, (_, i) => band(data.layers.slice(i * per, (i + 1) * per), i * per));
    const index = data.layers.findIndex((layer) => layer.name === state.selected);
    if (!root.querySelector("[role=listbox]")) {
      root.innerHTML = `<div role="listbox" tabindex="0" aria-orientation="horizontal"></div><p class="note"></p>`;
    }
    const list = root.querySelector("[role=listbox]");
    list.setAttribute("aria-label", data.alt);
    list.setAttribute("aria-activedescendant", `${state.id}-${index}`);
    list.innerHTML = pieces.join("");
    root.querySelector(".note").textContent = data.note;

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
      choose(there);
    };
  });
