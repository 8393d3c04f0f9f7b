// The same layer for several pictures: a row a picture, a column a head, every row on the same scale.

const comparedCells = {
  spatial: (values, ghost, w, h, { span, words }) => {
    const k = values.length, side = Math.min(w, h) / k;
    return values.flatMap((row, y) => row.map((value, x) =>
      `<rect x="${at(x * side)}" y="${at(y * side)}" width="${at(side)}" height="${at(side)}" class="tap" style="fill:${shade("spatial", value, span)}"><title>${esc(fill(words.tap, { row: y + 1, column: x + 1, value: numberText(value, span, 3) }))}</title></rect>
      ${ghost ? `<circle cx="${at((x + 0.5) * side)}" cy="${at((y + 0.5) * side)}" r="${at(side / 5)}" style="fill:${shade("spatial", ghost[y][x], span)}"/>` : ""}`)).join("");
  },
  channel: (values, ghost, w, h, data) => comparedProfile("channel", values, ghost, w, h, data),
  filter: (values, ghost, w, h, data) => comparedProfile("filter", values, ghost, w, h, data),
  kernel: (values, ghost, w, h, { span, words }) => {
    const step = Math.min(44, w / values.length), y = (value) => h * (1 - along(value, span));
    return values.map((value, i) => {
      const top = Math.min(y(value), y(0)), high = Math.abs(y(value) - y(0));
      return `<rect x="${at(i * step)}" width="${at(step * 0.8)}" height="${h}" class="well"/>
      <rect x="${at(i * step)}" y="${at(top)}" width="${at(step * 0.8)}" height="${at(high)}" style="fill:${kernelTone(i, values.length)}"><title>${esc(fill(words.kernel, { kernel: i + 1, value: numberText(value, span, 3) }))}</title></rect>
      ${ghost ? `<line x1="${at(i * step - 2)}" x2="${at(i * step + step * 0.8 + 2)}" y1="${at(y(ghost[i]))}" y2="${at(y(ghost[i]))}" class="ghost-line"/>` : ""}
      ${step >= 30 ? `<text x="${at(i * step + step * 0.4)}" y="${at(value < 0 ? Math.min(h - 2, top + high + 13) : Math.max(12, top - 4))}" class="middle halo tiny">${numberText(value, span)}</text>` : ""}`;
    }).join("") + (span ? `<line x2="${at(step * values.length)}" y1="${at(y(0))}" y2="${at(y(0))}" class="axis"/>` : "");
  },
};

const comparedProfile = (head, values, ghost, w, h, { span, top }) => {
  const step = w / values.length, y = (v) => at(h * (1 - (span ? along(v, span) : v / top)));
  const steps = (numbers) => numbers.map((v, i) => `${at(i * step)},${y(v)} ${at((i + 1) * step)},${y(v)}`).join(" ");
  return `<rect width="${at(w)}" height="${h}" class="well"/><polygon points="0,${y(0)} ${steps(values)} ${at(w)},${y(0)}" style="fill:var(--${head})"/>
    <line x2="${at(w)}" y1="${at(h / 2)}" y2="${at(h / 2)}" class="${span ? "axis" : "half"}"/>${ghost ? `<polyline points="${steps(ghost)}" class="ghost-line"/>` : ""}`;
};

const drawSideBySide = (root, data) =>
  drawAtWidth(root, (state) => {
    const present = HEADS.filter((head) => data.rows[0].heads[head]);
    const wide = state.width >= 720, columns = wide ? present.length : Math.min(2, present.length);
    const cell = Math.min(wide ? (state.width - 130) / columns - 18 : state.width / columns - 14, 300), height = 66;
    const row = ({ title, thumbnail, heads, ghost, alts }) => `<div class="compared" style="--columns:${columns}">
      <span class="compared-title">${thumbnail ? `<img src="${esc(thumbnail)}" alt="">` : ""}${esc(title)}</span>
      ${present.map((head) => `<figure>${svgOf(cell, height + 2, `role="img" aria-label="${esc(alts[head])}"`, comparedCells[head](heads[head], ghost && ghost[head], cell, height, data))}
        <figcaption><i style="background:var(--${head})"></i>${esc(data.words.heads[head])}</figcaption></figure>`).join("")}</div>`;
    replace(root, `<div class="${wide ? "" : "stacked"}">${data.rows.map(row).join("")}</div><p class="note">${esc(data.note)}</p>`);
  });
