// The response curve with its knob: a press on the curve turns the knob there, and a drag takes it along.

const drawLiveResponse = (root, data, act) => {
  const state = stateOf(root, { pace: newPace(), held: false }), { pace } = state, listens = Boolean(state.data);
  state.data = data;
  hear(pace, data, act.turn, () => {});
  follow(pace);
  if (!listens) root.innerHTML = "<div></div>"; // what is drawn is replaced, so listeners are outside it
  drawResponse(root.firstChild, data);
  if (listens) return;
  const stopAt = (event) => {
    const box = root.querySelector("svg.response").getBoundingClientRect(), { width } = stateOf(root.firstChild);
    const wanted = responsePlaces(width, state.data).knob(((event.clientX - box.left) / box.width) * width);
    return state.data.stops.reduce((best, stop) => (Math.abs(stop - wanted) < Math.abs(best - wanted) ? stop : best));
  };
  const send = (event, released) => turn(pace, { [state.data.knob]: stopAt(event) }, released);
  root.addEventListener("pointerdown", (event) => {
    if (event.button || !event.target.closest("svg.response")) return;
    state.held = true;
    root.setPointerCapture(event.pointerId);
    send(event, false);
  });
  root.addEventListener("pointermove", (event) => { if (state.held) send(event, false); });
  for (const end of ["pointerup", "pointercancel"]) {
    root.addEventListener(end, (event) => {
      if (!state.held) return;
      state.held = false;
      send(event, true);
    });
  }
};
