// A row for each head: what stands in the place of its learned attention, and what that alone does to the prediction. Under
// them all switches together, and the network's relatives. One scale of logits for all.

const drawSwitches = (root, data, act) => {
  const state = stateOf(root, {});
  Object.assign(state, { act, choices: data.rows.map((row) => row.choice) });
  const built = JSON.stringify([data.options, data.words, data.rows.map((row) => [row.name, row.absent]), data.relatives.map((row) => row.id)]);
  if (state.built !== built) {
    state.built = built;
    buildSwitches(root, state, data);
  }
  const show = (row, effect) => {
    row.querySelector(".effect").innerHTML = effect ? effectBar(effect.logit, data.span) : "";
    row.querySelector(".logit").textContent = effect?.text ?? "";
    row.querySelector(".probability").textContent = effect?.probability ?? "";
  };
  for (const { head, choice, effect } of data.rows) {
    const row = root.querySelector(`[data-head="${head}"]`), select = row.querySelector("select");
    if (!select) continue;
    select.value = choice;
    show(row, effect);
  }
  show(root.querySelector("[data-all]"), data.total);
  for (const { id, effect } of data.relatives) show(root.querySelector(`[data-relative="${id}"]`), effect);
  root.querySelector(".sentence").textContent = data.sentence;
  root.querySelector(".off").textContent = data.off;
  root.querySelector(".meanings").innerHTML = data.meanings.map(({ name, text }) => `<li><b>${esc(name)}</b>: ${esc(text)}</li>`).join("");
};

// From the middle to the left or right: a bar of a change on the scale from -span to +span.
const effectBar = (value, span) => {
  const share = Math.min(Math.abs(value) / span, 1) * 50;
  return `<i class="${value < 0 ? "lost" : "gained"}" style="left:${at(value < 0 ? 50 - share : 50)}%;width:${at(share)}%"></i>`;
};

const buildSwitches = (root, state, data) => {
  const { words } = data, numbers = `<td class="effect-cell" aria-hidden="true"><span class="effect"></span></td><td class="logit"></td><td class="probability"></td>`;
  const options = data.options.map(({ value, text }) => `<option value="${esc(value)}">${esc(text)}</option>`).join("");
  const row = ({ head, name, label, absent }) => `<tr data-head="${head}" style="--head:var(--${head})"><th scope="row">${esc(name)}</th>
    ${absent ? `<td colspan="4" class="faint">${esc(absent)}</td>` : `<td class="choice"><select id="switch-${head}" aria-label="${esc(label)}">${options}</select></td>${numbers}`}</tr>`;
  const relative = ({ id, name, what }) => `<tr data-relative="${id}"><th scope="row" class="plain"><button type="button">${esc(name)}</button></th><td class="choice faint">${esc(what)}</td>${numbers}</tr>`;
  root.innerHTML = `<p class="sentence" aria-live="polite"></p>
    <table class="switches"><thead><tr><th scope="col">${esc(words.head)}</th><th scope="col">${esc(words.in_place)}</th><th class="effect-cell"></th><th scope="col">${esc(words.logit)}</th><th scope="col">${esc(words.probability)}</th></tr></thead>
    <tbody>${data.rows.map(row).join("")}<tr data-all><th scope="row" class="plain" colspan="2">${esc(words.together)}</th>${numbers}</tr></tbody>
    <tbody class="relatives"><tr><th colspan="5" scope="rowgroup"><b>${esc(words.relatives)}</b> <span class="off faint"></span></th></tr>${data.relatives.map(relative).join("")}</tbody></table>
    <p class="note">${esc(words.scale)}</p><ul class="meanings"></ul>`;
  // All four at once: two that follow each other before the page has answered are not lost.
  const selects = data.rows.map(({ head }) => root.querySelector(`#switch-${head}`));
  const chosen = () => selects.map((select, n) => select?.value ?? state.choices[n]);
  for (const select of selects) if (select) select.onchange = () => state.act.choose({ choices: chosen() });
  for (const { id } of data.relatives) root.querySelector(`[data-relative="${id}"] button`).onclick = () => state.act.choose({ relative: id });
};
