// The five most likely classes; where settings differ from the trained ones, the untouched network's as ghost marks.

const drawPrediction = (root, data) => {
  const row = ({ name, probability, ghost }) => `<li>
    <span class="name" title="${esc(name)}">${esc(name)}</span>
    <span class="track" aria-hidden="true">
      <i class="bar" style="width:${at(probability * 100)}%"></i>
      ${ghost === null ? "" : `<i class="ghost-tick" style="left:${at(ghost * 100)}%"></i>`}
    </span>
    <span class="value">${num(probability)}${
      ghost === null ? "" : `<span class="ghost-value"><span class="hidden">${esc(data.words.as_trained)}</span> ${num(ghost)}</span>`
    }</span></li>`;
  replace(root, `<ol class="bars" aria-label="${esc(data.alt)}">${data.rows.map(row).join("")}</ol>
    <p class="note"${data.compared ? "" : ' style="visibility:hidden" aria-hidden="true"'}>${esc(data.note)}</p>`);
};
