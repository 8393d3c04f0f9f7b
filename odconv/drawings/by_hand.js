// One layer's attention, whose entries can be set: drag a tap, a gate or a share, or use the keys. Every move is drawn at once
// and sent to the network as pacing.js says. A message has all entries that are set.

const HAND_STEP = 0.05, HAND_GATES = 112, HAND_ROW = 24;

const drawByHand = (root, data, act) => {
  // edits: head -> entry -> value; at: head -> the entry that is looked at; held: what the pointer drags
  const state = stateOf(root, { pace: newPace(), edits: {}, at: {}, held: null });
  state.data = data;
  hear(state.pace, data, act.turn, () => {});
  if (!state.held && isAnswered(state.pace)) {
    state.edits = {};
    for (const [head, entry, value] of data.edits) (state.edits[head] ??= {})[entry] = value;
  }
  drawAtWidth(root, (own) => buildHands(root, own));
  follow(state.pace);
};

// What is applied of one head, as odconv.switches.set_by_hand does it.
const handValues = (head, learned, edits = {}) => {
  const values = learned.map((value, i) => edits[i] ?? value), total = sumOf(values);
  if (head !== "kernel" || !Object.keys(edits).length) return values;
  return total > 0 ? values.map((value) => value / total) : learned;
};

// Built again only where it is another layer's or as wide as another: what is dragged keeps the pointer.
const buildHands = (root, state) => {
  const { data } = state, columns = state.width >= 900 ? 4 : state.width >= 560 ? 2 : 1;
  const built = JSON.stringify([state.width, data.words, HEADS.map((head) => [data.heads[head].title, data.heads[head].absent])]);
  if (state.built !== built) {
    state.built = built;
    state.panel = (state.width - 28 * (columns - 1)) / columns;
    const panel = (head) => {
      const { title, absent, label } = data.heads[head];
      const heading = `<h4 style="border-color:var(--${head})">${esc(title)}</h4>`;
      if (absent) return `<section data-head="${head}">${heading}<p class="why">${esc(absent)}</p></section>`;
      return `<section data-head="${head}">${heading}<div class="hand" id="${state.id}-${head}" role="slider" tabindex="0" aria-label="${esc(label)}" aria-valuemin="0" aria-valuemax="1"></div>
        <p class="readout" aria-hidden="true"></p><button type="button" id="${state.id}-${head}-back">${esc(data.words.back)}</button></section>`;
    };
    replace(root, `<div class="panels" style="--columns:${columns}">${HEADS.map(panel).join("")}</div><p class="note">${esc(data.words.keys)}</p>`);
    state.hands = HEADS.filter((head) => !data.heads[head].absent).map((head) => {
      const section = root.querySelector(`[data-head="${head}"]`);
      const hand = { head, section, field: section.querySelector(".hand"), learned: [] };
      listenToHand(state, hand);
      return hand;
    });
  }
  for (const hand of state.hands) {
    hand.learned = floatsOf(data.heads[hand.head].learned);
    state.at[hand.head] = Math.min(state.at[hand.head] ?? 0, hand.learned.length - 1);
    showHand(state, hand);
  }
};

const showHand = (state, { head, learned, field, section }) => {
  const edits = state.edits[head] ?? {}, values = handValues(head, learned, edits), at_ = state.at[head], { words } = state.data;
  field.innerHTML = handFigures[head in handFigures ? head : "gates"](head, values, learned, at_, state.panel, edits);
  const template = head === "spatial" ? words.tap : head === "kernel" ? words.share : words.gate;
  const k = Math.round(Math.sqrt(learned.length));
  const known = { row: Math.floor(at_ / k) + 1, column: (at_ % k) + 1, entry: head === "kernel" ? at_ + 1 : at_, value: num(values[at_]), learned: num(learned[at_]) };
  const text = fill(template, known);
  const count = Object.keys(edits).length;
  section.querySelector(".readout").textContent = state.full === head ? fill(words.full, { most: state.data.most }) : count ? `${text} ${fill(words.set, { count })}` : text;
  field.setAttribute("aria-valuenow", num(values[at_]));
  field.setAttribute("aria-valuetext", text);
  field.setAttribute("aria-description", state.data.heads[head].alt);
};

