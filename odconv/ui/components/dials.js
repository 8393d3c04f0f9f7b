// Temperature and kernel count, live while they are dragged. The next value is sent when the last one has been answered,
// so a slow machine gets fewer updates and never a queue; the release is always sent.

const T_LOW = Math.log10(0.1), T_HIGH = Math.log10(30), T_STEP = 0.01;
const LEAST_GAP = 50; // ms between two values while dragging
const PATIENCE = 1500; // ms after which an answer is given up

const temperatureAt = (position) => {
  const t = 10 ** Number(position);
  return Math.abs(t - 1) < 0.03 ? 1 : Number(t.toPrecision(t < 10 ? 2 : 3));
};

const drawDials = (root, data, act) => {
  const state = stateOf(root, { held: null, waiting: null, sentAt: 0, seq: 0 });
  state.act = act;
  if (!root.querySelector("input")) {
    const dial = (id, label, attributes, marks) => `<div class="dial">
      <div class="dial-head"><label for="${id}">${label}</label> <output for="${id}" id="${id}-value"></output></div>
      <input type="range" id="${id}" ${attributes}>
      <div class="dial-marks" aria-hidden="true">${marks}</div></div>`;
    const place = (t) => ((Math.log10(t) - T_LOW) / (T_HIGH - T_LOW)) * 100;
    const mark = (t, text = t) => `<span style="--at:${at(place(t))}">${text}</span>`;
    root.innerHTML = `<div class="dials">
      ${dial("temperature", "Temperature", `min="${T_LOW}" max="${T_HIGH}" step="${T_STEP}"`, mark(0.1) + mark(0.3) + mark(1, "1 as trained") + mark(3) + mark(10) + mark(30))}
      ${dial("kernels", "Kernels", 'min="1" step="1"', "")}</div>`;
    for (const input of root.querySelectorAll("input")) {
      input.oninput = () => follow(root, state, false);
      input.onchange = () => follow(root, state, true);
      input.onpointerdown = () => { state.held = input.id; };
      input.onpointerup = input.onpointercancel = () => { state.held = null; };
    }
  }
  if (state.waiting !== null && data.answered >= state.waiting) state.waiting = null;
  state.seq = Math.max(state.seq, data.answered);
  const kernels = root.querySelector("#kernels");
  if (kernels.max !== String(data.most)) {
    kernels.max = data.most;
    kernels.closest(".dial").hidden = data.most < 2;
    kernels.closest(".dial").querySelector(".dial-marks").innerHTML = Array.from({ length: data.most }, (_, i) =>
      `<span style="--at:${at((i / Math.max(1, data.most - 1)) * 100)}">${i + 1}</span>`).join("");
  }
  if (state.held === null && state.waiting === null && !state.late) {
    root.querySelector("#temperature").value = Math.log10(data.temperature);
    kernels.value = data.kernels;
  }
  say(root, data.most);
  if (state.late) follow(root, state, state.late.released);
};

const say = (root, most) => {
  const input = (id) => root.querySelector(`#${id}`);
  const t = temperatureAt(input("temperature").value), n = Number(input("kernels").value);
  const text = { temperature: t === 1 ? "1, as trained" : String(t), kernels: n === most ? `${n}, all` : `${n} of ${most}` };
  for (const id of ["temperature", "kernels"]) {
    root.querySelector(`#${id}-value`).textContent = text[id];
    input(id).setAttribute("aria-valuetext", text[id]);
  }
};

const follow = (root, state, released) => {
  say(root, Number(root.querySelector("#kernels").max));
  const now = performance.now();
  const busy = state.waiting !== null && now - state.sentAt < PATIENCE;
  if ((busy || now - state.sentAt < LEAST_GAP)) {
    state.late = { released: released || Boolean(state.late?.released) };
    clearTimeout(state.timer);
    state.timer = setTimeout(() => state.late && follow(root, state, state.late.released), busy ? PATIENCE : LEAST_GAP);
    return;
  }
  clearTimeout(state.timer);
  state.late = null;
  state.seq += 1;
  state.waiting = state.seq;
  state.sentAt = now;
  state.act.turn({
    temperature: temperatureAt(root.querySelector("#temperature").value),
    kernels: Number(root.querySelector("#kernels").value),
    released,
    seq: state.seq,
  });
};
