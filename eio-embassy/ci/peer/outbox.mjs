// The server that tests the outbox: acknowledges messages, loses some acknowledgements, and closes the connection again and
// again. When the messages 1 to 40 are processed, in order and once each, it prints "outbox ok" and exits with status 0.
// Arguments: port. The module is installed outside the source tree, in the working directory.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { createRequire } from "node:module";

const { attach } = createRequire(process.cwd() + "/")("engine.io");
const MESSAGES = 40;

// The last message that is processed. A server with several devices has one for each.
let last = 0, repeated = 0, connections = 0;
const http = createServer((request, response) => response.writeHead(404).end());
attach(http, { pingInterval: 500, pingTimeout: 20000 }).on("connection", socket => {
  const ends = last + 3 + connections++ * 2;
  socket.on("message", message => {
    const number = message.readUInt32BE(0);
    if (number <= last) {
      repeated++;
    } else {
      assert.equal(number, last + 1, "no message is left out");
      assert.equal(message.subarray(4).toString(), String(number));
      last = number;
    }
    // The acknowledgement of the last message before the end is lost.
    if (last >= ends) return socket.transport.close();
    socket.send(`ack ${last}`);
    if (last < MESSAGES) return;
    console.log(`${connections} connections, ${repeated} messages repeated`);
    assert(connections > 2 && repeated > 0);
    console.log("outbox ok");
    process.exit(0);
  });
});
http.listen(Number(process.argv[2]), "127.0.0.1");