const handFigures = {
  spatial: (head, values, learned, at_, panel) => {
    const k = Math.round(Math.sqrt(values.length)), side = Math.min(150, panel), cell = side / k;
    return svgOf(side, side, 'role="presentation"', values.map((value, i) => {
      const [x, y] = [(i % k) * cell, Math.floor(i / k) * cell];
      const number = cell < 30 ? "" : numberPlate(num(value), x + cell / 2, y + cell / 2 + 4);
      return `<g data-entry="${i}"><rect x="${at(x)}" y="${at(y)}" width="${at(cell)}" height="${at(cell)}" class="tap${i === at_ ? " here" : ""}" style="fill:${tone(head, value)}"/>${number}</g>`;
    }).join(""));
  },
  kernel: (head, values, learned, at_, panel) => {
    const left = 30, wide = panel - left - 44, row = Math.max(8, Math.min(HAND_ROW, 240 / values.length));
    return svgOf(panel, row * values.length, 'role="presentation"', values.map((value, i) => `<g data-entry="${i}">
      <text x="0" y="${at(i * row + row / 2 + 4)}">${row >= 12 ? `W${i + 1}` : ""}</text><rect x="${left}" y="${at(i * row + 2)}" width="${at(wide)}" height="${at(row - 4)}" class="well${i === at_ ? " here" : ""}"/>
      <rect x="${left}" y="${at(i * row + 2)}" width="${at(value * wide)}" height="${at(row - 4)}" style="fill:${kernelTone(i, values.length)}"/>
      <rect x="${at(left + learned[i] * wide - 1)}" y="${at(i * row)}" width="2" height="${at(row)}" class="tick"/>
      <text x="${at(panel - 40)}" y="${at(i * row + row / 2 + 4)}" data-value="${i}">${row >= 12 ? num(value) : ""}</text></g>`).join(""));
  },
  gates: (head, values, learned, at_, panel, edits) => {
    const step = panel / values.length, y = (value) => at(HAND_GATES * (1 - Math.min(value, 1)));
    const bars = values.map((value, i) => `M${at(i * step)} ${HAND_GATES}V${y(value)}h${at(step + 0.05)}V${HAND_GATES}z`).join("");
    const line = learned.map((value, i) => `${at(i * step)},${y(value)} ${at((i + 1) * step)},${y(value)}`).join(" ");
    const set = Object.keys(edits).map((i) => `<circle cx="${at((Number(i) + 0.5) * step)}" cy="${y(edits[i])}" r="4" class="handle" style="fill:var(--${head})"/>`).join("");
    return svgOf(panel, HAND_GATES + 2, 'role="presentation"', `<rect width="${at(panel)}" height="${HAND_GATES}" class="well"/><path d="${bars}" style="fill:var(--${head})"/>
      ${Object.keys(edits).length ? `<polyline points="${line}" class="ghost-line"/>` : ""}<line x1="${at((at_ + 0.5) * step)}" x2="${at((at_ + 0.5) * step)}" y2="${HAND_GATES}" class="hand-at"/>${set}`);
  },
};

// Which entry lies under the pointer, and what value it is dragged to.
const handPlace = (state, { head, learned, field }, event) => {
  const svg = field.querySelector("svg"), box = svg.getBoundingClientRect();
  const x = (event.clientX - box.left) / box.width, y = (event.clientY - box.top) / box.height, count = learned.length;
  const index = (share, n) => Math.min(Math.max(Math.floor(share * n), 0), n - 1);
  if (head === "spatial") {
    const k = Math.round(Math.sqrt(count));
    return { entry: index(y, k) * k + index(x, k), value: (start) => start + (state.from - event.clientY) / 120 };
  }
  if (head === "kernel") {
    const left = 30 / state.panel, wide = (state.panel - 74) / state.panel;
    return { entry: index(y, count), value: () => (x - left) / wide };
  }
  return { entry: index(x, count), value: () => 1 - (y * (HAND_GATES + 2)) / HAND_GATES };
};

