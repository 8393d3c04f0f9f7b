// What the temperature dials show at this moment, for drawings that follow them without waiting for the network. All
// drawings of a page share one record. divisors: of the four heads, in their order; null before the dials are drawn.

const onDials = (window.odconvOnDials ??= { divisors: null, followers: new Map() });

// Call draw whenever a dial is turned, for as long as root is on the page.
const followDials = (root, draw) => onDials.followers.set(root, draw);

const showDials = (divisors) => {
  if (String(divisors) === String(onDials.divisors)) return;
  onDials.divisors = divisors;
  for (const [root, draw] of onDials.followers) {
    if (root.isConnected) draw();
    else onDials.followers.delete(root);
  }
};

const commonOf = (divisors) => (divisors.every((t) => t === divisors[0]) ? divisors[0] : null);
