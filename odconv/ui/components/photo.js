// The photo, and beside it the very pixels that the network sees.

const drawPhoto = (root, data) => {
  const figure = (name) => `<figure class="${name}"><img alt=""><figcaption></figcaption></figure>`;
  if (!root.querySelector("img")) root.innerHTML = `<div class="room"><div class="photos">${figure("whole")}${figure("seen")}</div></div>`;
  const images = root.querySelectorAll("img"), captions = root.querySelectorAll("figcaption");
  const shown = [[data.photo, data.alt, data.title], [data.seen, data.seen_alt, data.caption]];
  shown.forEach(([source, alt, caption], i) => {
    if (images[i].src !== source) images[i].src = source; // the picture before stays until this one is decoded
    images[i].alt = alt;
    captions[i].textContent = captions[i].title = caption;
  });
};
