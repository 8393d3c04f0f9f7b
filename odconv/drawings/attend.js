// From logits to attention in the browser, step by step, as odconv.attention does it. Pure: nothing here touches the page.

const floatsOf = (text) => Array.from(new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer));
const sumOf = (values) => values.reduce((total, value) => total + value, 0);
const meanOf = (values) => sumOf(values) / values.length;
const sigmoid = (x) => (x < 0 ? Math.exp(x) / (1 + Math.exp(x)) : 1 / (1 + Math.exp(-x))); // exact for small gates, too
const logSigmoid = (x) => Math.min(x, 0) - Math.log1p(Math.exp(-Math.abs(x)));

// The steps of a softmax: divided, less (than the largest), powers, total, shares.
const softmaxSteps = (logits, divisor) => {
  const divided = logits.map((z) => z / divisor), largest = Math.max(...divided);
  const less = divided.map((d) => d - largest), powers = less.map(Math.exp), total = sumOf(powers);
  return { divided, less, powers, total, shares: powers.map((power) => power / total) };
};

// The steps of a sigmoid: divided, squashed, gain, gates. With the gain kept, the gates' mean is what it is at T = 1; in
// logarithms, since at a low temperature every gate can be too small for a number.
const gateSteps = (logits, divisor, keepGain) => {
  const divided = logits.map((z) => z / divisor), squashed = divided.map(sigmoid);
  if (!keepGain || divisor === 1) return { divided, squashed, gain: 1, gates: squashed };
  const logs = divided.map(logSigmoid), largest = Math.max(...logs);
  const logGain = Math.log(sumOf(logits.map(sigmoid))) - largest - Math.log(sumOf(logs.map((log) => Math.exp(log - largest))));
  return { divided, squashed, gain: Math.exp(logGain), gates: logs.map((log) => Math.exp(log + logGain)) };
};

const attentionOf = (head, logits, divisor, keepGain) =>
  head === "kernel" ? softmaxSteps(logits, divisor).shares : gateSteps(logits, divisor, keepGain).gates;

const effectiveOf = (shares) => Math.exp(-sumOf(shares.map((share) => (share > 0 ? share * Math.log(share) : 0))));
