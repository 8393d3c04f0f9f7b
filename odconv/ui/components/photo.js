// The photo, and beside it the very pixels that the network sees.

const drawPhoto = (root, data) => {
  const state = stateOf(root, {});
  if (state.photo === data.photo && state.seen === data.seen && state.caption === data.caption) return;
  Object.assign(state, { photo: data.photo, seen: data.seen, caption: data.caption });
  const figure = (name, source, alt, caption) =>
    `<figure class="${name}"><img src="${esc(source)}" alt="${esc(alt)}"><figcaption title="${esc(caption)}">${esc(caption)}</figcaption></figure>`;
  replace(root, `<div class="room"><div class="photos">${figure("whole", data.photo, data.alt, data.title)}${figure("seen", data.seen, data.seen_alt, data.caption)}</div></div>`);
};
