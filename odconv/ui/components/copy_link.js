// Copies the page's address, which holds everything that was chosen.

const drawCopyLink = (root) => {
  if (root.querySelector("button")) return;
  root.innerHTML = `<button type="button">Copy link to this view</button> <span role="status" class="faint"></span>`;
  const status = root.querySelector("[role=status]");
  root.querySelector("button").onclick = async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      status.textContent = "Copied.";
    } catch {
      // A page that is not served over https may not write to the clipboard.
      status.textContent = `Copy the address from the address bar: ${location.href}`;
    }
    setTimeout(() => { status.textContent = ""; }, 6000);
  };
};
