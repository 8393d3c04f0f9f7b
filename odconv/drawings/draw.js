// Shared by every drawing: text safety, tones, widths. A drawing is a function (root, data, act): it can be called again
// with new data at any time and redraws in place, so nothing flickers while a control is dragged. Every word comes with the
// data; what is filled into HTML goes through esc, since names in it are others'.

const HEADS = ["spatial", "channel", "filter", "kernel"];

const esc = (text) =>
  String(text).replace(/[&<>"']/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" })[c]);
const num = (value, digits = 2) => value.toFixed(digits);
const at = (value) => value.toFixed(1);
// "row {row}" and { row: 2 } -> "row 2".
const fill = (template, values) => template.replace(/\{(\w+)\}/g, (_, name) => values[name]);

// Shown at its width; where there is less room, as on paper, it shrinks as a whole.
const svgOf = (width, height, attributes, content) =>
  `<svg ${attributes} width="${at(width)}" height="${at(height)}" viewBox="0 0 ${at(width)} ${at(height)}">${content}</svg>`;

// 0: the page's background, 0.5: the head's own colour, 1: towards the text colour. The same on every page, both themes.
const tone = (head, value) => {
  const v = Math.min(Math.max(value, 0), 1);
  return v <= 0.5
    ? `color-mix(in oklab, var(--${head}) ${at(v * 200)}%, var(--paper))`
    : `color-mix(in oklab, var(--ink) ${at((v - 0.5) * 130)}%, var(--${head}))`;
};
// A tone between those of ``tones``, [red, green, blue]; -1: the first, 1: the last.
const blend = (place, tones) => {
  const x = ((Math.min(Math.max(place, -1), 1) + 1) / 2) * (tones.length - 1), low = Math.min(Math.floor(x), tones.length - 2);
  return tones[low].map((part, i) => Math.round(part + (x - low) * (tones[low + 1][i] - part)));
};
const rgb = (tone) => `rgb(${tone.join(" ")})`;
const bytesOf = (colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
// The colour of a value: of the head, or of a difference from the typical on a scale of plus and minus span.
const shade = (head, value, { span, tones }) => !span ? tone(head, value) : rgb(blend(value / span, tones.map(bytesOf)));
// How far along an axis a value lies, 0 to 1; differences start from the middle.
const along = (value, span) => Math.min(Math.max(span ? (value / span + 1) / 2 : value, 0), 1);
// A number as text; a difference always has its sign.
const numberText = (value, span, digits = 2) => {
  const text = num(Math.abs(value), digits);
  return !span ? num(value, digits) : Number(text) === 0 ? text : (value < 0 ? "−" : "+") + text;
};
// The same in both themes: it tells kernels apart and means no value.
const kernelTone = (index, count) =>
  `color-mix(in oklab, var(--kernel-last) ${at(count === 1 ? 50 : (100 * index) / (count - 1))}%, var(--kernel-first))`;

// A drawing's lasting state (width, choices made inside it), kept with its root and not with its data.
const states = new WeakMap();
const stateOf = (root, initial) => states.get(root) ?? states.set(root, initial).get(root);
let drawn = 0; // one page can hold several drawings of a kind, and ids are for all of it

// Many cells or bars as one path a tone: a number an entry, and for each a path and how far its tone is, 0 to 1.
const TONE_STEPS = 20;
const inTones = (count, pathOf, shareOf, colorOf) => {
  const paths = Array.from({ length: TONE_STEPS + 1 }, () => "");
  for (let i = 0; i < count; i++) paths[Math.round(Math.min(Math.max(shareOf(i), 0), 1) * TONE_STEPS)] += pathOf(i);
  return paths.map((path, step) => path && `<path d="${path}" style="fill:${colorOf(step / TONE_STEPS)}"/>`).join("");
};

// What a value's tone means: a difference's, or a gate's in the colours of the heads that are drawn in tones.
const toneKey = ({ span, tones, words }) => {
  const ends = span ? [`${words.below} −${span}`, `+${span} ${words.above}`] : ["0", "1"];
  const stops = (head) => [0, 0.25, 0.5, 0.75, 1].map((v) => tone(head, v)).join(",");
  const ramps = span ? [tones.join(",")] : ["spatial", "channel", "filter"].map(stops);
  return `<span>${esc(ends[0])}</span><span class="ramps">${ramps.map((ramp) => `<i style="background:linear-gradient(to right,${ramp})"></i>`).join("")}</span><span>${esc(ends[1])}</span>`;
};

// A button that shows the network as trained in place, for as long as it is held by pointer or key. What reads a page aloud
// presses and lets go at once: for it, a press turns it on, and the next one off.
const HOLD_BUTTON = '<button type="button" class="hold" aria-pressed="false"></button>';
const updateHold = (button, text, offered, state) => {
  const show = (held) => {
    if (state.held === held) return;
    state.held = held;
    state.draw(state);
  };
  if (!offered) state.held = false;
  button.textContent = text;
  button.setAttribute("aria-pressed", Boolean(state.held));
  button.style.visibility = offered ? "" : "hidden";
  const isKey = (event) => event.key === " " || event.key === "Enter";
  button.onpointerdown = (event) => {
    button.setPointerCapture(event.pointerId);
    show(true);
  };
  button.onpointerup = button.onpointercancel = button.onblur = () => show(false);
  button.onkeydown = (event) => {
    if (!isKey(event)) return;
    event.preventDefault();
    show(true);
  };
  button.onkeyup = (event) => {
    if (!isKey(event)) return;
    event.preventDefault(); // no click follows
    show(false);
  };
  button.onclick = (event) => event.detail === 0 && show(!state.held);
  button.oncontextmenu = (event) => event.preventDefault(); // of a long touch
};

// Bars of one head, ``step`` px each, from the height ``from``; those of differences each in the tone of its value.
const profileBars = (head, values, left, step, y, from, data) => {
  const bar = (i) => `M${at(left + i * step)} ${from}V${y(values[i])}h${at(step + 0.05)}V${from}z`;
  if (!data.span) return `<path d="${values.map((_, i) => bar(i)).join("")}" style="fill:var(--${head})"/>`;
  const color = (share) => shade(head, (2 * share - 1) * data.span, data);
  return `<g class="cells">${inTones(values.length, bar, (i) => along(values[i], data.span), color)}</g>`;
};
// A number at the middle of a bar, on a plate, so that a dashed line does not strike it out.
const numberPlate = (text, x, y) => {
  const wide = 7.2 * text.length + 5;
  return `<rect x="${at(x - wide / 2)}" y="${at(y - 12)}" width="${at(wide)}" height="16" rx="4" class="plate"/><text x="${at(x)}" y="${at(y)}" class="middle">${esc(text)}</text>`;
};

const BAND_STEP = 4; // px a channel; where there are fewer, single dashes are a scribble
// Trained gates over bars: dashes where there is room for each, else a band from the least to the greatest of neighbours.
const trainedMarks = (values, left, step, y) => {
  const many = bandSize(step);
  if (many === 1) {
    return `<polyline points="${values.map((v, i) => `${at(left + i * step)},${y(v)} ${at(left + (i + 1) * step)},${y(v)}`).join(" ")}" class="ghost-line"/>`;
  }
  const groups = Array.from({ length: Math.ceil(values.length / many) }, (_, g) => values.slice(g * many, (g + 1) * many));
  const edge = (choose) => groups.map((group, g) => {
    const from = at(left + g * many * step), to = at(left + (g * many + group.length) * step), height = y(choose(...group));
    return [`${from},${height}`, `${to},${height}`];
  });
  const [upper, lower] = [edge(Math.max), edge(Math.min)];
  return `<polygon points="${upper.flat().join(" ")} ${lower.toReversed().flatMap(([from, to]) => [to, from]).join(" ")}" class="band"/>`;
};
const bandSize = (step) => (step >= BAND_STEP ? 1 : Math.ceil(8 / step));
const marksText = (words, step) => (bandSize(step) === 1 ? words.trained_marks : fill(words.trained_band, { count: bandSize(step) }));

const PRINTED_WIDTH = 680; // px that A4 and Letter have between their margins

// Call draw now, and again whenever the width of root changes; for paper, at the width of paper.
const drawAtWidth = (root, draw) => {
  const state = stateOf(root, { printing: false, id: `drawing-${++drawn}` });
  state.draw = draw;
  const measure = () => (state.printing ? Math.min(root.clientWidth, PRINTED_WIDTH) : root.clientWidth);
  const fit = () => {
    const width = measure();
    if (!width || width === state.width) return;
    state.width = width;
    state.draw(state);
  };
  if (!state.observer) {
    state.observer = new ResizeObserver(fit);
    state.observer.observe(root);
    const print = (printing) => {
      state.printing = printing;
      fit();
    };
    const listen = { beforeprint: () => print(true), afterprint: () => print(false) };
    for (const [event, listener] of Object.entries(listen)) {
      const call = () => (root.isConnected ? listener() : removeEventListener(event, call));
      addEventListener(event, call);
    }
  }
  // Measured only once: to measure makes the browser lay out the page between the drawings of every step of a drag.
  state.width ||= measure();
  if (state.width) state.draw(state);
};

// Replace the drawing inside root, keeping the keyboard focus on the element with the same id.
const replace = (root, html) => {
  const focused = root.getRootNode().activeElement;
  const id = focused && root.contains(focused) ? focused.id : "";
  root.innerHTML = html;
  if (id) root.querySelector(`#${id}`)?.focus({ preventScroll: true });
};
