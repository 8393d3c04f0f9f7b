// One temperature for all heads or one for each, and the epoch of a training whose temperature falls. Every move is shown at
// once by the drawings that can follow (on_dials.js) and sent to the network as pacing.js says. A message has all four
// temperatures: what is shown is what is applied.

const TEMPERATURE_MARKS = [0.1, 0.3, 1, 3, 10, 30];
const EPOCH_MARKS = [0, 5, 10];

const drawTemperatures = (root, data, act) => {
  // divisors: what the dials show; keys: the heads whose dials are drawn, or "all"; held: the dial under the pointer
  const state = stateOf(root, { held: null, divisors: data.divisors, keys: [], pace: newPace() });
  state.data = data;
  buildTemperatures(root, state);
  hear(state.pace, data, act.turn, (waiting) => labelTemperatures(root, state, waiting));
  if (!state.held && isAnswered(state.pace)) state.divisors = data.divisors;
  showDials(state.divisors);
  follow(state.pace);
};

const temperatureMarks = (marks) =>
  marks.map(([share, text]) => `<span style="--at:${at(100 * share)}">${esc(text)}</span>`).join("");

const buildTemperatures = (root, state) => {
  const { heads, four, stops, schedule, words } = state.data, keys = four ? heads : ["all"];
  const built = JSON.stringify([keys, words]);
  if (state.built === built) return;
  Object.assign(state, { built, keys, held: null });
  const dial = (key, label, last, marks, step) => `<div class="dial ${key}" ${HEADS.includes(key) ? `style="--head:var(--${key})"` : ""}>
    <div class="dial-head"><label for="t-${key}">${esc(label)}</label> <output for="t-${key}" id="t-${key}-value"></output><span class="dial-wait" id="t-${key}-wait" role="status"></span></div>
    <input type="range" id="t-${key}" min="0" max="${last}" step="${step}"><div class="dial-marks" aria-hidden="true">${temperatureMarks(marks)}</div></div>`;
  const marks = TEMPERATURE_MARKS.map((t) => [stops.indexOf(t) / (stops.length - 1), t === 1 && !four ? words.mark : t]);
  const epochs = EPOCH_MARKS.map((epoch) => [(10 * epoch) / (schedule.length - 1), epoch]);
  replace(root, `<div class="temperatures ${four ? "four" : "one"}">${keys.map((key) => dial(key, key === "all" ? words.temperature : words.of_head[key], stops.length - 1, marks, 1)).join("")}
    ${dial("epoch", words.epoch, schedule.length - 1, epochs, 1)}</div>`);
  for (const key of [...keys, "epoch"]) {
    const input = root.querySelector(`#t-${key}`);
    input.oninput = () => turnTemperature(root, state, key, false);
    input.onchange = () => turnTemperature(root, state, key, true);
    input.onpointerdown = () => { state.held = key; };
    input.onpointerup = input.onpointercancel = () => { state.held = null; };
  }
};

const turnTemperature = (root, state, key, released) => {
  const { stops, schedule } = state.data, position = Number(root.querySelector(`#t-${key}`).value);
  const t = key === "epoch" ? schedule[position] : stops[position];
  state.divisors = HEADS.map((head, n) => (key === "all" || key === "epoch" || head === key ? t : state.divisors[n]));
  showDials(state.divisors);
  turn(state.pace, { temperatures: state.divisors }, released);
};

const nearestStop = (stops, t) =>
  stops.reduce((best, stop, i) => (Math.abs(Math.log(stop / t)) < Math.abs(Math.log(stops[best] / t)) ? i : best), 0);

// Where the epoch stands: the first with this temperature; at the end where the training is over or has no such temperature.
const labelTemperatures = (root, state, waiting) => {
  const { stops, schedule, heads, words } = state.data, present = heads.map((head) => state.divisors[HEADS.indexOf(head)]);
  const common = commonOf(present), late = "temperatures" in waiting;
  const show = (key, position, text) => {
    const input = root.querySelector(`#t-${key}`);
    if (state.held !== key) input.value = position;
    input.setAttribute("aria-valuetext", text);
    root.querySelector(`#t-${key}-value`).textContent = text;
    const wait = root.querySelector(`#t-${key}-wait`), sentence = late && key !== "epoch" ? words.waiting : "";
    if (wait.textContent !== sentence) wait.textContent = sentence;
  };
  for (const key of state.keys) {
    const t = key === "all" ? present[0] : state.divisors[HEADS.indexOf(key)];
    show(key, nearestStop(stops, t), t === 1 ? words.trained : String(t));
  }
  const over = schedule.indexOf(1), epoch = common === null || common <= 1 ? over : nearestStop(schedule, common);
  const text = common === null ? words.epoch_four : common < 1 ? words.epoch_below : common === 1 ? words.epoch_after : fill(words.epoch_fall, { epoch: epoch / 10 });
  show("epoch", epoch, text);
};
