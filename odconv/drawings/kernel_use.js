// Which classes use which trained kernel: for each kernel a line per class on one scale, and the classes at either end.

const useStrip = ({ shares, first, alt }, tone, width) => {
  const height = 20, x = (share) => at(1 + share * (width - 2));
  const lines = shares.map((share) => `M${x(share)} 5V${height}`).join("");
  const mark = first === null ? "" : `<path d="M${x(first)} 7l-5 -7h10z" class="use-first"/>`;
  return svgOf(width, height, `role="img" aria-label="${esc(alt)}"`,
    `<rect y="5" width="${at(width)}" height="${height - 5}" rx="3" class="well"/><path d="${lines}" style="stroke:color-mix(in oklab, ${tone} 75%, var(--ink))" class="use-classes"/>${mark}`);
};

const useSection = (use, width) => {
  if (!use) return "";
  const strip = width >= 800 ? 200 : Math.max(Math.min(width - 50, 300), 60);
  const rows = use.rows.map((row, i) => {
    const texts = Object.entries(row.texts).map(([name, text]) => `<span class="use-${name}">${esc(text)}</span>`).join("");
    return `<li><b>${esc(row.title)}</b>${useStrip(row, kernelTone(i, use.rows.length), strip)}<p>${texts}</p></li>`;
  });
  return `<section class="use" aria-label="${esc(use.heading)}"><h4>${esc(use.heading)}</h4><ul>${rows.join("")}</ul><p class="note">${esc(use.note)}</p></section>`;
};
