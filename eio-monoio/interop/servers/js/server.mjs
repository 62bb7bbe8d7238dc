// The reference server, npm engine.io, echoing on a free port of the loopback interface.
//
//   cd target/tmp/foreign/servers-js-*
//   node .../interop/servers/js/server.mjs [ping interval ms] [ping timeout ms] [max payload]
//
// Messages are compressed for a client that offers it, as python-engineio's server on aiohttp does.
//
// It runs where its package.json is installed, as the clients in ../../js do. A message `close` ends
// the session, `kill` the process; a request with `X-Refuse` is refused.

import { createRequire } from "node:module";
import { createServer } from "node:http";

const { Server } = createRequire(`${process.cwd()}/`)("engine.io");

const [pingInterval = 25000, pingTimeout = 20000, maxHttpBufferSize = 1e6] =
  process.argv.slice(2).map(Number);

const http = createServer();
const engine = new Server({
  pingInterval,
  pingTimeout,
  maxHttpBufferSize,
  allowRequest: (request, answer) => {
    const refused = "x-refuse" in request.headers;
    answer(refused ? "refused" : null, !refused);
  },
  cookie: true,
  perMessageDeflate: { threshold: 10 },
});
engine.attach(http);
engine.on("connection", socket => {
  socket.on("message", message => {
    if (message === "close") socket.close();
    else if (message === "kill") process.kill(process.pid, "SIGKILL");
    else socket.send(message);
  });
});

http.listen(0, "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${http.address().port}/engine.io/`);
});
