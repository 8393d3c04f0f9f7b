// Dials, live while they are dragged. A dial runs over the positions of a table, so what is shown is what is applied.

const drawDials = (root, data, act) => {
  // held: the id of the dial under the pointer; exact: ids of the dials whose value is the one of the thumb's position
  const state = stateOf(root, { held: null, exact: new Set(), pace: newPace() });
  state.data = data;
  const send = (message) => (message.released || !data.redraw ? act.turn(message) : askRedraw(state, message));
  hear(state.pace, data, send, (waiting) => label(root, state, waiting));
  fit(root, state);
  if (!state.held && isAnswered(state.pace)) adopt(root, state);
  follow(state.pace);
};

const NOT_YET = [404, 429, 503]; // the page is being run, another step is being answered, or others keep the network
const AGAIN = 200; // ms after which the server is asked again then

// Ask for the figures under what is turned to. The page is not run for them.
const askRedraw = async ({ data, pace }, message) => {
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(message) };
  const reply = await fetch(data.redraw, options).catch(() => null);
  const figures = reply?.ok ? await reply.json().catch(() => null) : null;
  if (!figures) return missRedraw(pace, message.seq, NOT_YET.includes(reply?.status) ? AGAIN : PATIENCE);
  pace.gap = Number(reply.headers.get("Odconv-Gap")) || LEAST_GAP;
  if (!hearRedraw(pace, message.seq)) return;
  follow(pace); // before the figures are redrawn: meanwhile the server computes the next ones
  for (const [key, figure] of Object.entries(figures)) redrawFigure(key, figure);
};

const inputOf = (root, id) => root.querySelector(`#${id}`);
const positionOf = (root, id) => Number(inputOf(root, id).value);

// Build the dials again where they are others: by their network, stimulus or language.
const fit = (root, state) => {
  const { dials } = state.data, fitted = JSON.stringify(dials.map(({ id, label, texts }) => [id, label, texts]));
  if (state.fitted === fitted) return;
  Object.assign(state, { fitted, held: null });
  const dial = ({ id, label, stops, marks }) => `<div class="dial">
    <div class="dial-head"><label for="${id}">${esc(label)}</label> <output for="${id}" id="${id}-value"></output>
      <span class="dial-wait" id="${id}-wait" role="status"></span></div>
    <input type="range" id="${id}" min="0" max="${stops.length - 1}" step="1">
    <div class="dial-marks" aria-hidden="true">${marks.map((mark) => markOf(mark, stops.length - 1)).join("")}</div></div>`;
  replace(root, `<div class="dials">${dials.map(dial).join("")}</div>`);
  for (const { id } of dials) {
    const input = inputOf(root, id);
    input.oninput = () => turnDial(root, state, id, false);
    input.onchange = () => turnDial(root, state, id, true);
    input.onpointerdown = () => { state.held = id; };
    input.onpointerup = input.onpointercancel = () => { state.held = null; };
    input.onkeydown = (event) => leaveExact(root, state, id, event);
  }
  adopt(root, state);
};

const markOf = ({ position, text, minor }, last) => {
  const place = position === 0 ? "first" : position === last ? "last" : "";
  return `<span class="${place} ${minor ? "minor" : ""}" style="--at:${at((100 * position) / Math.max(1, last))}">${esc(text)}</span>`;
};

const dialOf = (state, id) => state.data.dials.find((dial) => dial.id === id);

// Show what the page says. A value from a link need not be in the table; the thumb then stands at the nearest place.
const adopt = (root, state) => {
  for (const { id, stops, value, nearest, texts, text } of state.data.dials) {
    state.exact[stops[nearest] === value && texts[nearest] === text ? "add" : "delete"](id);
    inputOf(root, id).value = nearest;
  }
};

// From a value between two positions a key goes to the next position, which the thumb may already stand at.
const leaveExact = (root, state, id, event) => {
  const { value, stops } = dialOf(state, id), last = stops.length - 1;
  if (state.exact.has(id)) return;
  const above = stops.findIndex((stop) => stop > value), below = above - 1;
  const position = {
    ArrowLeft: below, ArrowDown: below, ArrowRight: above, ArrowUp: above, Home: 0, End: last,
    PageDown: Math.max(0, below - Math.round(last / 10)), PageUp: Math.min(last, above + Math.round(last / 10)),
  }[event.key];
  if (position === undefined) return;
  event.preventDefault();
  inputOf(root, id).value = position;
  turnDial(root, state, id, true);
};

const label = (root, state, waiting) => {
  for (const { id, texts, text } of state.data.dials) {
    const shown = state.exact.has(id) ? texts[positionOf(root, id)] : text;
    root.querySelector(`#${id}-value`).textContent = shown;
    inputOf(root, id).setAttribute("aria-valuetext", shown);
    const wait = root.querySelector(`#${id}-wait`), sentence = id in waiting ? state.data.waiting : "";
    if (wait.textContent !== sentence) wait.textContent = sentence;
  }
};

const turnDial = (root, state, id, released) => {
  state.exact.add(id);
  turn(state.pace, { [id]: dialOf(state, id).stops[positionOf(root, id)] }, released);
};
