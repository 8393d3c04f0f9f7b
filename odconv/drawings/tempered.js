// One layer from logit to attention, redrawn at every move of a dial: z, z / T, sigmoid or softmax, and their numbers.

const TEMPERED_CURVE = { width: 190, height: 168, left: 24, bottom: 20, top: 6, right: 8 };

// The sigmoid over the logits, flatter or steeper with T; a dot for each logit.
const temperedCurve = (head, name, alt, words) => {
  const { width, height, left, bottom, top, right } = TEMPERED_CURVE, { steps, logits, divisor } = head;
  const reach = Math.max(3, Math.ceil(Math.max(...logits.map(Math.abs))));
  const high = Math.max(1, ...steps.gates);
  const x = (z) => left + ((z + reach) / (2 * reach)) * (width - left - right);
  const y = (gate) => top + (1 - gate / high) * (height - top - bottom);
  const line = (gate) => Array.from({ length: 81 }, (_, i) => (i / 40 - 1) * reach).map((z) => `${at(x(z))},${at(y(Math.min(gate(z), high)))}`).join(" ");
  const dots = logits.map((z, i) => `<circle cx="${at(x(z))}" cy="${at(y(steps.gates[i]))}" r="${logits.length > 32 ? 2 : 3.5}" style="fill:var(--${name})" class="dot"/>`);
  const ticks = [0, 0.5, 1].map((gate) => `<line x1="${left}" x2="${width - right}" y1="${at(y(gate))}" y2="${at(y(gate))}" class="grid"/><text x="${left - 4}" y="${at(y(gate) + 4)}" class="end">${gate === 0.5 ? "½" : gate}</text>`);
  const feet = [-reach, 0, reach].map((z) => `<text x="${at(x(z))}" y="${height - 5}" class="middle">${z < 0 ? `−${-z}` : z}</text>`);
  return `<figure style="width:${width}px">${svgOf(width, height, `role="img" aria-label="${esc(alt)}"`, `${ticks.join("")}${feet.join("")}
    <polyline points="${line(sigmoid)}" class="ghost-line"/><polyline points="${line((z) => steps.gain * sigmoid(z / divisor))}" class="curve" style="stroke:var(--${name})"/>${dots.join("")}`)}
    <figcaption>${esc(words.curve)}</figcaption></figure>`;
};

const temperedSteps = (head, i, words) => fill(head.steps.gain === 1 ? words.steps : words.steps_kept, {
  logit: numberText(head.logits[i], 0, 3), temperature: head.divisor, divided: numberText(head.steps.divided[i], 0, 3),
  squashed: num(head.steps.squashed[i], 3), gain: num(head.steps.gain, 3), gate: num(head.steps.gates[i], 3),
});

// Three squares: logits, divided, gates. A kernel of more than 4 x 4 taps has no room for numbers: it shows its gates.
const temperedTaps = (head, width, words) => {
  const k = Math.round(Math.sqrt(head.logits.length)), small = k > 4;
  const side = small ? 168 : Math.min(118, Math.floor((width - 68) / 3)), cell = side / k;
  const square = (kind, values, caption) => {
    const cells = values.map((value, i) => {
      const [x, y] = [(i % k) * cell, Math.floor(i / k) * cell], gates = kind === "gates";
      const title = fill(words.tap, { row: Math.floor(i / k) + 1, column: (i % k) + 1, steps: temperedSteps(head, i, words) });
      const plate = gates ? `<rect x="${at(x + cell / 2 - 15)}" y="${at(y + cell / 2 - 9)}" width="30" height="18" rx="4" class="plate"/>` : "";
      const number = small ? "" : `${plate}<text x="${at(x + cell / 2)}" y="${at(y + cell / 2 + 4)}" class="middle weight">${signed(value, gates || cell >= 38 ? 2 : 1)}</text>`;
      return `<rect x="${at(x)}" y="${at(y)}" width="${at(cell)}" height="${at(cell)}" class="tap" style="fill:${gates ? tone("spatial", value) : "transparent"}"><title>${esc(title)}</title></rect>${number}`;
    });
    return `<figure data-square="${kind}">${svgOf(side, side, `role="img" aria-label="${esc(`${caption}: ${values.map((value) => signed(value, 2)).join(" ")}`)}"`, cells.join(""))}<figcaption>${esc(caption)}</figcaption></figure>`;
  };
  const arrow = (text) => `<span class="arrow" style="line-height:${side}px" aria-hidden="true">${text}</span>`;
  const gates = square("gates", head.steps.gates, head.steps.gain === 1 ? words.gate : words.gate_kept);
  if (small) return gates;
  return `<div class="squares">${square("logits", head.logits, words.logit)}${arrow("→")}${square("divided", head.steps.divided, words.divided)}${arrow("→")}${gates}</div>`;
};

