// One layer at work on one picture, step by step: the formula, the steps, and beside them the two maps on which the place is
// chosen. A step, a tap and a place are changed here; the page is told when they have come to rest.

// Parts of the formula that are lit together.
const GATE_TERMS = ["channel", "filter"].join(" ");
const INPUT_TERMS = ["x", "pool"].join(" ");
const FORGING_REST = 350; // ms after the last change before the page is told, so that a walk makes one entry in the history
const FORGING_PATIENCE = 3000; // ms after which a change that was not answered is given up
const LINE_LIMIT = 8; // kernels in one line of arithmetic

// What each step works on: parts of the formula, the figures and the maps have these names in data-term.
const FORGING_TERMS = {
  pool: ["pool", "x"], squeeze: ["squeeze"], logits: ["logits"], attention: ["attention"], weigh: ["kernel"], sum: ["sum"],
  taps: ["spatial"], gates: ["channel", "filter"], meet: ["meet", "x"], output: ["output", "y"],
};

// Four digits that count, and a minus as long as a plus.
const figuresOf = (value) => {
  const size = Math.abs(value);
  const text = size === 0 ? "0" : size >= 1e-3 && size < 9999.5 ? size.toPrecision(4) : size.toExponential(2);
  return (value < 0 ? "−" : "") + text;
};
const bracketed = (value) => (value < 0 ? `(${figuresOf(value)})` : figuresOf(value));
const sumText = (values) => values.map((value, i) => (i ? (value < 0 ? " − " : " + ") : value < 0 ? "−" : "") + figuresOf(Math.abs(value))).join("");
const floatsOf = (text) => (text === null ? null : new Float32Array(decoded(text).buffer));
const clampTo = (value, low, high) => Math.min(Math.max(value, low), high);

// --- what is looked at ----------------------------------------------------------------------------------------------------

// Everything of the data but what is chosen in the drawing itself.
const fixedOf = (data) => JSON.stringify({ ...data, step: null, place: null, placed: null, contributions_here: null });

const adoptForging = (state, data) => {
  const shown = [data.step, ...data.place].join();
  const other = state.data?.layer !== data.layer;
  const waits = !other && state.wanted && state.wanted !== shown && performance.now() < state.until;
  state.data = data;
  state.fixed = fixedOf(data);
  state.maps = {
    input: floatsOf(data.input), output: floatsOf(data.output), before: floatsOf(data.before_gate), contributions: floatsOf(data.contributions),
  };
  const middle = Math.floor((data.kernel_size - 1) / 2);
  if (other || !state.tap) state.tap = [middle, middle];
  if (waits) return;
  clearTimeout(state.timer);
  state.wanted = undefined;
  state.all = data.step === "all";
  state.step = state.all ? (state.step ?? data.steps[0].name) : data.step;
  state.place = data.place;
  state.placed = data.placed;
};

// Shown at once; the page is told later.
const changeForging = (state, changes) => {
  Object.assign(state, changes);
  const step = state.all ? "all" : state.step, [row, column] = state.place;
  state.wanted = [step, row, column].join();
  state.until = performance.now() + FORGING_REST + FORGING_PATIENCE;
  clearTimeout(state.timer);
  state.timer = setTimeout(() => state.act.go({ step, row: state.placed ? row : null, column: state.placed ? column : null }), FORGING_REST);
};

// Where tap (u, v) lies on the input when the kernel is at a place of the output; it may be outside.
const underTap = ({ stride, padding, dilation }, [row, column], u, v) =>
  [row * stride[0] - padding[0] + u * dilation[0], column * stride[1] - padding[1] + v * dilation[1]];

// k x k of { value, inside }.
const patchAt = ({ data, maps, place }) => {
  const [height, width] = data.input_size;
  return data.forged.map((line, u) => line.map((_, v) => {
    const [y, x] = underTap(data, place, u, v), inside = y >= 0 && y < height && x >= 0 && x < width;
    return { value: inside ? maps.input[y * width + x] : 0, inside };
  }));
};

// What every channel adds at the place; null where the browser does not have it.
const contributionsAt = ({ data, maps, place }) => {
  const position = place[0] * data.output_size[1] + place[1], count = maps.contributions ? maps.contributions.length / maps.output.length : 0;
  if (maps.contributions) return Array.from(maps.contributions.subarray(position * count, (position + 1) * count));
  return data.place.join() === place.join() ? data.contributions_here : null;
};

const outputAt = ({ data, maps, place }) => maps.output[place[0] * data.output_size[1] + place[1]];

// --- parts of steps -------------------------------------------------------------------------------------------------------

const forgingFigure = (name, terms, caption, content) =>
  `<figure data-step="${name}" data-term="${terms}">${content}<figcaption>${esc(caption)}</figcaption></figure>`;
