// The chat box: one WebSocket, opened again when it ends.

const lines = document.getElementById("chat-lines");
const state = document.getElementById("chat-state");
const form = document.getElementById("chat");
const text = document.getElementById("chat-text");
const LINES_MAX = 200;
const RETRY_MIN_MS = 250;
const RETRY_MAX_MS = 8000;

let socket;
let me;

const hear = {
  welcome({ you }) {
    me = you;
  },
  presence({ online }) {
    tell("open", online === 1 ? "only you" : `${online} here`);
  },
  said({ from, text }) {
    write(text, from === me ? "mine" : "", from === me ? "" : from);
  },
  refused({ reason }) {
    write(reason, "refused");
  },
};

function write(text, kind, from) {
  const line = document.createElement("li");
  line.className = kind;
  if (from) {
    const name = document.createElement("span");
    name.className = "from";
    name.textContent = from;
    line.append(name);
  }
  line.append(text);
  lines.append(line);
  while (lines.childElementCount > LINES_MAX) lines.firstElementChild.remove();
  lines.scrollTop = lines.scrollHeight;
}

function tell(name, text) {
  state.dataset.state = name;
  state.textContent = text;
}

function connect(retry_ms = RETRY_MIN_MS) {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
  socket.onopen = () => {
    retry_ms = RETRY_MIN_MS;
    tell("open", "connected");
  };
  socket.onmessage = (event) => {
    const notice = JSON.parse(event.data);
    hear[notice.kind]?.(notice);
  };
  socket.onclose = () => {
    tell("closed", "reconnecting");
    setTimeout(connect, retry_ms, Math.min(retry_ms * 2, RETRY_MAX_MS));
  };
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  // What cannot be sent now stays in the box.
  if (!text.value.trim() || socket.readyState !== WebSocket.OPEN) return;
  socket.send(text.value);
  text.value = "";
});

connect();
