// The settings that are in force, and what the temperature does.

const drawInForce = (root, { settings, why }) => {
  if (!root.firstChild) root.innerHTML = `<p class="in-force"><span></span> <span></span></p>`;
  const [first, second] = root.querySelectorAll("span");
  first.textContent = settings;
  second.textContent = why;
};