const forgingSign = (sign) => `<span class="forge-sign" aria-hidden="true">${sign}</span>`;
const forgingSquare = (state, name, terms, values, side, caption, span = "kernel") =>
  forgingFigure(name, terms, caption, weightCells(values, side, caption, { ...state.data, ...state.data.spans[span] }));
// The square that a step ends in; here the arrow keys choose a tap.
const forgingResult = (state, name, terms, values, side, caption, span) => {
  const label = fill(state.data.words.choose_tap, { caption });
  return `<div class="forge-result" id="${state.id}-${name}" tabindex="0" data-keys="tap" role="group" aria-label="${esc(label)}">${forgingSquare(state, name, terms, values, side, caption, span)}</div>`;
};
// How large n squares in a row can be, with so much between them.
const forgingSide = (room, count, between) => clampTo(Math.floor((room - between) / count), 62, room >= 900 ? 176 : 144);
const inOneRow = (room, count) => Math.min(count, room >= 560 ? 5 : room >= 420 ? 4 : 3);

// One bar for each value, the chosen one marked. `say`: what is said of a bar that is pointed at; `rest`: else.
// Beside them stand their ends. `color`: of a bar, by its index, where each has its own, with its name under it; else of all.
const FORGING_GUTTER = 52; // px for the ends
const forgingBars = (state, { name, terms, values, chosen, color, width, caption, say, rest, height = 70, names = [] }) => {
  const left = FORGING_GUTTER, top = 4, foot = height + 2 * top, below = names.length ? 15 : 0, low = values.reduce((a, b) => Math.min(a, b), 0), high = values.reduce((a, b) => Math.max(a, b), 0);
  const step = (width - left) / values.length, range = high - low || 1, y = (value) => top + height * (1 - (value - low) / range), x0 = (i) => left + i * step;
  const outline = values.map((value, i) => `${at(x0(i))},${at(y(value))} ${at(x0(i + 1))},${at(y(value))}`).join(" ");
  const bars = names.length
    ? names.map((one, i) => `<rect x="${at(x0(i + 0.15))}" y="${at(Math.min(y(values[i]), y(0)))}" width="${at(0.7 * step)}" height="${at(Math.abs(y(values[i]) - y(0)))}" style="fill:${color(i)}"/><text x="${at(x0(i + 0.5))}" y="${foot + 12}" class="middle">${esc(one)}</text>`).join("")
    : `<polygon points="${at(left)},${at(y(0))} ${outline} ${at(width)},${at(y(0))}" style="fill:${color}"/>`;
  const bar = Math.max(step, 3), x = clampTo(x0(chosen + 0.5) - bar / 2, left, width - bar);
  const mark = chosen === null ? "" : `<rect x="${at(x)}" y="${at(Math.min(y(values[chosen]), y(0)) - 0.5)}" width="${at(bar)}" height="${at(Math.abs(y(values[chosen]) - y(0)) + 1)}" class="forge-chosen"/>`;
  rest ??= chosen === null ? "\u00a0" : say(chosen);
  state.bars[name] = { values, say, rest, step, width, chosen };
  const alt = `${caption}: ${figuresOf(low)} … ${figuresOf(high)}`;
  const end = (value, line) => `<text x="${left - 5}" y="${line}" class="end">${figuresOf(value)}</text>`;
  const ends = (high > 0.15 * range ? end(high, top + 9) : "") + (low < -0.15 * range ? end(low, foot - top) : "") + (y(0) > top + 24 && y(0) < foot - 20 ? end(0, y(0) + 4) : "");
  return `<figure data-step="${name}" data-term="${terms}" data-bars="${name}">${svgOf(width, foot + below, `role="img" aria-label="${esc(alt)}"`,
    `<rect x="${left}" width="${at(width - left)}" height="${foot}" class="well"/>${bars}${mark}
     <line x1="${left}" x2="${at(width)}" y1="${at(y(0))}" y2="${at(y(0))}" class="axis"/>${ends}<line class="cursor" y2="${foot}"/>`)}
    <figcaption>${esc(caption)}</figcaption>${rest === "" ? "" : `<p class="readout">${esc(rest)}</p>`}</figure>`;
};
const indexed = (template, values, first = 0) => (i) => fill(template, { index: i + first, value: figuresOf(values[i]) });

