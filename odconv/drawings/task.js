// What the network answers to a task: whether the guess holds, a bar for each number, and why.

const taskRow = ({ name, share, text, head, guess }) => `<li${guess ? ' class="guess"' : ""}><span class="name" title="${esc(name)}">${esc(name)}</span>
  ${share === null ? "<span></span>" : `<span class="track" aria-hidden="true"><i class="bar" style="width:${at(100 * share)}%${head ? `;background:var(--${head})` : ""}"></i></span>`}
  <span class="value">${esc(text)}</span></li>`;

const drawTask = (root, data) =>
  replace(root, `<div class="answer" role="status"><p class="verdict" data-holds="${data.holds}">${data.holds === null ? "" : `<span aria-hidden="true">${data.holds ? "✓" : "✗"}</span> `}${esc(data.verdict)}</p>
    ${data.rows.length ? `<ol class="bars" aria-label="${esc(data.alt)}">${data.rows.map(taskRow).join("")}</ol>` : ""}
    ${data.note ? `<p class="note">${esc(data.note)}</p>` : ""}<div class="reasons">${data.why.map((reason) => `<p>${esc(reason)}</p>`).join("")}</div></div>`);
