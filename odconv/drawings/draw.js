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
// A difference from what is typical, on a scale of plus and minus span: the head's colour above, grey below.
const shade = (head, value, span) =>
  !span ? tone(head, value)
  : value >= 0 ? tone(head, (0.5 * value) / span)
  : `color-mix(in oklab, var(--ink) ${at(Math.min(-value / span, 1) * 60)}%, var(--paper))`;
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

const PRINTED_WIDTH = 680; // px that A4 and Letter have between their margins

// Call draw now, and again whenever the width of root changes; for paper, at the width of paper.
const drawAtWidth = (root, draw) => {
  const state = stateOf(root, { printing: false, id: `drawing-${++drawn}` });
  state.draw = draw;
  const redraw = () => {
    const width = state.printing ? Math.min(root.clientWidth, PRINTED_WIDTH) : root.clientWidth;
    if (!width || width === state.width) return;
    state.width = width;
    state.draw(state);
  };
  if (!state.observer) {
    state.observer = new ResizeObserver(redraw);
    state.observer.observe(root);
    const print = (printing) => {
      state.printing = printing;
      redraw();
    };
    const listen = { beforeprint: () => print(true), afterprint: () => print(false) };
    for (const [event, listener] of Object.entries(listen)) {
      const call = () => (root.isConnected ? listener() : removeEventListener(event, call));
      addEventListener(event, call);
    }
  }
  state.width = undefined;
  redraw();
};

// Replace the drawing inside root, keeping the keyboard focus on the element with the same id.
const replace = (root, html) => {
  const focused = root.getRootNode().activeElement;
  const id = focused && root.contains(focused) ? focused.id : "";
  root.innerHTML = html;
  if (id) root.querySelector(`#${id}`)?.focus({ preventScroll: true });
};
