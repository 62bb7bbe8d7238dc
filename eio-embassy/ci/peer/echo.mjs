// The reference server, echoing. Arguments: port, ping interval and timeout in milliseconds, largest message.
// The module is installed outside the source tree, in the directory this runs in.

import { createServer } from "node:http";
import { createRequire } from "node:module";

const { attach } = createRequire(process.cwd() + "/")("engine.io");
const [port, pingInterval, pingTimeout, maxHttpBufferSize] = process.argv.slice(2).map(Number);
const http = createServer((request, response) => response.writeHead(404).end());
attach(http, { pingInterval, pingTimeout, maxHttpBufferSize })
  .on("connection", socket => socket.on("message", message => socket.send(message)));
http.listen(port, "127.0.0.1");
