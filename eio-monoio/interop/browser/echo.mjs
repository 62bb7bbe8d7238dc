// Opens sessions of engine.io-client in a real browser, at a server that echoes and has no page of its own.
//
//     npm ci && node echo.mjs http://127.0.0.1:3000/engine.io/ /tmp/screenshots
//
// Prints one line per check and exits with 0 if all hold, else with 1.

import { check, expect, open, require, visit } from "./visit.mjs";

const TRANSPORTS = { polling: ["polling"], websocket: ["websocket"], upgrade: ["polling", "websocket"] };

/** In the browser: sends texts and binary messages, and compares their echoes. */
function session(transports) {
  return new Promise((resolve, reject) => {
    const socket = eio(location.origin, { transports });
    const upgrades = transports.length > 1;
    const sent = [];
    let received = 0;
    const send = () => {
      for (let n = 0; n < 20; n++) {
        sent.push(`${socket.transport.name} ${n}`, new Uint8Array([sent.length, n]));
        sent.slice(-2).forEach((message) => socket.send(message));
      }
    };
    socket.binaryType = "arraybuffer";
    socket.on("open", send);
    socket.on("upgrade", send);
    socket.on("message", (message) => {
      const expected = sent[received++];
      const same = typeof expected === "string" ? message === expected : `${new Uint8Array(message)}` === `${expected}`;
      if (!same) reject(new Error(`${message} in place of ${expected}`));
      if (received === (upgrades ? 80 : 40)) {
        resolve(`${received} over ${socket.transport.name} at the end`);
        socket.off("close").close();
      }
    });
    socket.on("close", (reason, error) => reject(new Error(`${reason} ${error?.message} after ${received}`)));
  });
}

await visit(async () => {
  // A page of ours with the origin of the server. Without an icon the browser would ask for one.
  const page = await open({ html: '<!doctype html><link rel="icon" href="data:,">' });
  await page.addScriptTag({ path: require.resolve("engine.io-client/dist/engine.io.min.js") });
  for (const [name, transports] of Object.entries(TRANSPORTS)) {
    for (let n = 1; n <= 3; n++) {
      await check(`${name}, session ${n}`, async () => {
        const result = await page.evaluate(session, transports);
        expect(result, "no result");
        return result;
      });
    }
  }
  await page.close();
});
