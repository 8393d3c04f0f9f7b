// How a control that acts while it is dragged sends what it was turned to. The next change is sent when the last one has
// been answered, so a slow machine gets fewer updates and never a queue; the release is always sent.

const LEAST_GAP = 50; // ms between two changes while dragging
const PATIENCE = 1500; // ms after which an unanswered change is called not computed yet, and the next one no longer waits

// unsent: { changes, released } or null; sent: the same with its seq, and since when nothing was answered
const PACE = { unsent: null, sent: null, seq: 0, session: undefined, lastAt: -Infinity };

const merged = (older, newer) => ({
  changes: { ...older?.changes, ...newer?.changes },
  released: (newer ?? older).released,
});

// The page has sent data. What they answer is waited for no longer; what went to a session that is gone is sent again.
const takeAnswer = (state, { answered, session }) => {
  if (state.session !== session && state.sent) {
    state.unsent = merged(state.sent, state.unsent);
    state.sent = null;
  }
  state.session = session;
  if (state.sent && answered >= state.sent.seq) state.sent = null;
  state.seq = Math.max(state.seq, answered);
};

// The control was turned.
const takeTurn = (state, changes, released) => {
  if (!released && !connection.dragging) {
    connection.dragging = true;
    connection.mark();
  }
  state.unsent = merged(state.unsent, { changes, released });
};

// Send what is unsent, now or as soon as it may be sent. show(waiting): draw the control; waiting: what has not been
// computed for so long that the control says so.
const pace = (state, send, show) => {
  clearTimeout(state.timer);
  const now = performance.now();
  const wait = state.lastAt + (state.sent ? PATIENCE : LEAST_GAP) - now;
  if (state.unsent && wait <= 0) {
    const { changes, released } = merged(state.sent, state.unsent);
    state.seq += 1;
    state.lastAt = now;
    state.sent = { changes, released, seq: state.seq, since: state.sent?.since ?? now };
    state.unsent = null;
    send({ changes, released, seq: state.seq, session: state.session });
  }
  const next = state.unsent ? wait : state.sent ? state.sent.since + PATIENCE - now : 0;
  if (next > 0) state.timer = setTimeout(() => pace(state, send, show), next);
  const waiting = state.sent && now - state.sent.since >= PATIENCE ? { ...state.sent.changes, ...state.unsent?.changes } : {};
  show(waiting);
  const late = Object.keys(waiting).length > 0;
  if (connection.late !== late) {
    connection.late = late;
    connection.mark();
  }
};
