// A layer against the knob of a stimulus: a line for each kernel's share, or for each head; the cursor is where the knob stands.

const RESPONSE = { left: 34, top: 10, height: 168, right: 66, foot: 40, step: 13 };

const responsePlaces = (state, { low, high, top }) => {
  const wide = Math.max(60, Math.min(state.width, 900) - RESPONSE.left - RESPONSE.right);
  return {
    wide,
    x: (value) => RESPONSE.left + (wide * (value - low)) / (high - low),
    y: (value) => RESPONSE.top + RESPONSE.height * (1 - Math.min(Math.max(value / top, 0), 1)),
  };
};

// Where the lines' names stand: each beside the end of its line, but no nearer than a step to the next.
const apart = (places) => {
  const order = places.map((_, i) => i).sort((a, b) => places[a] - places[b]), found = [...places];
  order.forEach((i, n) => { if (n) found[i] = Math.max(found[i], found[order[n - 1]] + RESPONSE.step); });
  let most = RESPONSE.top + RESPONSE.height;
  for (const i of order.reverse()) {
    found[i] = Math.min(found[i], most);
    most = found[i] - RESPONSE.step;
  }
  return found;
};

const drawResponse = (root, data) =>
  drawAtWidth(root, (state) => {
    const { wide, x, y } = responsePlaces(state, data), { left, top, height, foot } = RESPONSE, base = top + height;
    const colour = (line, i) => (line.head ? `var(--${line.head})` : kernelTone(i, data.lines.length));
    const ticks = data.ticks.map((text, i) => {
      const at_ = at(y((data.top * i) / (data.ticks.length - 1)));
      return `<line x1="${left}" x2="${at(left + wide)}" y1="${at_}" y2="${at_}" class="grid"/><text x="${left - 5}" y="${Number(at_) + 4}" class="end">${esc(text)}</text>`;
    });
    const names = apart(data.lines.map((line) => y(line.values.at(-1))));
    const end = x(data.values.at(-1));
    const lines = data.lines.map((line, i) => {
      const points = line.values.map((value, n) => [at(x(data.values[n])), at(y(value))]);
      const dots = points.map(([cx, cy]) => `<circle cx="${cx}" cy="${cy}" r="${data.joined ? 1.8 : 3.2}" style="fill:${colour(line, i)}"/>`).join("");
      return `${data.joined ? `<polyline points="${points.map((point) => point.join(",")).join(" ")}" class="response-line" style="stroke:${colour(line, i)}"/>` : ""}${dots}
        <line x1="${at(end + 4)}" x2="${at(end + 16)}" y1="${at(names[i])}" y2="${at(names[i])}" class="response-line" style="stroke:${colour(line, i)}"/>
        <text x="${at(end + 19)}" y="${at(names[i] + 4)}">${esc(line.name)}</text>`;
    });
    const here = at(x(data.value));
    const now = data.lines.map((line, i) => `<circle cx="${here}" cy="${at(y(line.now))}" r="4.5" class="response-now" style="fill:${colour(line, i)}"/>`);
    const content = `${ticks.join("")}${lines.join("")}
      <line x1="${here}" x2="${here}" y1="${top}" y2="${base}" class="response-cursor"/>${now.join("")}
      <text x="${left}" y="${base + 16}">${esc(data.ends[0])}</text>
      <text x="${at(left + wide)}" y="${base + 16}" class="end">${esc(data.ends[1])}</text>
      <text x="${at(left + wide / 2)}" y="${base + 16}" class="middle faint">${esc(data.axis)}</text>`;
    replace(root, `<p class="caption">${esc(data.measure)}</p>
      ${svgOf(left + wide + RESPONSE.right, base + foot - 16, `role="img" aria-label="${esc(data.alt)}" class="response"`, content)}
      <p class="statistics">${esc(data.reading)}</p><p class="sentence">${esc(data.sentence)}</p><p class="note">${esc(data.note)}</p>`);
  });
