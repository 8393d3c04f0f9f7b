// What a control sends while it is dragged. It sends only what it changed. The next change is sent when the last one has been
// answered, so a slow machine gets fewer updates and never a queue; the release is always sent.

const LEAST_GAP = 50; // ms between two changes while dragging, where the server does not ask for more
const PATIENCE = 1500; // ms after which an unanswered change is called not computed yet, and the next one no longer waits

// unsent: { changes, released } or null; sent: the same with its seq, and since when nothing was answered
const newPace = () => ({ unsent: null, sent: null, seq: 0, redrawn: 0, lastAt: -Infinity, gap: LEAST_GAP });

const merged = (older, newer) => ({
  changes: { ...older?.changes, ...newer?.changes },
  released: (newer ?? older).released,
});

// The page was drawn anew. `data`: { key, session, answered: the last seq whose figures are on the page }; send(message)
// sends; show(waiting) is called whenever other changes than before may have waited for too long.
const hear = (pace, { key, session, answered }, send, show) => {
  if (pace.session && pace.session !== session && pace.sent) { // sent to a session that is gone
    pace.unsent = merged(pace.sent, pace.unsent);
    pace.sent = null;
  }
  if (pace.sent && answered >= pace.sent.seq) {
    connection.released ||= pace.sent.released;
    pace.sent = null;
    queueMicrotask(() => connection.judge?.()); // the run may have ended before this was drawn
  }
  pace.seq = Math.max(pace.seq, answered);
  Object.assign(pace, { key, session, send, show });
};

// A redraw came for the message `seq`, which is all that answers it. Whether its figures are still to be shown.
const hearRedraw = (pace, seq) => {
  if (!pace.sent || pace.sent.released || seq <= pace.redrawn) return false;
  pace.redrawn = seq;
  if (pace.sent.seq === seq) pace.sent = null;
  return true;
};

// No redraw came for what was sent: it is sent again, with what was changed since, `gap` ms from now.
const missRedraw = (pace, seq, gap) => {
  if (pace.sent?.seq === seq) {
    pace.unsent = merged(pace.sent, pace.unsent);
    pace.lastAt = performance.now() + gap - PATIENCE;
  }
  follow(pace);
};

const isAnswered = (pace) => !pace.sent && !pace.unsent;

const turn = (pace, changes, released) => {
  if (!released && !connection.dragging) {
    connection.dragging = pace.key;
    connection.mark();
  }
  pace.unsent = merged(pace.unsent, { changes, released });
  // A key turns and releases at once: then it is one message, and not two.
  if (released) follow(pace);
  else queueMicrotask(() => follow(pace));
};

// Send what is unsent, now or as soon as it may be sent, and say what is waited for.
const follow = (pace) => {
  clearTimeout(pace.timer);
  const now = performance.now();
  const wait = pace.lastAt + (pace.sent ? PATIENCE : pace.unsent?.released ? LEAST_GAP : pace.gap) - now;
  if (pace.unsent && wait <= 0) {
    const { changes, released } = merged(pace.sent, pace.unsent);
    pace.seq += 1;
    pace.lastAt = now;
    pace.sent = { changes, released, seq: pace.seq, since: pace.sent?.since ?? now };
    pace.unsent = null;
    pace.send({ changes, released, seq: pace.seq, session: pace.session });
  }
  const next = pace.unsent ? wait : pace.sent ? pace.sent.since + PATIENCE - now : 0;
  if (next > 0) {
    pace.timer = setTimeout(() => follow(pace), next);
  }
  const waiting = pace.sent && now - pace.sent.since >= PATIENCE ? { ...pace.sent.changes, ...pace.unsent?.changes } : {};
  const late = Object.keys(waiting).length > 0;
  if (connection.late.has(pace.key) !== late) {
    connection.late[late ? "add" : "delete"](pace.key);
    connection.mark();
  }
  pace.show(waiting);
};
