"use strict";

const [state, log, form, input] = ["state", "log", "say", "text"].map((id) => document.getElementById(id));
let socket;
let name;

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = input.value.trim();
  if (!text) return;
  if (!name) return join(text);
  if (socket.readyState !== "open") return; // the text stays in the field
  socket.send(text);
  input.value = "";
});

function join(as) {
  name = as;
  input.value = "";
  input.maxLength = 1000;
  input.placeholder = document.getElementById("label").textContent = "Say something";
  form.querySelector("button").textContent = "Send";
  connect();
}

function connect() {
  state.textContent = "connecting …";
  socket = eio();
  socket.on("open", () => {
    state.textContent = `you are ${name}`;
    socket.send(name);
  });
  socket.on("message", (message) => {
    const [from, ...lines] = message.split("\n");
    show(from, lines.join("\n"));
  });
  // This event follows an error, too.
  socket.on("close", () => {
    state.textContent = "gone; trying again …";
    setTimeout(connect, 1000 + 2000 * Math.random());
  });
}

function show(from, text) {
  const item = document.createElement("li");
  if (!from) item.className = "news";
  else if (from === name) item.className = "mine";
  else item.append(Object.assign(document.createElement("b"), { textContent: from }));
  item.append(text); // as text, so that a message cannot contain markup
  log.append(item);
  log.scrollTop = log.scrollHeight;
}