const forgingTap = (state, equation) => {
  const [row, column] = state.tap;
  return fill(state.data.words.at_tap, { row: row + 1, column: column + 1, equation });
};
// The arithmetic of one tap in a step; it follows the tap that is looked at.
const forgingLines = {
  weigh: ({ data }, u, v) => data.candidates.slice(0, LINE_LIMIT)
    .map((one, i) => `W${i + 1}: ${figuresOf(one[u][v])} × ${figuresOf(data.heads.kernel.attention?.[i] ?? 1)} = ${figuresOf(data.weighted[i][u][v])}`).join(" · "),
  sum: ({ data }, u, v) => (data.weighted.length > LINE_LIMIT ? "Σ" : sumText(data.weighted.map((one) => one[u][v]))) + ` = ${figuresOf(data.mixed[u][v])}`,
  taps: ({ data }, u, v) => `${figuresOf(data.mixed[u][v])} × ${figuresOf(data.heads.spatial.attention?.[u][v] ?? 1)} = ${figuresOf(data.tapped[u][v])}`,
  gates: ({ data }, u, v) => [data.tapped[u][v], ...forgingGates(data).map(([, gate]) => gate)].map(figuresOf).join(" × ") + ` = ${figuresOf(data.forged[u][v])}`,
  meet: (state, u, v) => {
    const { value } = patchAt(state)[u][v];
    return `${figuresOf(state.data.forged[u][v])} × ${bracketed(value)} = ${figuresOf(state.data.forged[u][v] * value)}`;
  },
};
// The slice's own gates, of the heads that the layer has.
const forgingGates = (data) => [["channel", data.input_channel], ["filter", data.filter]]
  .filter(([head]) => !data.heads[head].absent).map(([head, index]) => [head, data.heads[head].attention[index], index]);

// --- the steps ------------------------------------------------------------------------------------------------------------

const forgingHeads = (state, panel) => `<div class="forge-heads">${HEADS.map((name) => {
  const head = state.data.heads[name];
  return `<section data-head="${name}" data-term="${name}"><h5 style="border-color:var(--${name})">${esc(head.title)}</h5>${head.absent ? absence(head) : panel(name, head)}</section>`;
}).join("")}</div>`;

const HEAD_SIDE = 104; // px of the taps, among the four heads
const headBars = (state, step, name, values, width, say = indexed(state.data.words[`${name}_value`], values, name === "kernel" ? 1 : 0)) => {
  const { data } = state, chosen = { channel: data.input_channel, filter: data.filter, kernel: null }[name];
  const bars = { name: `${step}-${name}`, terms: name, values, chosen, color: `var(--${name})`, width, caption: data.heads[name].title, height: 60 };
  if (name !== "kernel" || values.length > LINE_LIMIT) return forgingBars(state, { ...bars, say });
  const each = { names: values.map((_, i) => `W${i + 1}`), color: (i) => kernelTone(i, values.length), height: 46 };
  return forgingBars(state, { ...bars, ...each, say, rest: values.map((_, i) => say(i)).join(" · ") });
};

// The sigmoid of one entry with its numbers, and what the settings do to it after that.
const sigmoidText = ({ temperature, note }, logit, gate) => {
  const own = 1 / (1 + Math.exp(-logit / temperature));
  return `σ(${figuresOf(logit)} / ${temperature}) = ${figuresOf(own)}${note ? ` · ${note}: ${figuresOf(gate)}` : ""}`;
};
const softmaxText = ({ logits, attention, temperature, note }) => {
  const best = attention.indexOf(Math.max(...attention));
  return `W${best + 1}: exp(${figuresOf(logits[best])} / ${temperature}) / Σ exp(ℓ / ${temperature}) = ${figuresOf(attention[best])}${note ? ` · ${note}` : ""}`;
};

