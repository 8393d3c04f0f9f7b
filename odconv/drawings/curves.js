// Curves over temperatures on a log axis. A line stands at the dial's temperature and follows it; the numbers are those of
// the nearest temperature that was computed.

const CURVES = { height: 176, left: 30, right: 12, top: 8, bottom: 20 };
const CURVE_TICKS = [0.1, 0.3, 1, 3, 10, 30];

const nearestTo = (temperatures, t) =>
  temperatures.reduce((best, other, i) => (Math.abs(Math.log(other / t)) < Math.abs(Math.log(temperatures[best] / t)) ? i : best), 0);

const curveChart = (chart, data, width) => {
  if (chart.absent) return `<section><h4 class="plain">${esc(chart.title)}</h4><p class="why">${esc(chart.absent)}</p></section>`;
  const { height, left, right, top, bottom } = CURVES, { temperatures, words } = data, [low, high] = chart.scale;
  const divisors = onDials.divisors ?? data.divisors, common = commonOf(divisors), nearest = common === null ? null : nearestTo(temperatures, common);
  const ends = [temperatures[0], temperatures.at(-1)].map(Math.log);
  const x = (t) => left + ((Math.log(t) - ends[0]) / (ends[1] - ends[0])) * (width - left - right);
  const y = (value) => top + (1 - (value - low) / (high - low)) * (height - top - bottom);
  const paint = (line) => `class="curve${line.dashed ? " dashed" : ""}" style="stroke:var(--${line.colour})"`;
  const across = (value, text) => `<line x1="${left}" x2="${at(width - right)}" y1="${at(y(value))}" y2="${at(y(value))}" class="grid"/><text x="${left - 4}" y="${at(y(value) + 4)}" class="end">${text}</text>`;
  const ticks = CURVE_TICKS.map((t) => `<text x="${at(x(t))}" y="${height - 4}" class="middle">${t}</text>`).join("");
  const guide = chart.guide
    ? `<line x1="${left}" x2="${at(width - right)}" y1="${at(y(chart.guide.value))}" y2="${at(y(chart.guide.value))}" class="half-way"/><text x="${left + 3}" y="${at(y(chart.guide.value) - 4)}" class="halo faint">${esc(chart.guide.name)}</text>` : "";
  const lines = chart.lines.map((line) => `<polyline points="${temperatures.map((t, i) => `${at(x(t))},${at(y(line.values[i]))}`).join(" ")}" ${paint(line)}/>`).join("");
  const cursors = common === null
    ? divisors.map((t, n) => `<line x1="${at(x(t))}" x2="${at(x(t))}" y1="${top}" y2="${height - bottom}" class="mark" style="stroke:var(--${HEADS[n]})"/>`).join("")
    : `<line x1="${at(x(common))}" x2="${at(x(common))}" y1="${top}" y2="${height - bottom}" class="mark"/>${chart.lines
        .map((line) => `<circle cx="${at(x(temperatures[nearest]))}" cy="${at(y(line.values[nearest]))}" r="4" class="mark-dot" style="fill:var(--${line.colour})"/>`).join("")}`;
  const legend = chart.lines.map((line) => `<li><svg width="26" height="10" aria-hidden="true"><line x2="26" y1="5" y2="5" ${paint(line)}/></svg><span>${esc(line.name)}</span>${
    nearest === null ? "" : `<b>${num(line.values[nearest], high > 10 ? 1 : 2)}</b>`}</li>`).join("");
  return `<section><h4 class="plain">${esc(chart.title)}</h4>${svgOf(width, height, `role="img" aria-label="${esc(chart.alt)}"`, `${[low, (low + high) / 2, high].map((value) => across(value, Number(value.toFixed(2)))).join("")}
    <line x1="${at(x(1))}" x2="${at(x(1))}" y1="${top}" y2="${height - bottom}" class="stage"/>${guide}${lines}${cursors}${ticks}`)}
    <ul class="curve-legend">${nearest === null ? "" : `<li class="where">${esc(fill(words.at, { temperature: temperatures[nearest] }))}</li>`}${legend}</ul></section>`;
};

const drawCurves = (root, data) => {
  drawAtWidth(root, (state) => {
    const most = state.width >= 820 ? 3 : state.width >= 560 ? 2 : 1, columns = Math.min(most, data.charts.length);
    const width = Math.min((state.width - 28 * (columns - 1)) / columns, 460);
    const four = commonOf(onDials.divisors ?? data.divisors) === null;
    replace(root, `<div class="panels" style="--columns:${columns}">${data.charts.map((chart) => curveChart(chart, data, width)).join("")}</div>
      ${four ? `<p class="note">${esc(data.words.four)}</p>` : ""}${data.sentence ? `<p class="sentence">${esc(data.sentence)}</p>` : ""}`);
  });
  followDials(root, () => stateOf(root).width && stateOf(root).draw(stateOf(root)));
};
