// The first choice's probability with one head alone at a high temperature: a bar for each head, the guess marked.

const drawSuffers = (root, data) => {
  const row = ({ head, name, probability, kept }) => `<li${head === data.guess ? ' class="guess"' : ""}><span class="name">${esc(name)}</span>
    <span class="track" aria-hidden="true"><i class="bar" style="width:${at(100 * probability)}%;background:var(--${head})"></i>${kept === null ? "" : `<i class="ghost-tick" style="left:${at(100 * kept)}%"></i>`}</span>
    <span class="value">${num(probability)}${kept === null ? "" : `<span class="ghost-value"><span class="hidden">${esc(data.words.gain_kept)}</span> ${num(kept)}</span>`}</span></li>`;
  replace(root, `<ol class="bars" aria-label="${esc(data.alt)}">${data.rows.map(row).join("")}</ol>
    <p class="note">${esc(data.note)}</p><p class="sentence">${esc(data.sentence)}</p>`);
};