const forgingSteps = {
  pool: (state, room) => {
    const { data } = state, { words } = data, count = (data.input_size[0] * data.input_size[1]).toLocaleString("en");
    return forgingBars(state, {
      name: "pooled", terms: "pool", values: data.pooled, chosen: data.input_channel, color: "var(--forge-plain)", width: room, caption: words.mean_axis,
      say: (i) => fill(words.mean_of, { index: i, count, value: figuresOf(data.pooled[i]) }),
    });
  },

  squeeze: (state, room) => {
    const { data } = state, { words } = data, unit = data.hidden.indexOf(Math.max(...data.hidden));
    const say = (i) => fill(words.unit, { index: i, squeezed: figuresOf(data.squeezed[i]), normalized: figuresOf(data.normalized[i]), hidden: figuresOf(data.hidden[i]) });
    const bars = { terms: "squeeze", chosen: unit, color: "var(--forge-plain)", width: room, say, rest: "", height: 52 };
    const figures = ["squeezed", "normalized", "hidden"].map((name) => forgingBars(state, { ...bars, name, values: data[name], caption: words[`${name}_axis`] }));
    return `${figures.join("")}<p class="readout">${esc(say(unit))}</p>`;
  },

  logits: (state, room, panel) => forgingHeads(state, (name, head) =>
    name === "spatial"
      ? forgingSquare(state, "logits-spatial", "spatial", head.logits, HEAD_SIDE, head.title, "logits")
      : headBars(state, "logits", name, head.logits, panel)),

  attention: (state, room, panel) => forgingHeads(state, (name, head) => {
    const { data } = state, [u, v] = state.tap;
    const note = (text) => `<p class="forge-line" data-line="${name}">${esc(text)}</p>`;
    if (name === "spatial") {
      return `${forgingFigure("attention-spatial", "spatial", head.title, tapCells(head.attention, HEAD_SIDE, head.title, data))}${note(sigmoidText(head, head.logits[u][v], head.attention[u][v]))}`;
    }
    if (name === "kernel") return `<div data-step="attention-kernel">${shareBars({ values: head.attention })}</div>${note(softmaxText(head))}`;
    const say = (i) => fill(data.words[`${name}_value`], { index: i, value: sigmoidText(head, head.logits[i], head.attention[i]) });
    return headBars(state, "attention", name, head.attention, panel, say);
  }),

  weigh: (state, room) => {
    const { data } = state, count = data.candidates.length, row = inOneRow(room, Math.max(count, 3)), side = Math.min(forgingSide(room, row, 8 * row), room >= 900 ? 150 : 86); // two rows in one screen
    const shares = data.heads.kernel.attention;
    return `<div class="forge-chain" id="${state.id}-weighted" tabindex="0" data-keys="tap" role="group" aria-label="${esc(fill(data.words.choose_tap, { caption: data.words.weighted }))}">${data.candidates.map((values, i) => `<div class="forge-column">
      ${forgingSquare(state, "candidate", "candidates", values, side, `W${i + 1}`)}
      ${shares ? `<p class="forge-share" data-term="kernel" style="border-color:${kernelTone(i, count)}">× ${num(shares[i], 3)}</p>
      <figure data-step="weighted" data-term="kernel">${weightCells(data.weighted[i], side, data.words.weighted, { ...data, ...data.spans.kernel })}</figure>` : ""}</div>`).join("")}</div>`;
  },

  sum: (state, room) => {
    const { data } = state, count = data.weighted.length, row = inOneRow(room, count + 1), side = forgingSide(room, row, 26 * row);
    const parts = data.weighted.map((values, i) => forgingSquare(state, "weighted", "kernel", values, side, `W${i + 1}${data.heads.kernel.absent ? "" : ` × ${num(data.heads.kernel.attention[i])}`}`));
    return `<div class="forge-chain">${parts.join(forgingSign("+"))}${forgingSign("=")}${forgingResult(state, "mixed", "sum", data.mixed, side, data.words.sum)}</div>`;
  },

  taps: (state, room) => {
    const { data } = state, { words } = data, side = forgingSide(room, 3, 60), spatial = data.heads.spatial;
    const taps = spatial.absent ? "" : forgingSign("×") + forgingFigure("taps", "spatial", words.taps, tapCells(spatial.attention, side, words.taps, data));
    return `<div class="forge-chain">${forgingSquare(state, "mixed", "sum", data.mixed, side, words.sum)}${taps}${forgingSign("=")}${forgingResult(state, "tapped", "spatial", data.tapped, side, words.tapped)}</div>`;
  },

  gates: (state, room) => {
    const { data } = state, { words } = data, side = forgingSide(room, 2, 160);
    const chips = forgingGates(data).map(([head, gate, index]) =>
      `<span class="gate" data-term="${head}" data-gate="${head}" style="border-color:var(--${head})"><span class="faint">${esc(words[head])} ${index}</span>× ${num(gate, 4)}</span>`);
    return `<div class="forge-chain">${forgingSquare(state, "tapped", "spatial", data.tapped, side, words.tapped)}${forgingSign("×")}
      <div class="forge-gates">${chips.join("")}</div>${forgingSign("=")}
      ${forgingResult(state, "forged", GATE_TERMS, data.forged, side, words.forged)}</div>`;
  },

  meet: (state, room) => {
    const { data } = state, { words, spans } = data, side = forgingSide(room, 3, 60), patch = patchAt(state);
    const products = data.forged.map((line, u) => line.map((weight, v) => weight * patch[u][v].value)), added = products.flat().reduce((a, b) => a + b, 0);
    const under = kernelCells(patch, side, words.under, ({ value, inside }, y, x) => {
      const [low, high] = data.ends.input, tone = blend((2 * (value - low)) / (high - low || 1) - 1, data.greys), { span, digits } = spans.input;
      return {
        color: inside ? rgb(tone) : "var(--forge-outside)", ink: inside ? (isDark(tone) ? "#fff" : "#1a1a1a") : "var(--ink)",
        texts: inside ? [numberText(value, span, digits), numberText(value, span, digits - 1), numberText(value, span, 1)] : ["0"],
        title: fill(words.weight, { row: y + 1, column: x + 1, value: numberText(value, span, digits + 1) }),
      };
    });
    const outside = patch.flat().filter(({ inside }) => !inside).length;
    return `<div class="forge-chain">${forgingSquare(state, "forged", GATE_TERMS, data.forged, side, words.forged)}${forgingSign("×")}
      ${forgingFigure("patch", "x", words.under, under)}${forgingSign("=")}
      ${forgingResult(state, "products", "meet", products, side, words.products, "product")}${forgingSign("Σ")}
      <output class="forge-number" data-term="meet" data-number="added">${figuresOf(added)}</output></div>
      <p class="forge-line"><strong>${esc(fill(words.adds, { channel: data.input_channel, value: figuresOf(added) }))}</strong>${outside ? ` ${esc(fill(words.outside, { count: outside, total: patch.flat().length }))}` : ""}</p>`;
  },

  output: (state, room) => {
    const { data } = state, { words } = data, added = contributionsAt(state), own = outputAt(state);
    if (!added) return `<p class="forge-line" role="status">${esc(words.waiting)}</p>`;
    const total = added.reduce((a, b) => a + b, 0), position = state.place[0] * data.output_size[1] + state.place[1];
    const bars = forgingBars(state, {
      name: "contributions", terms: "output", values: added, chosen: data.channel, color: "var(--forge-plain)", width: room, caption: words.contributions, height: 46,
      say: indexed(words.adds_value, added, data.first_channel),
    });
    const before = state.maps.before[position], gate = data.heads.filter.absent ? null : data.heads.filter.attention[data.filter];
    const late = gate === null ? figuresOf(before) : `${figuresOf(gate)} × ${bracketed(before)} = ${figuresOf(gate * before)}`;
    const badge = !data.bounded ? words.badge_unbounded
      : fill(words.badge, { value: figuresOf(total), own: figuresOf(own), whole: data.difference, count: data.numbers });
    return `${bars}<p class="forge-line"><strong>${esc(fill(words.sum_of, { count: added.length, value: "" }))}</strong> <output class="forge-number" data-term="output" data-number="total">${figuresOf(total)}</output></p>
      <p class="forge-badge" data-badge>${esc(badge)}</p>
      <dl class="forge-orders"><div><dt>${esc(words.kernel_first)}</dt><dd class="forge-equation">( a<sub>f</sub> · a<sub>c</sub> · a<sub>s</sub> · Σ<sub>i</sub> a<sub>w,i</sub> W<sub>i</sub> ) ∗ x = <span data-number="kernel-first">${figuresOf(total)}</span></dd></div>
      <div><dt>${esc(words.maps_first)}</dt><dd class="forge-equation">a<sub>f</sub> · [ ( a<sub>s</sub> · Σ<sub>i</sub> a<sub>w,i</sub> W<sub>i</sub> ) ∗ ( a<sub>c</sub> · x ) ] = <span data-number="maps-first">${late}</span></dd></div></dl>
      ${data.bounded ? `<p class="note">${esc(fill(words.same_order, { count: data.numbers, difference: data.order_difference }))}</p>` : ""}`;
  },
};

