// Shared by every drawing: text safety, tones, profiles. A drawing is a function (root, data, act): it can be called again
// with new data at any time and redraws in place, so nothing flickers while a control is dragged.

const HEADS = ["spatial", "channel", "filter", "kernel"];

const esc = (text) =>
  String(text).replace(/[&<>"']/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" })[c]);
const num = (value, digits = 2) => value.toFixed(digits);
const at = (value) => value.toFixed(1);

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
const said = (value, span, digits = 2) => {
  const text = num(Math.abs(value), digits);
  return !span ? num(value, digits) : Number(text) === 0 ? text : (value < 0 ? "−" : "+") + text;
};
const kernelTone = (index, count) => tone("kernel", count === 1 ? 0.5 : 0.22 + (0.6 * index) / (count - 1));

// A drawing's lasting state (width, choices made inside it), kept with its root and not with its data.
const states = new WeakMap();
const stateOf = (root, initial) => states.get(root) ?? states.set(root, initial).get(root);

// Call draw now, and again whenever the width of root changes.
const drawAtWidth = (root, draw) => {
  const state = stateOf(root, {});
  state.draw = draw;
  state.width = root.clientWidth;
  if (!state.observer) {
    state.observer = new ResizeObserver(() => {
      if (root.clientWidth && root.clientWidth !== state.width) {
        state.width = root.clientWidth;
        state.draw(state);
      }
    });
    state.observer.observe(root);
  }
  if (state.width) draw(state);
};

// Replace the drawing inside root, keeping the keyboard focus on the element with the same id.
const replace = (root, html) => {
  const focused = root.getRootNode().activeElement;
  const id = focused && root.contains(focused) ? focused.id : "";
  root.innerHTML = html;
  if (id) root.querySelector(`#${id}`)?.focus({ preventScroll: true });
};
