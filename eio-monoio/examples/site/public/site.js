"use strict";

const said = document.getElementById("said");

document.getElementById("door").addEventListener("submit", (event) => {
  event.preventDefault();
  const token = document.getElementById("token").value;
  const socket = eio({ query: token ? { token } : {} });
  socket.on("message", (text) => { said.textContent = text; });
  // The server's answer to the handshake: 401 and the reason.
  socket.on("error", (error) => {
    const request = error.context;
    said.textContent = `Refused: ${error.description} ${request?.responseText ?? ""}`;
  });
});
