// The picture, and a brush that paints parts of it out. A message has all dabs: [x, y, radius] in thousandths.

const drawBrush = (root, data, act) => {
  // dabs: as shown; at: where the keyboard's brush is; held: whether the pointer paints
  const state = stateOf(root, { pace: newPace(), dabs: [], at: [500, 500], held: false, size: 1 });
  state.data = data;
  hear(state.pace, data, act.turn, () => {});
  if (!state.held && isAnswered(state.pace)) state.dabs = data.dabs;
  if (state.built !== JSON.stringify(data.words)) buildBrush(root, state);
  showBrush(root, state);
  follow(state.pace);
};

const buildBrush = (root, state) => {
  const { words, sizes } = state.data;
  state.built = JSON.stringify(words);
  root.innerHTML = `<div class="brush" tabindex="0" role="application"><img alt=""><div class="paint"></div></div>
    <div class="choices" role="group" aria-label="${esc(words.sizes)}">${sizes.map(({ text }, i) => `<button type="button" data-size="${i}">${esc(text)}</button>`).join("")}<button type="button" class="clear">${esc(words.clear)}</button></div>
    <p class="caption"></p>`;
  const field = root.querySelector(".brush");
  const place = (event) => {
    const box = field.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map((share) => Math.round(1000 * Math.min(Math.max(share, 0), 1)));
  };
  const send = (released) => turn(state.pace, { brush: state.dabs }, released);
  const dab = ([x, y], released) => {
    if (state.dabs.length >= state.data.most) return;
    state.dabs = [...state.dabs, [x, y, state.data.sizes[state.size].radius]];
    showBrush(root, state);
    send(released);
  };
  field.onpointerdown = (event) => {
    field.setPointerCapture(event.pointerId);
    state.held = true;
    dab((state.at = place(event)), false);
  };
  field.onpointermove = (event) => {
    if (!state.held) return;
    const [x, y] = place(event), [px, py, radius] = state.dabs.at(-1) ?? [-9999, -9999, 1], { aspect } = state.data;
    const far = Math.hypot((x - px) * Math.max(aspect, 1), (y - py) / Math.min(aspect, 1));
    if (far >= 0.7 * radius) dab((state.at = [x, y]), false);
  };
  field.onpointerup = field.onpointercancel = () => {
    if (!state.held) return;
    state.held = false;
    send(true);
  };
  field.onkeydown = (event) => {
    const [x, y] = state.at, limit = (value) => Math.min(Math.max(value, 0), 1000);
    const to = { ArrowLeft: [x - 40, y], ArrowRight: [x + 40, y], ArrowUp: [x, y - 40], ArrowDown: [x, y + 40] }[event.key];
    if (to) state.at = to.map(limit);
    else if (event.key === " ") dab(state.at, true);
    else if (event.key === "Backspace" && state.dabs.length) {
      state.dabs = state.dabs.slice(0, -1);
      send(true);
    } else return;
    event.preventDefault();
    showBrush(root, state);
  };
  root.querySelector(".clear").onclick = () => {
    state.dabs = [];
    showBrush(root, state);
    send(true);
  };
  for (const button of root.querySelectorAll("[data-size]")) {
    button.onclick = () => {
      state.size = Number(button.dataset.size);
      showBrush(root, state);
    };
  }
};

const showBrush = (root, state) => {
  const { photo, alt, aspect, colour, words, sizes, most } = state.data;
  const field = root.querySelector(".brush"), image = root.querySelector("img");
  if (image.src !== photo) image.src = photo;
  image.alt = alt;
  field.style.aspectRatio = aspect;
  field.style.setProperty("--aspect", aspect);
  field.setAttribute("aria-label", words.brush);
  const disc = ([x, y, radius], kind) => {
    const wide = (2 * radius) / Math.max(aspect, 1) / 10; // % of the width
    return `<i class="${kind}" style="left:${x / 10}%;top:${y / 10}%;width:${wide}%;background:${kind === "dab" ? colour : "transparent"}"></i>`;
  };
  root.querySelector(".paint").innerHTML = state.dabs.map((one) => disc(one, "dab")).join("") + disc([...state.at, sizes[state.size].radius], "cursor-disc");
  root.querySelector(".caption").textContent = state.dabs.length >= most ? fill(words.full, { most }) : words.brush_note;
  for (const button of root.querySelectorAll("[data-size]")) button.setAttribute("aria-pressed", Number(button.dataset.size) === state.size);
  root.querySelector(".clear").style.visibility = state.dabs.length ? "" : "hidden";
};
