// Pictures as thumbnails; several can be chosen.

const drawGallery = (root, data, act) => {
  replace(root, `<div class="gallery" role="group" aria-label="${esc(data.label)}">${data.pictures
    .map(({ id, title, thumbnail, alt }) => `<button type="button" id="pick-${esc(id)}" data-id="${esc(id)}" aria-pressed="${data.chosen.includes(id)}" title="${esc(title)}">
      <img src="${esc(thumbnail)}" alt="${esc(alt === title ? title : `${title}: ${alt}`)}"></button>`).join("")}</div>`);
  for (const button of root.querySelectorAll("button")) {
    button.onclick = () => act.toggle(button.dataset.id);
  }
};