const FOLLOW_PLACE = ["meet", "output"]; // steps that are drawn with the place, and again when it moves

const forgingStage = (state, step, number, room) => {
  const panel = room >= 520 ? (room - 24) / 2 : room;
  return `<section class="forge-stage" data-stage="${step.name}" aria-label="${esc(step.title)}">
    <h4>${number}. ${esc(step.title)}</h4><p class="${step.passed ? "why" : "forge-text"}">${esc(step.text)}${step.symbols && ` <span class="forge-symbols">${esc(step.symbols).replace(/(\p{L})_(\w(?:,\w)?)/gu, "$1<sub>$2</sub>")}</span>`}</p>
    <div class="forge-content">${FOLLOW_PLACE.includes(step.name) ? "" : forgingSteps[step.name](state, room, panel)}</div>
    ${forgingLines[step.name] && !step.passed ? `<p class="forge-line forge-tap" data-tap-line="${step.name}" aria-live="polite"></p>` : ""}</section>`;
};

// --- formula, steps and maps ----------------------------------------------------------------------------------------------

const forgingFormula = (state) => {
  const { data } = state, { heads, words } = data;
  const part = (term, go, html) => `<span class="forge-term" data-term="${term}" data-go="${go}">${html}</span>`;
  const attention = (head, sub, go) => `<span class="term${heads[head].absent ? " gone" : ""}" data-term="${head}" data-go="${go}" ${heads[head].absent ? `title="${esc(heads[head].absent)}"` : `style="border-color:var(--${head})"`}>a<sub>${sub}</sub></span>`;
  const z = "<i>z</i>";
  return `<div class="equation forge-formula"><span class="hidden">${esc(words.formula)}</span><div aria-hidden="true">
    <span class="forge-clause">${part("pool", "pool", `<i>g</i> = GAP( ${part("x", "pool", "<i>x</i>")} )`)}</span>
    <span class="forge-clause">${part("squeeze", "squeeze", `${z} = ReLU( BN( A <i>g</i> ) )`)}</span>
    <span class="forge-clause">${part("logits", "logits", `ℓ = ${["s", "c", "f", "w"].map((head) => `M<sub>${head}</sub> ${z} + b`).join(", ")}`)}</span>
    <span class="forge-clause">${part("attention", "attention", `${attention("spatial", "s", "attention")}, ${attention("channel", "c", "attention")}, ${attention("filter", "f", "attention")} = σ( ℓ / T ), ${attention("kernel", "w", "attention")} = softmax( ℓ / T )`)}</span>
    <span class="forge-clause forge-main">${part("y", "output", "<i>y</i>")} = ${part("output", "output", "Σ<sub>c</sub>")} ( ${attention("filter", "f", "gates")} · ${attention("channel", "c", "gates")} · ${attention("spatial", "s", "taps")} · ${part("sum", "sum", "Σ<sub>i</sub>")} ${attention("kernel", "w,i", "weigh")} ${part("candidates", "weigh", "W<sub>i</sub>")} ) ${part("meet", "meet", "∗")} ${part("x", "meet", "<i>x</i><sub>c</sub>")}</span></div></div>`;
};

