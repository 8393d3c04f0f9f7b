// Watches the connection to the server. When it is back after a loss, the page is run once in full before anything else
// is sent: the server may have forgotten this visitor or been started again, and then knows nothing of what is shown.
// Until then the figures are marked as not computed.

const WORTH_SAYING = 800; // ms: a shorter loss passes without a sentence
const ASK_AGAIN = 5000; // ms after which a page that was not run is asked for once more

const watchConnection = (root, data, act) => {
  document.documentElement.lang = data.language;
  if (data.address && data.run !== connection.run) rewriteAddress(data.address); // once: later, it says what was chosen since
  const app = document.querySelector("[data-testid=stApp]");
  connection.judge = () => judge(root, data, act, app);
  endDrag(); // the whole page has been drawn
  connection.run = data.run;
  connection.mark = () => {
    const late = [...connection.late].some((key) => document.querySelector(`.st-key-${key}`)); // not of what is gone
    markFigures(data.figures, !connection.open || late);
    markFigures(data.later[connection.dragging] ?? [], true);
  };
  if (!connection.observer) {
    connection.observer = new MutationObserver(() => connection.judge());
    connection.observer.observe(app, { attributeFilter: ["data-test-connection-state", "data-test-script-state"] });
    const sheet = document.head.appendChild(document.createElement("style"));
    const native = ["stButton", "stButtonGroup", "stSelectbox", "stSlider", "stCheckbox", "stNumberInput", "stFileUploader", "stCameraInput"];
    sheet.textContent = `.st-key-connection { position: absolute; }
      [class*="st-key-"][aria-busy="true"] { opacity: 0.4; }
      [data-unheard] :is(${native.map((name) => `[data-testid=${name}]`)}) { pointer-events: none; opacity: 0.5; }`;
    // Streamlit's own widgets send at once, to a server that does not know the page yet: until it does, they take nothing.
    const inComponent = (event) => event.target.closest?.("[data-testid=stBidiComponentIsolated]");
    app.addEventListener("keydown", (event) => {
      if (!connection.open && event.key !== "Tab" && !inComponent(event)) event.preventDefault();
    }, true);
  }
  connection.judge();
  connection.mark();
};

// The address says what the page shows: a link that says it in another way is written anew, without a step in the history.
const rewriteAddress = ({ names, query }) => {
  const url = new URL(location.href);
  for (const name of names) url.searchParams.delete(name);
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  history.replaceState(history.state, "", url);
};

// What followed only the release of a widget, and not its drag, has followed.
const endDrag = () => {
  connection.dragging = "";
  connection.released = false;
};

const judge = (root, data, act, app) => {
  if (connection.released && app.dataset.testScriptState === "notRunning") endDrag(); // all parts that follow have been drawn
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
  app.toggleAttribute("data-unheard", !connection.open);
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
