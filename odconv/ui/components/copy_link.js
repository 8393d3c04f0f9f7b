// Copies the page's address, which holds everything that was chosen.

const drawCopyLink = (root, { words }) => {
  if (!root.querySelector("button")) {
    root.innerHTML = `<button type="button"></button> <span role="status" class="faint"></span>`;
  }
  const button = root.querySelector("button"), status = root.querySelector("[role=status]");
  button.textContent = words.button;
  button.onclick = async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      status.textContent = words.copied;
    } catch {
      // A page that is not served over https may not write to the clipboard.
      status.textContent = `${words.by_hand} ${location.href}`;
    }
    setTimeout(() => { status.textContent = ""; }, 6000);
  };
};
