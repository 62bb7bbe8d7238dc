// An echo server on engine.io. Arguments: port, ping interval and timeout in milliseconds, largest message; for TLS also the
// files of its key and its certificate.
// The module is installed outside the source tree, in the working directory.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { createRequire } from "node:module";

const { attach } = createRequire(process.cwd() + "/")("engine.io");
const [port, pingInterval, pingTimeout, maxHttpBufferSize] = process.argv.slice(2, 6).map(Number);
const [key, cert] = process.argv.slice(6).map(path => readFileSync(path));
const refuse = (request, response) => response.writeHead(404).end();
const http = key ? createTlsServer({ key, cert }, refuse) : createServer(refuse);
attach(http, { pingInterval, pingTimeout, maxHttpBufferSize })
  .on("connection", socket => socket.on("message", message => socket.send(message)));
http.listen(port, "127.0.0.1");