const signed = (value, digits) => (value < 0 ? `−${num(-value, digits)}` : num(value, digits));

// All gates, the largest first; dashed: the same logits at T = 1. Dividing keeps their order.
const temperedProfile = (head, name, width, alt, words) => {
  const height = 148, order = profileOfLogits(head), high = Math.max(1, ...head.steps.gates), step = width / order.length;
  const y = (gate) => 4 + (1 - gate / high) * (height - 4);
  const outline = (gate) => order.map((i, n) => `${at(n * step)},${at(y(gate(i)))} ${at((n + 1) * step)},${at(y(gate(i)))}`).join(" ");
  const grid = [0, 0.5, 1].map((gate) => `<line x2="${at(width)}" y1="${at(y(gate))}" y2="${at(y(gate))}" class="grid"/>`).join("");
  return `<figure class="profile" style="width:${at(width)}px">${svgOf(width, height + 1, `role="img" aria-label="${esc(alt)}" data-profile="${name}"`, `<rect width="${at(width)}" height="${height}" fill="transparent"/>
      <polygon points="0,${height} ${outline((i) => head.steps.gates[i])} ${at(width)},${height}" style="fill:var(--${name})"/>${grid}
      <polyline points="${outline((i) => sigmoid(head.logits[i]))}" class="ghost-line"/><line class="cursor" y2="${height}"/>`)}
    <figcaption>${esc(words.sorted)}</figcaption></figure>`;
};

const profileOfLogits = (head) => head.logits.map((_, i) => i).sort((a, b) => head.logits[b] - head.logits[a]);

const temperedRange = (head, words) => {
  const [low, high] = [Math.min(...head.logits), Math.max(...head.logits)], { gates, gain } = head.steps;
  const range = fill(words.range, {
    low: signed(low, 2), high: signed(high, 2), low_divided: signed(low / head.divisor, 2), high_divided: signed(high / head.divisor, 2),
    low_gate: num(Math.min(...gates), 2), high_gate: num(Math.max(...gates), 2), mean: num(meanOf(gates), 2),
  });
  return `<p class="statistics">${esc(range)}${gain === 1 ? "" : ` ${esc(fill(words.gain, { gain: num(gain, 3) }))}`}</p>`;
};

// Every number of the softmax: a row for each kernel.
const temperedShares = (head, words) => {
  const { divided, less, powers, total, shares } = head.steps, small = (value) => (value !== 0 && value < 0.0005 ? value.toExponential(0) : num(value, 3));
  const row = (i) => `<tr><th scope="row"><i style="background:${kernelTone(i, shares.length)}"></i>${esc(words.candidate)}${i + 1}</th>
    ${[head.logits, divided, less].map((values) => `<td>${signed(values[i], 2)}</td>`).join("")}<td>${small(powers[i])}</td>
    <td><b>${num(shares[i], 3)}</b></td><td class="share-cell" aria-hidden="true"><i style="width:${at(100 * shares[i])}%;background:${kernelTone(i, shares.length)}"></i></td></tr>`;
  return `<table class="softmax"><thead><tr><td></td>${["logit", "divided", "less", "power", "share"].map((key) => `<th scope="col">${esc(words[key])}</th>`).join("")}<td></td></tr></thead>
    <tbody>${shares.map((_, i) => row(i)).join("")}</tbody>
    <tfoot><tr><th scope="row">${esc(words.sum)}</th><td></td><td></td><td></td><td>${num(total, 3)}</td><td>${num(sumOf(shares), 3)}</td><td></td></tr></tfoot></table>
    <p class="statistics">${esc(fill(words.effective, { effective: num(effectiveOf(shares), 2), total: shares.length }))}</p>
    <p class="caption">${esc(words.softmax_note)}</p>`;
};

