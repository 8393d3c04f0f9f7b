// One slice of a forged kernel: the trained candidates, then for each picture shares, sum, taps, gates, kernel and map.

// Below 0 to above 0, the same in both themes. Through the square root of the size, so that small weights can be seen.
const divergingTone = (share, tones) => blend(Math.sign(share) * Math.sqrt(Math.min(Math.abs(share), 1)), tones);
// WCAG's luminance, roughly; below 0.18 white is read more easily than black.
const isDark = ([red, green, blue]) => 0.21 * (red / 255) ** 2.2 + 0.72 * (green / 255) ** 2.2 + 0.07 * (blue / 255) ** 2.2 < 0.18;

const DIGIT = 0.52; // em that a digit takes
// A k x k square; a number is written with as many digits as fit, in the tone ``ink`` or on a plate. Where ``widest`` is given,
// the texts of the number that takes most room, all have the form in which that fits: so .000 never stands beside 0.00.
const kernelCells = (values, side, label, paint, widest = []) => {
  const k = values.length, cell = side / Math.max(k, 2), size = Math.min(16, Math.max(12, 0.29 * cell));
  const forms = (texts) => texts.flatMap((one) => [one, one.replace(/^([+−]?)0\./, "$1.")]);
  const fits = (text, ink) => text.length * DIGIT * size <= cell - (ink ? 2 : 8);
  const form = forms(widest).findIndex((text) => fits(text, true));
  const cells = values.flatMap((row, y) => row.map((value, x) => {
    const { color, ink, texts, title } = paint(value, y, x);
    const all = forms(texts), text = all[form] ?? all.find((one) => fits(one, ink)), [cx, cy] = [at((x + 0.5) * cell), (y + 0.5) * cell];
    const plateWidth = Math.min(2.6 * size, cell - 4);
    const plate = ink ? "" : `<rect x="${at(cx - plateWidth / 2)}" y="${at(cy - 0.75 * size)}" width="${at(plateWidth)}" height="${at(1.5 * size)}" rx="4" class="plate"/>`;
    const number = text ? `${plate}<text x="${cx}" y="${at(cy + 0.36 * size)}" class="middle weight" style="font-size:${at(size)}px${ink ? `;fill:${ink}` : ""}">${text}</text>` : "";
    return `<rect x="${at(x * cell)}" y="${at(y * cell)}" width="${at(cell)}" height="${at(cell)}" class="tap" data-tap="${y},${x}" style="fill:${color}"><title>${esc(title)}</title></rect>${number}`;
  }));
  return svgOf(k * cell, k * cell, `role="img" aria-label="${esc(label)}"`, cells.join(""));
};

const weightTexts = (value, { span, digits }) => [numberText(value, span, digits), numberText(value, span, digits - 1)];
const weightCells = (values, side, label, { span, digits, tones, words }) =>
  kernelCells(values, side, label, (value, y, x) => {
    const tone = divergingTone(value / span, tones);
    return { color: rgb(tone), ink: isDark(tone) ? "#fff" : "#1a1a1a", texts: weightTexts(value, { span, digits }),
      title: fill(words.weight, { row: y + 1, column: x + 1, value: numberText(value, span, digits + 1) }) };
  }, weightTexts(-span, { span, digits }));

const tapCells = (values, side, label, { words }) =>
  kernelCells(values, side, label, (value, y, x) => ({
    color: tone("spatial", value), texts: [num(value), num(value, 1)],
    title: fill(words.tap, { row: y + 1, column: x + 1, value: num(value, 3) }),
  }));

const absence = (part) => `<p class="why small">${esc(part.absent)}</p>`;

const shareBars = (shares) => shares.values
  .map((value, i) => `<span class="share-row"><span class="faint">W${i + 1}</span><span class="share-track"><i style="width:${at(100 * Math.min(value, 1))}%;background:${kernelTone(i, shares.values.length)}"></i></span><span>${num(value)}</span></span>`)
  .join("");

const gateChips = (gates, data) => ["channel", "filter"]
  .map((head) => gates[head].absent
    ? absence(gates[head])
    : `<span class="gate" style="border-color:var(--${head})"><span class="faint">${esc(data.words[head])} ${data[head]}</span>× ${num(gates[head].values, 3)}</span>`)
  .join("");

const mapCanvas = (map) => `<canvas width="${map.width}" height="${map.height}" data-levels="${esc(map.levels)}" data-tones="${esc(JSON.stringify(map.tones))}" role="img" aria-label="${esc(map.alt)}"></canvas>`;

