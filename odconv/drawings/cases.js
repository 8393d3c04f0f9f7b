// Cases side by side: a picture, the four attentions of one layer for it, one slice of its kernel, and the prediction.

// Gates as a row of cells; its numbers can be read one by one.
const gateStrip = (head, gates, label) => {
  const count = gates.values.length;
  const cells = inTones(count, (i) => `M${i} 0h1.02v1h-1.02z`, (i) => gates.values[i], (share) => tone(head, share));
  return `<svg role="img" aria-label="${esc(label)}" viewBox="0 0 ${count} 1" preserveAspectRatio="none" class="gate-strip"><title>${esc(`${label}. ${gates.range}`)}</title><g class="cells">${cells}</g></svg>`;
};

const casePart = (head, caption, content) =>
  `<figure data-part="${head}"><figcaption><i style="background:var(--${head})"></i>${esc(caption)}</figcaption>${content}</figure>`;

const caseHeads = (one, data) => {
  if (!one.heads) return one.fixed && `<p class="why small fixed">${esc(one.fixed)}</p>`;
  const { kernel, spatial, channel, filter } = one.heads, { words } = data;
  const strip = (head, gates) => casePart(head, words[head], gates.absent ? absence(gates) : `${gateStrip(head, gates, words[head])}<span class="faint">${esc(gates.range)}</span>`);
  return `<div class="case-squares">${casePart("spatial", words.spatial, spatial.absent ? absence(spatial) : tapCells(spatial.values, 84, words.spatial, data))}
      <div>${strip("channel", channel)}${strip("filter", filter)}</div></div>
    ${casePart("kernel", words.kernel, kernel.absent ? absence(kernel) : shareBars(kernel))}`;
};

const caseRows = (one) => one.rows
  .map(({ name, probability }) => `<li><span class="name" title="${esc(name)}">${esc(name)}</span>
    <span class="track" aria-hidden="true"><i class="bar" style="width:${at(100 * probability)}%"></i></span><span class="value">${num(probability)}</span></li>`)
  .join("");

const caseCard = (one, data) => `<div><section aria-label="${esc(one.title)}"><h4>${one.thumbnail ? `<img src="${esc(one.thumbnail)}" alt="">` : ""}<span>${esc(one.title)}</span></h4>
  ${one.heads || one.fixed ? `<div class="case-heads">${caseHeads(one, data)}</div>` : ""}
  <div class="case-foot"><figure data-part="forged"><figcaption>${esc(data.words.forged)}</figcaption>${weightCells(one.forged, 84, `${one.title}: ${data.slice || data.words.forged}`, data)}</figure>
  <figure data-part="says"><figcaption>${esc(data.words.says)}</figcaption><ol class="bars" aria-label="${esc(one.alt)}">${caseRows(one)}</ol></figure></div></section></div>`;

// Which slice the kernels are, and what tones mean.
const caseKey = (data) => data.slice && `<div class="case-key"><span>${esc(data.slice)}</span>${data.gates ? `<span class="tones">${esc(data.words.gate_tones)} ${toneKey({ span: 0 })}</span>` : ""}
  <span class="tones">${esc(data.words.weight_tones)} ${weightTones(data)}</span></div>`;

const drawCases = (root, data) =>
  replace(root, `<div class="cases-beside">${data.cases.map((one) => caseCard(one, data)).join("")}</div>${caseKey(data)}`);