const forgingNav = (state) => {
  const { data } = state, { words } = data, here = data.steps.findIndex(({ name }) => name === state.step);
  const button = (id, text, more = "") => `<button type="button" id="${state.id}-${id}" data-do="${id}" ${more}>${esc(text)}</button>`;
  const steps = data.steps.map(({ name, short, title }, i) =>
    `<li><button type="button" id="${state.id}-step-${name}" data-go="${name}" title="${esc(title)}" ${!state.all && i === here ? 'aria-current="step"' : ""}><span class="forge-count">${i + 1}</span><span class="forge-short"> ${esc(short)}</span></button></li>`);
  return `<nav class="forge-nav" aria-label="${esc(words.steps)}">${state.all ? "" : button("back", `‹ ${words.back}`, `aria-disabled="${here === 0}"`)}
    ${state.all ? "" : button("next", `${words.next} ›`, `aria-disabled="${here === data.steps.length - 1}"`)}
    ${button("all", state.all ? words.one : words.all)}<ol>${steps.join("")}</ol></nav>`;
};

const forgingMap = (state, name, side, [height, width], [above, beside], caption, attributes) => {
  const rows = height + 2 * above, columns = width + 2 * beside, scale = side / Math.max(rows, columns);
  const share = (part, whole) => `${((100 * part) / whole).toFixed(3)}%`;
  return `<figure class="forge-map-figure" data-map="${name}" data-term="${name === "input" ? INPUT_TERMS : "y"}"><div class="forge-map" style="width:${at(columns * scale)}px;aspect-ratio:${columns}/${rows}" ${attributes}>
    <canvas width="${width}" height="${height}" style="left:${share(beside, columns)};top:${share(above, rows)};width:${share(width, columns)};height:${share(height, rows)}"></canvas>
    <svg viewBox="0 0 ${columns} ${rows}" preserveAspectRatio="none" aria-hidden="true"></svg></div><figcaption>${esc(caption)}</figcaption></figure>`;
};

const forgingMaps = (state, side) => {
  const { data } = state, { words } = data, shape = ([height, width]) => ({ height, width });
  return `<aside class="forge-maps">
    ${forgingMap(state, "input", side, data.input_size, data.padding, fill(words.input_map, { channel: data.input_channel, ...shape(data.input_size) }), 'role="img"')}
    <div style="width:${side}px">${forgingMap(state, "output", side, data.output_size, [0, 0], fill(words.output_map, { filter: data.filter, ...shape(data.output_size) }), `id="${state.id}-place" tabindex="0" data-keys="place" role="application"`)}
    <p class="forge-place" role="status"></p><p class="note"><span class="forge-who"></span> <span class="forge-hint">${esc(words.choose_place)}</span></p></div></aside>`;
};

const paintForgingMap = (root, { data }, name, table) =>
  paintLevels(root.querySelector(`[data-map=${name}] canvas`), decoded(data.levels[name]), table);

// The ends of a map, as text.
const mapEnds = (values) => ({
  low: figuresOf(values.reduce((a, b) => Math.min(a, b))), high: figuresOf(values.reduce((a, b) => Math.max(a, b))),
});

// --- what follows the pointer and the keys ------------------------------------------------------------------------------

// Light up the terms, with the figures and maps that show them; without any, those of the step.
const lightForging = (root, state, terms) => {
  const lit = terms ?? (state.all ? [] : FORGING_TERMS[state.step]);
  for (const element of root.querySelectorAll("[data-term]")) {
    element.classList.toggle("lit", element.dataset.term.split(" ").some((term) => lit.includes(term)));
  }
};

