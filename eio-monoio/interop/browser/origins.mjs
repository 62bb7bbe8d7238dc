// Has a page talk to two servers of other origins: one that lets it in, and one that does not.
//
//     npm ci && node origins.mjs http://127.0.0.1:3000/ /tmp/screenshots http://127.0.0.1:3001/ http://127.0.0.1:3002/
//
// The first is a page with engine.io-client. Prints one line per check and exits with 0 if all hold, else with 1.

import { TIMEOUT, check, complaints, expect, open, others, visit } from "./visit.mjs";

const [friendly, unfriendly] = others;

/** Connects from the page, has a message echoed, and says over what and as whom; or what went wrong. */
const talk = (page, server, options) => page.evaluate(([server, options, limit]) => new Promise((resolve) => {
  const socket = eio(server, options);
  const done = (outcome) => {
    socket.close();
    resolve(outcome);
  };
  const say = () => socket.send("hello");
  socket.once(options.transports.length > 1 ? "upgrade" : "open", say);
  socket.once("message", (text) => done({ text, over: socket.transport.name, sid: socket.id }));
  socket.once("error", (error) => done({ error: error.message }));
  setTimeout(() => done({ error: "nothing happens" }), limit);
}), [server, options, TIMEOUT.timeout]);

await visit(async () => {
  const page = await open();

  await check("a page of an origin that is let in upgrades, and gets its cookie", async () => {
    const options = { transports: ["polling", "websocket"], withCredentials: true };
    const { text, over, sid, error } = await talk(page, friendly, options);
    expect(text === "hello" && over === "websocket", `${error ?? over}`);
    const cookies = await page.context().cookies(friendly);
    const cookie = cookies.find(({ name }) => name === "io");
    expect(cookie?.value === sid, `the cookie is ${JSON.stringify(cookie)}`);
    expect(cookie.httpOnly && cookie.sameSite === "Lax" && cookie.path === "/", JSON.stringify(cookie));
  });
  await check("headers of its own pass the preflight", async () => {
    const options = { transports: ["polling"], extraHeaders: { "X-Custom": "1" } };
    const { text, error } = await talk(page, friendly, options);
    expect(text === "hello", error);
  });
  await check("so far the browser has nothing to complain about", () => expect(complaints.length === 0, complaints.join("; ")));
  for (const transport of ["polling", "websocket"]) {
    await check(`a page of another origin gets nowhere over ${transport}`, async () => {
      const { text, error } = await talk(page, unfriendly, { transports: [transport] });
      expect(error === `${transport === "polling" ? "xhr poll" : "websocket"} error`, error ?? text);
    });
  }
  await check("the browser says why", () => expect(complaints.some((text) => text.includes("CORS policy")), complaints.join("; ")));
  complaints.length = 0;
}, { alone: false });
