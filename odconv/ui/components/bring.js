// A place to bring files to: chosen, or dropped. Each is asked about first, then sent with its progress; a card before its
// weights. What is refused, and why, the server says.

const drawBring = (root, data, act) => {
  const state = stateOf(root, {}), drawing = JSON.stringify(data);
  Object.assign(state, { data, act });
  if (state.drawing === drawing || state.sending) return;
  state.drawing = drawing;
  const { words } = data;
  replace(root, `<div class="bring">
      <label class="place"><span class="choose">${esc(words.choose)}</span> <span>${esc(words.drop)}</span>
        <input id="files" type="file" multiple accept="${esc(data.endings.join(","))}"></label>
      <div class="progress" hidden><progress max="1"></progress> <span class="text"></span> <button type="button" id="cancel">${esc(words.cancel)}</button></div>
      <p role="alert"></p></div>`);
  tell(root, data.refused);
  const place = root.querySelector(".place"), input = root.querySelector("input");
  input.onchange = () => bringFiles(root, [...input.files]);
  place.ondragover = (event) => { event.preventDefault(); place.classList.add("over"); };
  place.ondragleave = () => place.classList.remove("over");
  place.ondrop = (event) => {
    event.preventDefault();
    place.classList.remove("over");
    if (!state.sending) bringFiles(root, [...event.dataTransfer.files]);
  };
  root.querySelector("#cancel").onclick = () => state.request?.abort();
};

const bringFiles = async (root, files) => {
  if (!files.length) return;
  const state = stateOf(root, {}), { data, act } = state;
  const isCard = ({ name }) => name.endsWith(data.card), cards = files.filter(isCard), weights = files.filter((file) => !isCard(file));
  tell(root, "");
  if (weights.length !== 1 || cards.length > 1) return tell(root, data.words.one);
  state.sending = true;
  root.querySelector("input").disabled = true;
  let done = false;
  try {
    const inOrder = [...cards, ...weights];
    for (const file of inOrder) {
      const refused = await (await fetch(addressOf(data, file, ["ask"]), { method: "POST", headers: headersOf(data) })).text();
      if (refused) throw new Refusal(JSON.parse(refused).refused);
    }
    for (const file of inOrder) await sendFile(root, data, file, cards.length && file === weights[0] ? ["card"] : []);
    done = true;
  } catch (error) {
    if (!(error instanceof Stopped)) tell(root, error instanceof Refusal ? error.message : data.words.failed);
  }
  state.sending = false;
  showProgress(root, null, done ? data.words.read : "");
  root.querySelector("input").disabled = false;
  root.querySelector("input").value = ""; // the same file can be chosen again
  if (done) state.act.brought(data.session);
};

class Refusal extends Error {}
class Stopped extends Error {}

const headersOf = (data) => ({ "Content-Type": "application/octet-stream", "X-Odconv-Session": data.session });
const addressOf = (data, file, flags) =>
  `${data.address}?${new URLSearchParams([["name", file.name], ["bytes", file.size], ...flags.map((flag) => [flag, "1"])])}`;

// fetch does not say how far it has come.
const sendFile = (root, data, file, flags) =>
  new Promise((resolve, reject) => {
    const request = (stateOf(root, {}).request = new XMLHttpRequest());
    request.open("POST", addressOf(data, file, flags));
    for (const [name, value] of Object.entries(headersOf(data))) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded }) => showProgress(root, file.size ? loaded / file.size : 1, data.words.sending, file);
    request.onload = () => {
      if (request.status === 204) resolve();
      else if (request.status === 422) reject(new Refusal(JSON.parse(request.responseText).refused));
      else reject(new Error(String(request.status)));
    };
    request.onerror = () => reject(new Error("lost"));
    request.onabort = () => reject(new Stopped());
    request.send(file);
  });

// ``share``: how far it has come, 0 to 1; null: it is not known, or there is nothing to say.
const showProgress = (root, share, template, file) => {
  const line = root.querySelector(".progress");
  line.hidden = !template;
  if (!template) return;
  const bar = line.querySelector("progress");
  if (share === null) bar.removeAttribute("value");
  else bar.value = share;
  const values = file && { percent: Math.floor(100 * share), size: at(file.size / 2 ** 20), file: file.name };
  line.querySelector(".text").textContent = values ? fill(template, values) : template;
  line.querySelector("#cancel").hidden = !file;
};

const tell = (root, sentence) => { root.querySelector("[role=alert]").textContent = sentence; };