const showForgingTap = (root, state) => {
  const here = state.tap.join();
  for (const cell of root.querySelectorAll(`.forge-stages [data-tap="${here}"]`)) {
    const svg = cell.ownerSVGElement; // a frame over it: the next cells lie over its edges
    const frame = svg.querySelector(".lit-tap") ?? svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "rect"));
    for (const name of ["x", "y", "width", "height"]) frame.setAttribute(name, cell.getAttribute(name));
    frame.setAttribute("class", "lit-tap");
  }
  for (const line of root.querySelectorAll("[data-tap-line]")) {
    line.textContent = forgingTap(state, forgingLines[line.dataset.tapLine](state, ...state.tap));
  }
  const spatial = state.data.heads.spatial, line = root.querySelector("[data-line=spatial]"), [u, v] = state.tap;
  if (line) line.textContent = forgingTap(state, sigmoidText(spatial, spatial.logits[u][v], spatial.attention[u][v]));
  const inside = root.querySelector("[data-map=input] svg");
  for (const cell of inside.querySelectorAll("[data-under]")) cell.classList.toggle("lit-tap", cell.dataset.under === here);
};

const showForgingPlace = (root, state) => {
  const { data, place, maps } = state, [row, column] = place, { words } = data;
  const [input, output] = ["input", "output"].map((name) => root.querySelector(`[data-map=${name}] svg`));
  const cells = data.forged.flatMap((line, u) => line.map((_, v) => {
    const [y, x] = underTap(data, place, u, v);
    return `<rect x="${x + data.padding[1]}" y="${y + data.padding[0]}" width="1" height="1" data-under="${u},${v}"/>`;
  }));
  const [top, left] = underTap(data, place, 0, 0), reach = data.dilation.map((apart) => apart * (data.kernel_size - 1) + 1);
  input.innerHTML = `${cells.join("")}<rect class="forge-window" x="${left + data.padding[1]}" y="${top + data.padding[0]}" width="${reach[1]}" height="${reach[0]}"/>`;
  const [height, width] = data.output_size;
  output.innerHTML = `<path class="forge-cross" d="M${column + 0.5} 0V${row}M${column + 0.5} ${row + 1}V${height}M0 ${row + 0.5}H${column}M${column + 1} ${row + 0.5}H${width}"/><rect class="forge-window" x="${column}" y="${row}" width="1" height="1"/>`;
  const value = figuresOf(outputAt(state));
  const said = fill(words.place, { row: row + 1, column: column + 1, value });
  root.querySelector(".forge-place").textContent = said;
  root.querySelector(".forge-who").textContent = state.placed ? "" : words.largest_place;
  root.querySelector("[data-map=output] .forge-map").setAttribute("aria-label", `${fill(words.output_alt, { filter: data.filter, ...mapEnds(maps.output) })} ${said}`);
  root.querySelector("[data-map=input] .forge-map").setAttribute("aria-label", fill(words.input_alt, { channel: data.input_channel, ...mapEnds(maps.input), row: top + Math.floor(reach[0] / 2) + 1, column: left + Math.floor(reach[1] / 2) + 1 }));
  for (const name of FOLLOW_PLACE) {
    const content = root.querySelector(`[data-stage=${name}] .forge-content`);
    if (content) replace(content, forgingSteps[name](state, state.room));
  }
  showForgingTap(root, state);
  lightForging(root, state, state.lit);
};

const goForging = (root, state, name) => {
  if (state.all) {
    root.querySelector(`[data-stage=${name}]`)?.scrollIntoView({ behavior: "smooth", block: "nearest" });
    return;
  }
  if (name === state.step) return;
  changeForging(state, { step: name });
  state.draw(state);
};

const stepForging = (root, state, by) => {
  if (state.all) return;
  const { steps } = state.data, there = steps[steps.findIndex(({ name }) => name === state.step) + by];
  if (there) goForging(root, state, there.name);
};

const moveForging = (root, state, row, column) => {
  const [height, width] = state.data.output_size, place = [clampTo(row, 0, height - 1), clampTo(column, 0, width - 1)];
  if (place.join() === state.place.join() && state.placed) return;
  changeForging(state, { place, placed: true });
  showForgingPlace(root, state);
};

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

