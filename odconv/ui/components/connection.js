// Watches the connection to the server. When it is back after a loss, the page is run once in full before anything else
// is sent: the server may have forgotten this visitor or been started again, and then knows nothing of what is shown.
// Until then the figures are marked as not computed.

const WORTH_SAYING = 800; // ms: a shorter loss passes without a sentence
const ASK_AGAIN = 5000; // ms after which a page that was not run is asked for once more

const watchConnection = (root, data, act) => {
  const app = document.querySelector("[data-testid=stApp]");
  connection.judge = () => judge(root, data, act, app);
  connection.mark = () => {
    const late = connection.late && document.querySelector(".st-key-dials"); // not once the dials are gone
    markFigures(data.figures, !connection.open || late);
  };
  if (!connection.observer) {
    connection.observer = new MutationObserver(() => connection.judge());
    connection.observer.observe(app, { attributeFilter: ["data-test-connection-state", "data-test-script-state"] });
    const sheet = document.head.appendChild(document.createElement("style"));
    sheet.textContent = `.st-key-connection { position: absolute; }
      [class*="st-key-"][aria-busy="true"] { opacity: 0.4; }`;
  }
  connection.judge();
  connection.mark();
};

const judge = (root, data, act, app) => {
  const connected = app.dataset.testConnectionState === "CONNECTED";
  if (!connected) {
    if (connection.open) connection.lostAt = performance.now();
    connection.open = connection.asked = false;
  } else if (!connection.open && !connection.asked) {
    connection.asked = true;
    connection.runBefore = data.run;
    act.runPage();
    setTimeout(() => {
      if (connection.open || app.dataset.testScriptState !== "notRunning") return;
      connection.asked = false;
      connection.judge();
    }, ASK_AGAIN);
  } else if (!connection.open && data.run !== connection.runBefore && app.dataset.testScriptState === "notRunning") {
    connection.open = true;
    sendKept();
  }
  announce(root, connection.open ? "" : connected ? data.words.back : data.words.lost);
};

const announce = (root, sentence) => {
  clearTimeout(connection.timer);
  const early = WORTH_SAYING - (performance.now() - connection.lostAt);
  if (sentence && early > 0) {
    connection.timer = setTimeout(() => connection.judge(), early);
    return;
  }
  if (!root.querySelector("[role=status]")) root.innerHTML = `<p role="status" class="connection"></p>`;
  const status = root.querySelector("[role=status]");
  if (status.textContent !== sentence) status.textContent = sentence;
  connection.mark();
};

const markFigures = (keys, busy) => {
  for (const key of keys) {
    for (const figure of document.querySelectorAll(`.st-key-${key}`)) {
      if (busy) figure.setAttribute("aria-busy", "true");
      else figure.removeAttribute("aria-busy");
    }
  }
};
