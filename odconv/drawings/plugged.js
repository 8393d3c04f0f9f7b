// A network before and after ODConv was plugged in: totals as pairs of bars, and a table of layers.

const totalBar = ({ name, share, text }, n) => `<li><span class="name">${esc(name)}</span>
  <span class="track" aria-hidden="true"><i class="bar ${n ? "converted" : ""}" style="width:${at(100 * share)}%"></i></span>
  <span class="value">${esc(text)}</span></li>`;
const totalRow = ({ id, name, factor, bars, absent }) => `<section data-total="${esc(id)}"><h4>${esc(name)}</h4>
  ${absent ? `<p class="faint">${esc(absent)}</p>` : `<p class="factor">${esc(factor)}</p><ol class="bars">${bars.map(totalBar).join("")}</ol>`}</section>`;

const drawTotals = (root, data) => {
  root.innerHTML = `<div class="plugged" role="status"><p class="sentence">${esc(data.sentence)}</p>
    <div class="totals">${data.rows.map(totalRow).join("")}</div><p class="note">${esc(data.same)}</p></div>`;
};

// The four heads in their order, each in its colour; an empty frame where a layer lacks one.
const headCells = (heads, row) => `<span class="head-cells" role="img" aria-label="${esc(row.alt)}">${heads.map(({ id, initial }) =>
  row.heads.includes(id) ? `<i style="--head:var(--${id})">${esc(initial)}</i>` : `<i class="lacking" title="${esc(row.reasons[id])}"></i>`).join("")}</span>`;
const arrow = (texts) => texts.map((text) => `<span>${esc(text)}</span>`).join(" → ");
const layerRow = (heads, { parameters, multiply_adds }) => (row) => `<tr${row.static ? ' class="static"' : ""}><th scope="row">${esc(row.name)}</th><td class="kind">${esc(row.kind)}</td>
  <td>${row.static ? esc(row.static) : headCells(heads, row)}</td><td class="count" data-column="${esc(parameters)}">${arrow(row.parameters)}</td><td class="count" data-column="${esc(multiply_adds)}">${arrow(row.multiply_adds)}</td></tr>`;
// Under the table's name: what the cells are, in how many layers each head is, and why it is not in the others.
const headKey = ({ id, initial, text, absent }) => `<li><span class="head-cells" aria-hidden="true"><i style="--head:var(--${id})">${esc(initial)}</i></span> <b>${esc(text)}</b>${absent ? ` <span class="faint">${esc(absent)}</span>` : ""}</li>`;

const drawPlugged = (root, data) => {
  const { columns, heads } = data;
  const dynamic = data.rows.some((row) => !row.static);
  root.innerHTML = `<div class="plugged">${dynamic ? `<ul class="head-key">${heads.map(headKey).join("")}</ul>` : ""}
    <table class="plug-table"><thead><tr><th scope="col">${esc(columns.layer)}</th><th scope="col">${esc(columns.kind)}</th><th scope="col">${esc(columns.heads)}</th><th scope="col" class="count">${esc(columns.parameters)}</th><th scope="col" class="count">${esc(columns.multiply_adds)}</th></tr></thead>
    <tbody>${data.rows.map(layerRow(heads, columns)).join("")}</tbody></table></div>`;
};
