// The server that tests the sensor: sends commands and checks answers and readings, over two connections; then it prints
// "sensor ok" and exits with status 0. Arguments: port.
// The module is installed outside the source tree, in the working directory.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { createRequire } from "node:module";

const { attach } = createRequire(process.cwd() + "/")("engine.io");
const TABLE = Buffer.from(Array.from({ length: 1300 }, (_, i) => (i * 31) % 256));
const SUM = TABLE.reduce((sum, byte) => sum + byte, 0);
// Commands, and the expected answers.
const COMMANDS = [
  ["every 50", "ok"],
  ["led on", "ok"],
  ["sing", "no such command"],
  [TABLE, `1300 bytes, sum ${SUM}`],
  ["every 9", "no such command"],
  ["led off", "ok"],
  ["wärmer", "no such command"],
];
const READINGS = 20;

let connections = 0;
const http = createServer((request, response) => response.writeHead(404).end());
attach(http, { pingInterval: 500, pingTimeout: 20000 })
  .on("connection", socket => {
    let answers = 0, readings = 0;
    const connection = ++connections;
    console.log(`connection ${connection}`);
    for (const [command] of COMMANDS) socket.send(command);
    socket.on("message", message => {
      if (typeof message === "string") {
        assert.equal(message, COMMANDS[answers++]?.[1]);
      } else {
        assert.equal(message.length, 12);
        assert.equal(message.readUInt32BE(0), readings++);
        const temperature = message.readInt32BE(8);
        assert(temperature > -60_000 && temperature < 150_000, `${temperature} thousandths of a degree`);
      }
      if (answers < COMMANDS.length || readings < READINGS) return;
      console.log(`connection ${connection}: ${answers} answers, ${readings} readings`);
      if (connection === 1) return socket.close(); // It must reconnect.
      console.log("sensor ok");
      process.exit(0);
    });
  });
http.listen(Number(process.argv[2]), "127.0.0.1");