// Of each level, 1 to 255 for the first of ``tones`` to the last: few tones, many pixels.
const toneTable = (tones) => Array.from({ length: 256 }, (_, level) => blend((level - 128) / 127, tones));

const paintLevels = (canvas, levels, table) => {
  const context = canvas.getContext("2d"), image = context.createImageData(canvas.width, canvas.height);
  for (let i = 0, place = 0; i < levels.length; i++) {
    for (const part of table[levels[i]]) image.data[place++] = part;
    image.data[place++] = 255;
  }
  context.putImageData(image, 0, 0);
};

const decoded = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)); // of Base64

const paintMaps = (root) => {
  for (const canvas of root.querySelectorAll("canvas")) paintLevels(canvas, decoded(canvas.dataset.levels), toneTable(JSON.parse(canvas.dataset.tones)));
};

const kernelStep = (name, caption, content) =>
  `<figure data-step="${name}">${content}<figcaption>${esc(caption)}</figcaption></figure>`;
const operator = (sign) => `<span class="operator" aria-hidden="true">${sign}</span>`;

const kernelRow = (row, side, data) => {
  const { words } = data;
  const label = (caption) => `${row.title}: ${caption}`;
  return `<section aria-label="${esc(row.title)}"><h4>${esc(row.title)}</h4><div class="chain">
    ${kernelStep("shares", words.shares, row.shares.absent ? absence(row.shares) : shareBars(row.shares))}${operator("→")}
    ${kernelStep("mixed", words.sum, weightCells(row.mixed, side, label(words.sum), data))}${operator("×")}
    ${kernelStep("taps", words.taps, row.taps.absent ? absence(row.taps) : tapCells(row.taps.values, side, label(words.taps), data))}${operator("=")}
    ${kernelStep("tapped", words.tapped, weightCells(row.tapped, side, label(words.tapped), data))}${operator("×")}
    ${kernelStep("gates", words.gates, gateChips(row.gates, data))}${operator("=")}
    ${kernelStep("forged", words.forged, weightCells(row.forged, side, label(words.forged), data))}${operator("→")}
    ${kernelStep("map", row.map_caption, mapCanvas(row.map))}</div></section>`;
};

const differenceRow = (data, side) => !data.difference ? "" :
  `<section class="less" aria-label="${esc(data.words.less)}"><div class="chain"><h4>${esc(data.words.less)}</h4>
    ${kernelStep("forged", data.words.less_kernel, weightCells(data.difference.forged, side, data.words.less_kernel, data))}<span></span>
    ${kernelStep("map", data.words.less_map, mapCanvas(data.difference.map))}</div></section>`;

const weightTones = ({ span, tones }) => {
  const stops = Array.from({ length: 33 }, (_, i) => rgb(divergingTone(i / 16 - 1, tones))).join(",");
  return `<span>−${span}</span><i style="background:linear-gradient(to right,${stops})"></i><span>+${span}</span>`;
};

const drawKernel = (root, data) =>
  drawAtWidth(root, (state) => {
    const wide = state.width >= 800;
    // In between, as on paper, the whole chain stands in one line without its operators.
    const side = wide ? Math.min(150, Math.floor((state.width - 330) / 5)) : state.width >= 660 ? Math.min(104, Math.floor((state.width - 264) / 5)) : Math.min(114, Math.floor((state.width - 60) / 3));
    const count = data.candidates.length, small = count > 4 ? Math.max(24, Math.min(side, Math.floor(state.width / 8) - 12)) : wide ? side : Math.min(side, (state.width - 40) / 4);
    const candidates = data.candidates.map((values, i) => kernelStep("candidate", `W${i + 1}`, weightCells(values, small, `W${i + 1}`, data))).join("");
    replace(root, `<p class="slice">${esc(data.slice)}</p>
      <div class="forging${wide ? " wide" : ""}" style="--side:${side}px">
        <section aria-label="${esc(data.words.candidates)}"><h4>${esc(data.words.candidates)}</h4><div class="candidates">${candidates}<div class="legend"><p class="tones" aria-hidden="true">${weightTones(data)}</p><p class="note">${esc(data.scale)}</p></div></div></section>
        ${useSection(data.use, state.width)}
        ${data.rows.map((row) => kernelRow(row, side, data)).join("")}${differenceRow(data, side)}</div>
      <p class="sentence">${esc(data.sentence)}</p>`);
    paintMaps(root);
  });