const setEntry = (state, hand, value, released) => {
  const { head, learned } = hand, entry = state.at[head], next = Math.round(100 * Math.min(Math.max(value, 0), 1)) / 100;
  const edits = { ...(state.edits[head] ?? {}) }, others = sumOf(HEADS.map((one) => (one === head ? 0 : Object.keys(state.edits[one] ?? {}).length)));
  if (head === "kernel") { // the other shares keep their ratios and fill up what is left
    const shares = handValues(head, learned, edits), rest = 1 - shares[entry];
    shares.forEach((share, i) => {
      edits[i] = i === entry ? next : Math.round(1000 * (rest > 0 ? (share * (1 - next)) / rest : (1 - next) / (shares.length - 1))) / 1000;
    });
  } else edits[entry] = next;
  state.full = Object.keys(edits).length + others > state.data.most ? head : null;
  if (!state.full) state.edits = { ...state.edits, [head]: edits };
  showHand(state, hand);
  sendHand(state, released);
};

const sendHand = (state, released) => {
  const all = HEADS.flatMap((head) => Object.entries(state.edits[head] ?? {}).map(([entry, value]) => [head, Number(entry), value]));
  turn(state.pace, { hand: all }, released);
};

const listenToHand = (state, hand) => {
  const { head, field, section } = hand;
  const now = () => handValues(head, hand.learned, state.edits[head])[state.at[head]];
  field.onpointerdown = (event) => {
    field.setPointerCapture(event.pointerId);
    field.focus({ preventScroll: true });
    state.from = event.clientY;
    const { entry, value } = handPlace(state, hand, event);
    state.at[head] = entry;
    state.held = { head, start: now(), moved: false };
    if (head !== "spatial") setEntry(state, hand, value(), false);
    else showHand(state, hand);
    event.preventDefault();
  };
  field.onpointermove = (event) => {
    if (state.held?.head !== head) return;
    state.held.moved = true;
    setEntry(state, hand, handPlace(state, hand, event).value(state.held.start), false);
  };
  field.onpointerup = field.onpointercancel = () => {
    if (state.held?.head !== head) return;
    const sent = head !== "spatial" || state.held.moved;
    state.held = null;
    if (sent) sendHand(state, true);
  };
  field.onkeydown = (event) => {
    const count = hand.learned.length, k = Math.round(Math.sqrt(count)), { key } = event, move = (by) => Math.min(Math.max(state.at[head] + by, 0), count - 1);
    const value = { "+": now() + HAND_STEP, "-": now() - HAND_STEP, PageUp: now() + HAND_STEP, PageDown: now() - HAND_STEP, Home: 0, End: 1 }[key];
    const to = head === "spatial"
      ? { ArrowLeft: move(-1), ArrowRight: move(1), ArrowUp: move(-k), ArrowDown: move(k) }[key]
      : head === "kernel" ? { ArrowUp: move(-1), ArrowDown: move(1) }[key] : { ArrowLeft: move(-1), ArrowRight: move(1) }[key];
    const turned = value ?? (head === "spatial" ? undefined : head === "kernel" ? { ArrowRight: now() + HAND_STEP, ArrowLeft: now() - HAND_STEP }[key] : { ArrowUp: now() + HAND_STEP, ArrowDown: now() - HAND_STEP }[key]);
    if (to !== undefined) {
      state.at[head] = to;
      showHand(state, hand);
    } else if (turned !== undefined) setEntry(state, hand, turned, true);
    else return;
    event.preventDefault();
  };
  section.querySelector("button").onclick = () => {
    state.edits = { ...state.edits, [head]: {} };
    state.full = null;
    showHand(state, hand);
    field.focus({ preventScroll: true });
    sendHand(state, true);
  };
};
