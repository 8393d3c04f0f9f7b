// Temperature and kernel count, live while they are dragged. The temperature dial runs over the positions of a table, so
// what is shown is what is applied. A dial sends only what it changed, as pacing.js says.

const DIALS = ["temperature", "kernels"];
const MARKS = [0.1, 0.3, 1, 3, 10, 30];

const drawDials = (root, data, act) => {
  // exact: whether the temperature shown is the one of the thumb's position
  const state = stateOf(root, { ...PACE, held: null, exact: true });
  Object.assign(state, { data, act });
  if (!root.querySelector("input")) build(root, state);
  takeAnswer(state, data);
  fit(root, state);
  if (!state.held && !state.sent && !state.unsent) adopt(root, state);
  follow(root, state);
};

const inputOf = (root, id) => root.querySelector(`#${id}`);
const positionOf = (root, id) => Number(inputOf(root, id).value);

const build = (root, state) => {
  const dial = (id, range) => `<div class="dial">
    <div class="dial-head"><label for="${id}"></label> <output for="${id}" id="${id}-value"></output>
      <span class="dial-wait" id="${id}-wait" role="status"></span></div>
    <input type="range" id="${id}" ${range} step="1">
    <div class="dial-marks" aria-hidden="true"></div></div>`;
  root.innerHTML = `<div class="dials">${dial("temperature", `min="0" max="${state.data.stops.length - 1}"`)}
    ${dial("kernels", 'min="1"')}</div>`;
  for (const id of DIALS) {
    const input = inputOf(root, id);
    input.oninput = () => turn(root, state, id, false);
    input.onchange = () => turn(root, state, id, true);
    input.onpointerdown = () => { state.held = id; };
    input.onpointerup = input.onpointercancel = () => { state.held = null; };
  }
  inputOf(root, "temperature").onkeydown = (event) => leaveExact(root, state, event);
};

// Labels and marks, again where the network or the language is another one.
const fit = (root, state) => {
  const { most, stops, words } = state.data, fitted = `${most} ${words.temperature}`;
  if (state.fitted === fitted) return;
  state.fitted = fitted;
  for (const id of DIALS) root.querySelector(`label[for=${id}]`).textContent = words[id];
  const marks = {
    temperature: MARKS.map((t) => [stops.indexOf(t) / (stops.length - 1), t === 1 ? words.mark : t]),
    kernels: Array.from({ length: most }, (_, i) => [i / Math.max(1, most - 1), i + 1]),
  };
  for (const id of DIALS) {
    root.querySelector(`#${id} + .dial-marks`).innerHTML = marks[id]
      .map(([share, text]) => `<span style="--at:${at(100 * share)}">${esc(text)}</span>`).join("");
  }
  inputOf(root, "kernels").max = most;
  inputOf(root, "kernels").closest(".dial").hidden = most < 2;
};

// Show what the page says. A temperature from a link need not be in the table; the thumb then stands at the nearest place.
const adopt = (root, state) => {
  const { temperature, text, kernels, stops, words } = state.data;
  const away = stops.map((t) => Math.abs(Math.log(t / temperature)));
  const nearest = away.indexOf(Math.min(...away));
  state.exact = stops[nearest] === temperature && words.temperatures[nearest] === text;
  inputOf(root, "temperature").value = nearest;
  inputOf(root, "kernels").value = kernels;
};

// From a temperature between two positions a key goes to the next position, which the thumb may already stand at.
const leaveExact = (root, state, event) => {
  const { temperature, stops } = state.data, last = stops.length - 1;
  if (state.exact) return;
  const above = stops.findIndex((t) => t > temperature), below = above - 1;
  const position = {
    ArrowLeft: below, ArrowDown: below, ArrowRight: above, ArrowUp: above, Home: 0, End: last,
    PageDown: Math.max(0, below - Math.round(last / 10)), PageUp: Math.min(last, above + Math.round(last / 10)),
  }[event.key];
  if (position === undefined) return;
  event.preventDefault();
  inputOf(root, "temperature").value = position;
  turn(root, state, "temperature", true);
};

const label = (root, state, waiting) => {
  const { words, text } = state.data;
  const texts = {
    temperature: state.exact ? words.temperatures[positionOf(root, "temperature")] : text,
    kernels: words.counts[positionOf(root, "kernels") - 1],
  };
  for (const id of DIALS) {
    root.querySelector(`#${id}-value`).textContent = texts[id];
    inputOf(root, id).setAttribute("aria-valuetext", texts[id]);
    const wait = root.querySelector(`#${id}-wait`), sentence = id in waiting ? words.waiting : "";
    if (wait.textContent !== sentence) wait.textContent = sentence;
  }
};

const turn = (root, state, id, released) => {
  if (id === "temperature") state.exact = true;
  takeTurn(state, { [id]: id === "temperature" ? state.data.stops[positionOf(root, id)] : positionOf(root, id) }, released);
  follow(root, state);
};

const follow = (root, state) => pace(state, state.act.turn, (waiting) => label(root, state, waiting));
