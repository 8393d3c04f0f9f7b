// Links to copy: to what the page shows, or to what a class is to see.

const drawCopyLink = (root, { words }) => {
  if (!root.querySelector("button")) {
    root.innerHTML = `<button type="button"></button> <span role="status" class="faint"></span>`;
  }
  listenToCopy(root, words, () => location.href);
};

const drawClassLink = (root, { address, words }) => {
  const { href, hostname } = new URL(address, location.href);
  const local = ["localhost", "127.0.0.1", "[::1]"].includes(hostname);
  if (!root.querySelector("button")) {
    root.innerHTML = `<p class="class-link"><a target="_blank" rel="noopener"></a></p>
      <button type="button"></button> <a class="preview" target="_blank" rel="noopener"></a> <span role="status" class="faint"></span>
      <p class="note"></p>`;
  }
  for (const link of root.querySelectorAll("a")) link.href = href;
  root.querySelector(".class-link a").textContent = href;
  root.querySelector(".class-link a").setAttribute("aria-label", `${words.link} ${href}`);
  root.querySelector(".preview").textContent = words.preview;
  root.querySelector(".note").textContent = local ? words.local : "";
  listenToCopy(root, words, () => href);
};

const listenToCopy = (root, words, link) => {
  const button = root.querySelector("button"), status = root.querySelector("[role=status]");
  button.textContent = words.copy;
  button.onclick = async () => {
    try {
      await navigator.clipboard.writeText(link());
      status.textContent = words.copied;
    } catch {
      // A page that is not served over https may not write to the clipboard.
      status.textContent = `${words.by_hand} ${link()}`;
    }
    setTimeout(() => { status.textContent = ""; }, 6000);
  };
};
