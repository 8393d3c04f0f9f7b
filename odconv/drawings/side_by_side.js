// The same layer for several pictures: a row a picture, a column a head, every row on the same scale.

const comparedCells = {
  spatial: (values, ghost, w, h, data) => {
    const k = values.length, side = Math.min(w, h) / k, { span, words } = data;
    return values.flatMap((row, y) => row.map((value, x) =>
      `<rect x="${at(x * side)}" y="${at(y * side)}" width="${at(side)}" height="${at(side)}" class="tap" style="fill:${shade("spatial", value, data)}"><title>${esc(fill(words.tap, { row: y + 1, column: x + 1, value: numberText(value, span, 3) }))}</title></rect>
      ${ghost ? `<circle cx="${at((x + 0.5) * side)}" cy="${at((y + 0.5) * side)}" r="${at(side / 5)}" style="fill:${shade("spatial", ghost[y][x], data)}"/>` : ""}`)).join("");
  },
  channel: (values, ghost, w, h, data) => comparedProfile("channel", values, ghost, w, h, data),
  filter: (values, ghost, w, h, data) => comparedProfile("filter", values, ghost, w, h, data),
  kernel: (values, ghost, w, h, data) => {
    const { span, words } = data, step = Math.min(52, w / values.length), bar = step * 0.8, y = (value) => h * (1 - along(value, span));
    return values.map((value, i) => {
      const x = i * step, top = Math.min(y(value), y(0)), high = Math.abs(y(value) - y(0));
      const color = span ? shade("kernel", value, data) : kernelTone(i, values.length);
      const name = step >= 30 ? `<text x="${at(x + bar / 2)}" y="${h + 14}" class="middle faint">W${i + 1}</text>` : "";
      return `<rect x="${at(x)}" width="${at(bar)}" height="${h}" class="well"/>
      <rect x="${at(x)}" y="${at(top)}" width="${at(bar)}" height="${at(high)}" style="fill:${color}"><title>${esc(fill(words.kernel, { kernel: i + 1, value: numberText(value, span, 3) }))}</title></rect>
      ${ghost ? `<line x1="${at(x - 4)}" x2="${at(x + bar + 4)}" y1="${at(y(ghost[i]))}" y2="${at(y(ghost[i]))}" class="ghost-line"/>` : ""}
      ${step >= 38 ? numberPlate(numberText(value, span), x + bar / 2, value < 0 ? Math.min(h - 3, top + high + 15) : Math.max(13, top - 4)) : ""}${name}`;
    }).join("") + (span ? `<line x2="${at(step * values.length)}" y1="${at(y(0))}" y2="${at(y(0))}" class="axis"/>` : "");
  },
};

const comparedProfile = (head, values, ghost, w, h, data) => {
  const { span, top } = data, step = w / values.length, y = (v) => at(h * (1 - (span ? along(v, span) : v / top)));
  return `<rect width="${at(w)}" height="${h}" class="well"/>${profileBars(head, values, 0, step, y, y(0), data)}
    <line x2="${at(w)}" y1="${at(h / 2)}" y2="${at(h / 2)}" class="${span ? "axis" : "half"}"/>${ghost ? trainedMarks(ghost, 0, step, y) : ""}`;
};

const drawSideBySide = (root, data) =>
  drawAtWidth(root, (state) => {
    if (!root.querySelector(".rows")) {
      root.innerHTML = `<div class="rows"></div><div class="foot"><p class="tones"></p><p class="note"></p>${HOLD_BUTTON}</div>`;
    }
    updateHold(root.querySelector(".hold"), data.words.hold, Boolean(data.rows[0].trained), state);
    const present = HEADS.filter((head) => data.rows[0].heads[head]);
    const wide = state.width >= 720, columns = wide ? present.length : Math.min(2, present.length);
    const cell = Math.min(wide ? (state.width - 130) / columns - 18 : state.width / columns - 14, 300), height = 66;
    const row = (picture) => {
      const { heads, alts } = state.held && picture.trained ? picture.trained : picture, ghost = state.held ? null : picture.trained?.heads;
      return `<div class="compared" style="--columns:${columns}">
      <span class="compared-title">${picture.thumbnail ? `<img src="${esc(picture.thumbnail)}" alt="">` : ""}${esc(picture.title)}</span>
      ${present.map((head) => `<figure>${svgOf(cell, height + 18, `role="img" aria-label="${esc(alts[head])}"`, comparedCells[head](heads[head], ghost && ghost[head], cell, height, data))}
        <figcaption><i style="background:var(--${head})"></i>${esc(data.words.heads[head])}</figcaption></figure>`).join("")}</div>`;
    };
    const rows = root.querySelector(".rows");
    rows.classList.toggle("stacked", !wide);
    rows.innerHTML = data.rows.map(row).join("");
    root.querySelector(".tones").innerHTML = data.span ? toneKey(data) : "";
    const widest = Math.max(...["channel", "filter"].map((head) => data.rows[0].heads[head]?.length ?? 1));
    const marks = data.rows[0].trained && !state.held ? ` ${marksText(data.words, cell / widest)}` : "";
    root.querySelector(".note").textContent = data.note + marks;
  });
