// What the temperature dials show at this moment, for drawings that follow them without waiting for the network. All
// drawings of a page share one record. divisors: of the four heads, in their order; null before the dials are drawn.

const live = (window.odconvLive ??= { divisors: null, followers: new Map() });

// Call draw whenever a dial is turned, for as long as root is on the page.
const followDials = (root, draw) => live.followers.set(root, draw);

const showDials = (divisors) => {
  if (String(divisors) === String(live.divisors)) return;
  live.divisors = divisors;
  for (const [root, draw] of live.followers) {
    if (root.isConnected) draw();
    else live.followers.delete(root);
  }
};

const commonOf = (divisors) => (divisors.every((t) => t === divisors[0]) ? divisors[0] : null);
