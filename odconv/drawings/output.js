// A temperature on the output's softmax alone, redrawn at every move of a dial. Of four dials it takes the one that is
// furthest from 1. Dashed marks: T = 1.

const drawOutput = (root, data) => {
  const logits = floatsOf(data.logits), trained = softmaxSteps(logits, 1).shares;
  const draw = () => {
    const divisors = onDials.divisors ?? data.divisors, common = commonOf(divisors);
    const divisor = common ?? divisors.reduce((far, t) => (Math.abs(Math.log(t)) > Math.abs(Math.log(far)) ? t : far));
    const { shares } = softmaxSteps(logits, divisor);
    const row = ({ name, index }) => `<li><span class="name" title="${esc(name)}">${esc(name)}</span>
      <span class="track" aria-hidden="true"><i class="bar" style="width:${at(100 * shares[index])}%"></i><i class="ghost-tick" style="left:${at(100 * trained[index])}%"></i></span>
      <span class="value">${num(shares[index])}<span class="ghost-value"><span class="hidden">${esc(data.words.output_trained)}</span> ${num(trained[index])}</span></span></li>`;
    replace(root, `<p class="present">${esc(fill(common === null ? data.words.output_differ : data.words.at, { temperature: divisor }))}</p>
      <ol class="bars" aria-label="${esc(data.alt)}">${data.rows.map(row).join("")}</ol><p class="note">${esc(data.note)}</p><p class="sentence">${esc(data.sentence)}</p>`);
  };
  draw();
  followDials(root, draw);
};