const listenToForging = (root, state) => {
  const placeUnder = (map, event) => {
    const box = map.getBoundingClientRect(), [height, width] = state.data.output_size;
    moveForging(root, state, Math.floor(((event.clientY - box.top) / box.height) * height), Math.floor(((event.clientX - box.left) / box.width) * width));
  };
  root.onclick = (event) => {
    const go = event.target.closest("[data-go]"), button = event.target.closest("[data-do]");
    if (go) {
      goForging(root, state, go.dataset.go);
      root.querySelector('[aria-current="step"]')?.focus({ preventScroll: true }); // so that the arrow keys go on from here
    }
    if (button?.dataset.do === "back") stepForging(root, state, -1);
    if (button?.dataset.do === "next") stepForging(root, state, 1);
    if (button?.dataset.do === "all") {
      changeForging(state, { all: !state.all });
      state.draw(state);
    }
  };
  root.onkeydown = (event) => {
    const arrow = ARROWS[event.key], keys = event.target.closest("[data-keys]")?.dataset.keys;
    if (!arrow || event.altKey || event.ctrlKey || event.metaKey) return;
    if (keys === "place") moveForging(root, state, state.place[0] + arrow[0], state.place[1] + arrow[1]);
    else if (keys === "tap") {
      state.tap = state.tap.map((index, axis) => clampTo(index + arrow[axis], 0, state.data.kernel_size - 1));
      showForgingTap(root, state);
    } else if (arrow[1] && !state.all) stepForging(root, state, arrow[1]);
    else return;
    event.preventDefault();
  };
  root.onpointerdown = (event) => {
    const map = event.target.closest("[data-keys=place]");
    if (!map) return;
    map.setPointerCapture(event.pointerId);
    state.dragged = map;
    placeUnder(map, event);
  };
  root.onpointerup = root.onpointercancel = () => { state.dragged = null; };
  root.onpointermove = (event) => {
    if (state.dragged) placeUnder(state.dragged, event);
    const bars = event.target.closest("[data-bars]");
    if (bars) readForgingBar(bars, state.bars[bars.dataset.bars], event);
  };
  root.onpointerover = (event) => {
    const tap = event.target.closest("[data-tap]"), term = event.target.closest("[data-term]");
    if (tap) {
      state.tap = tap.dataset.tap.split(",").map(Number);
      showForgingTap(root, state);
    }
    state.lit = term?.dataset.term.split(" ");
    lightForging(root, state, state.lit);
  };
  root.onpointerout = (event) => {
    const bars = event.target.closest("[data-bars]");
    if (!bars || bars.contains(event.relatedTarget)) return;
    bars.querySelector(".cursor").removeAttribute("transform");
    const { rest, say, chosen } = state.bars[bars.dataset.bars];
    forgingReadout(bars).textContent = rest || say(chosen);
  };
  root.onpointerleave = () => {
    state.lit = undefined;
    lightForging(root, state);
  };
};

// What is read is said under the bars, or under the last of several that have one line together.
const forgingReadout = (figure) => figure.querySelector(".readout") ?? figure.parentElement.lastElementChild;
const readForgingBar = (figure, { values, say, step, width }, event) => {
  const svg = figure.querySelector("svg"), box = svg.getBoundingClientRect(), shrunk = box.width / width;
  const i = clampTo(Math.floor(((event.clientX - box.left) / shrunk - FORGING_GUTTER) / step), 0, values.length - 1);
  figure.querySelector(".cursor").setAttribute("transform", `translate(${at(FORGING_GUTTER + (i + 0.5) * step)} 0)`);
  forgingReadout(figure).textContent = say(i);
};

const FORGING_WIDE = 900; // px from which the maps stand beside the steps

const drawForging = (root, data, act) =>
  drawAtWidth(root, (state) => {
    const answer = state.data !== data && state.drawn;
    if (state.data !== data) adoptForging(state, data);
    state.act = act;
    const drawn = { fixed: state.fixed, step: state.step, all: state.all, width: state.width };
    if (answer && Object.keys(drawn).every((key) => drawn[key] === state.drawn[key])) {
      showForgingPlace(root, state); // the page has heard of a place: what is drawn stays, under a pointer that drags
      return;
    }
    Object.assign(state, { drawn, bars: {}, dragged: null });
    const wide = state.width >= FORGING_WIDE;
    const side = wide ? clampTo(Math.floor((state.width - 720) / 2), 150, 260) : Math.min(220, Math.floor((state.width - 20) / 2));
    state.room = wide ? state.width - 2 * side - 56 : state.width;
    const stages = data.steps.map((step, i) => (state.all || step.name === state.step ? forgingStage(state, step, i + 1, state.room) : ""));
    replace(root, `${forgingFormula(state)}${forgingNav(state)}<div class="forge-body${wide ? " forge-wide" : ""}"><div class="forge-stages">${stages.join("")}</div>${forgingMaps(state, side)}</div>
      <p class="note">${esc(data.slice)} ${esc(data.scale)} <span class="forge-hint">${esc(data.words.keys)}</span></p>`);
    const table = toneTable(data.greys);
    for (const name of ["input", "output"]) paintForgingMap(root, state, name, table);
    listenToForging(root, state);
    showForgingPlace(root, state);
  });
