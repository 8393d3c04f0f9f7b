// A layer against the knob of a stimulus: a line for each kernel's share, or for each head; the cursor is where the knob stands.
// As wide as the knob that is under it, whose thumb does not reach the very ends, so that cursor and thumb are in one line.

const RESPONSE = { side: 8, top: 12, foot: 4, step: 13 };

// Where on the drawing, `width` px wide, a value of the knob and a value on a line lie.
const responsePlaces = (width, { low, high, top }) => {
  const wide = Math.max(60, width - 2 * RESPONSE.side), height = width < 450 ? 72 : 150;
  return {
    height,
    x: (value) => RESPONSE.side + (wide * (value - low)) / (high - low),
    y: (value) => RESPONSE.top + height * (1 - Math.min(Math.max(value / top, 0), 1)),
    knob: (x) => low + ((high - low) * (x - RESPONSE.side)) / wide,
  };
};

// Where the lines' names stand: each at the end of its line, but no nearer than a step to the next, and none outside.
const apart = (places, last) => {
  const order = places.map((_, i) => i).sort((a, b) => places[a] - places[b]), found = [...places];
  order.forEach((i, n) => { if (n) found[i] = Math.max(found[i], found[order[n - 1]] + RESPONSE.step); });
  let most = last;
  for (const i of order.reverse()) {
    found[i] = Math.min(found[i], most);
    most = found[i] - RESPONSE.step;
  }
  return found;
};

const drawResponse = (root, data) =>
  drawAtWidth(root, (state) => {
    const { height, x, y } = responsePlaces(state.width, data), { side, top, foot } = RESPONSE, base = top + height;
    const colour = (line, i) => (line.head ? `var(--${line.head})` : kernelTone(i, data.lines.length));
    const right = at(state.width - side), places = data.ticks.map((_, i) => at(y((data.top * i) / (data.ticks.length - 1))));
    const grid = places.map((place) => `<line x1="${side}" x2="${right}" y1="${place}" y2="${place}" class="grid"/>`);
    const ticks = data.ticks.map((text, i) => `<text x="${side + 8}" y="${Number(places[i]) - 3}" class="tiny halo">${esc(text)}</text>`);
    const lines = data.lines.map((line, i) => {
      const points = line.values.map((value, n) => [at(x(data.values[n])), at(y(value))]);
      const dots = points.map(([cx, cy]) => `<circle cx="${cx}" cy="${cy}" r="${data.joined ? 1.8 : 3.2}" style="fill:${colour(line, i)}"/>`).join("");
      return `${data.joined ? `<polyline points="${points.map((point) => point.join(",")).join(" ")}" class="response-line" style="stroke:${colour(line, i)}"/>` : ""}${dots}`;
    });
    const ends = apart(data.lines.map((line) => y(line.values.at(-1))), base - 2);
    const names = data.lines.map((line, i) => `<text x="${right}" y="${at(ends[i] - 3)}" class="end tiny halo">${esc(line.name)}</text>`);
    const here = at(x(data.value));
    const now = data.lines.map((line, i) => `<circle cx="${here}" cy="${at(y(line.now))}" r="4.5" class="response-now" style="fill:${colour(line, i)}"/>`);
    const content = `${grid.join("")}${lines.join("")}${ticks.join("")}${names.join("")}
      <line x1="${here}" x2="${here}" y1="${top}" y2="${base}" class="response-cursor"/>${now.join("")}`;
    const reading = data.lines.map((line, i) => `<span><i style="background:${colour(line, i)}"></i>${esc(line.name)} ${esc(line.reading)}</span>`);
    replace(root, `<p class="response-title">${esc(data.title)}</p><p class="reading">${reading.join(" ")}</p>
      ${svgOf(state.width, base + foot, `role="img" aria-label="${esc(data.alt)}" class="response"`, content)}`);
  });
