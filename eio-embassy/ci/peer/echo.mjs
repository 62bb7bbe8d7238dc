// An echo server on engine.io. Arguments: port, ping interval and timeout in milliseconds, largest message, `echo` or `sink`;
// for TLS also the files of its key and its certificate.
// A sink counts the messages of a session, and answers `count` with their number.
// The module is installed outside the source tree, in the working directory.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { createRequire } from "node:module";

const { attach } = createRequire(process.cwd() + "/")("engine.io");
const [port, pingInterval, pingTimeout, maxHttpBufferSize] = process.argv.slice(2, 6).map(Number);
const sink = process.argv[6] === "sink";
const [key, cert] = process.argv.slice(7).map(path => readFileSync(path));
const refuse = (request, response) => response.writeHead(404).end();
const http = key ? createTlsServer({ key, cert }, refuse) : createServer(refuse);
attach(http, { pingInterval, pingTimeout, maxHttpBufferSize }).on("connection", socket => {
  let count = 0;
  socket.on("message", message => {
    if (!sink) socket.send(message);
    else if (message === "count") socket.send(String(count));
    else count += 1;
  });
});
http.listen(port, "127.0.0.1");
