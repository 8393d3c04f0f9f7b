// Pictures as thumbnails; several can be chosen. Where a picture says how, it can be taken out.

const drawGallery = (root, data, act) => {
  const state = stateOf(root, {}), drawing = JSON.stringify(data);
  state.act = act;
  if (state.drawing === drawing) return; // drawn again, thumbnails flicker
  state.drawing = drawing;
  const out = (text, i) => `<button type="button" class="out" id="out-${i}" aria-label="${esc(text)}" title="${esc(text)}"><span aria-hidden="true">×</span></button>`;
  const picture = ({ id, title, thumbnail, alt, caption, out: text }, i) => `<span class="${caption ? "named" : "unnamed"}">
      <button type="button" class="pick" id="pick-${i}" data-id="${esc(id)}" aria-pressed="${data.chosen.includes(id)}" title="${esc(title)}">
        <img src="${esc(thumbnail)}" alt="${esc(alt === title ? title : `${title}: ${alt}`)}">${caption ? `<span class="name" aria-hidden="true">${esc(caption)}</span>` : ""}</button>
      ${text ? out(text, i) : ""}</span>`;
  replace(root, `<div class="gallery" role="group" aria-label="${esc(data.label)}">${data.pictures.map(picture).join("")}</div>`);
  data.pictures.forEach(({ id, out: text }, i) => {
    root.querySelector(`#pick-${i}`).onclick = () => state.act.pick(id);
    if (text) root.querySelector(`#out-${i}`).onclick = () => state.act.takeOut(id);
  });
};