const temperedPanel = (data, head, width) => {
  const { title, absent, alt, logits } = data.heads[head], { words } = data;
  const heading = `<h4 style="border-color:var(--${head})">${esc(title)}</h4>`;
  if (absent) return `<section data-head="${head}">${heading}<p class="why">${esc(absent)}</p></section>`;
  const divisor = (onDials.divisors ?? data.divisors)[HEADS.indexOf(head)];
  const steps = head === "kernel" ? softmaxSteps(logits, divisor) : gateSteps(logits, divisor, data.keep_gain);
  const drawn = { logits, divisor, steps };
  if (head === "kernel") return `<section data-head="${head}">${heading}<p class="present">${esc(fill(words.at, { temperature: divisor }))}</p>${temperedShares(drawn, words)}</section>`;
  const beside = width < 400 ? width : width - TEMPERED_CURVE.width - 18;
  const values = head === "spatial" ? temperedTaps(drawn, width, words) : temperedProfile(drawn, head, beside, alt, words);
  const curve = temperedCurve(drawn, head, alt, words);
  return `<section data-head="${head}">${heading}<p class="present">${esc(fill(words.at, { temperature: divisor }))}</p><div class="tempered">${head === "spatial" ? values + curve : curve + values}</div>
    ${temperedRange(drawn, words)}<p class="readout" aria-hidden="true">&nbsp;</p></section>`;
};

// The largest difference from what the network applied, at the temperatures that it was last asked for.
const temperedBadge = (data) => {
  const apart = HEADS.flatMap((head, n) => {
    const { logits, applied } = data.heads[head];
    return logits ? attentionOf(head, logits, data.divisors[n], data.keep_gain).map((value, i) => Math.abs(value - applied[i])) : [];
  });
  const common = commonOf(data.divisors), largest = Math.max(0, ...apart);
  return fill(data.words.badge, { difference: largest.toExponential(1), temperature: common ?? data.divisors.join(", ") });
};

const followTempered = (root, data) => {
  for (const svg of root.querySelectorAll("[data-profile]")) {
    const name = svg.dataset.profile, { logits } = data.heads[name];
    const readout = svg.closest("section").querySelector(".readout"), cursor = svg.querySelector(".cursor");
    svg.onpointermove = (event) => {
      const divisor = (onDials.divisors ?? data.divisors)[HEADS.indexOf(name)];
      const head = { logits, divisor, steps: gateSteps(logits, divisor, data.keep_gain) }, order = profileOfLogits(head);
      const box = svg.getBoundingClientRect(), share = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 0.9999);
      const channel = order[Math.floor(share * order.length)];
      cursor.setAttribute("transform", `translate(${at(share * svg.viewBox.baseVal.width)} 0)`);
      readout.textContent = fill(data.words.channel, { channel, steps: temperedSteps(head, channel, data.words) });
    };
    svg.onpointerleave = () => {
      cursor.removeAttribute("transform");
      readout.textContent = "\u00a0";
    };
  }
};

const drawTempered = (root, data) => {
  for (const head of HEADS) {
    for (const part of ["logits", "applied"]) {
      if (typeof data.heads[head][part] === "string") data.heads[head][part] = floatsOf(data.heads[head][part]);
    }
  }
  const badge = temperedBadge(data);
  drawAtWidth(root, (state) => {
    const columns = state.width >= 800 ? 2 : 1, panel = (state.width - 28 * (columns - 1)) / columns;
    replace(root, `<div class="panels" style="--columns:${columns}">${HEADS.map((head) => temperedPanel(data, head, panel)).join("")}</div>
      <p class="note badge">${esc(badge)}</p>`);
    followTempered(root, data);
  });
  followDials(root, () => stateOf(root).width && stateOf(root).draw(stateOf(root)));
};
