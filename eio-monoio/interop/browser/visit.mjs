// Shared by the visits of our pages: a browser, checks that print a line each, and a log of page errors.
// The browser is $CHROMIUM, or /usr/bin/chromium.

import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";

// The packages are installed outside the source tree, in the directory this runs in.
export const require = createRequire(process.cwd() + "/");
const { chromium } = require("playwright-core");

export const [url, directory, ...others] = process.argv.slice(2);
if (!url || !directory) {
  console.error("usage: node VISIT.mjs <page URL> <directory for screenshots>");
  process.exit(1);
}
mkdirSync(directory, { recursive: true });
const { origin, host } = new URL(url);

let failures = 0;
export async function check(what, verify) {
  try {
    const detail = await verify();
    console.log(`ok    ${what}${detail ? `: ${detail}` : ""}`);
  } catch (error) {
    failures++;
    console.log(`FAIL  ${what}: ${error.message.split("\n")[0]}`);
  }
}
export function expect(condition, message) {
  if (!condition) throw new Error(message);
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  // The flags after the second keep the browser from calling its maker's servers on its own account.
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
    // A page that a script provides has no address: it may connect to this machine, too.
    "--disable-features=LocalNetworkAccessChecks",
  ],
});

export const complaints = []; // errors on the console, exceptions, failed requests
const strangers = []; // addresses on any other origin

/** Opens the page, or `html` in its place, and watches what becomes of it. */
export async function open({ html, ...options } = {}) {
  const page = await browser.newPage(options);
  // Between two nodes a poll may cross the close of its session. A session that lives would end, which pages show.
  const crossed = (status, of) => others.includes("polls-cross-closes") && status === 400 && of.includes("&sid=");
  page.on("console", (message) => {
    const isCrossed = message.text().includes("status of 400") && crossed(400, message.location().url);
    if (message.type() === "error" && !isCrossed) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    const { protocol, origin: asked } = new URL(request.url());
    if (protocol !== "data:" && asked !== origin) strangers.push(request.url());
  });
  page.on("websocket", (socket) => new URL(socket.url()).host === host || strangers.push(socket.url()));
  page.on("response", (response) => {
    const [status, asked] = [response.status(), response.url()];
    if (status >= 400 && !crossed(status, asked)) complaints.push(`${status} ${asked}`);
  });
  page.on("requestfailed", (request) => {
    // The client gives up a pending poll when it reconnects with another transport.
    const { errorText } = request.failure();
    if (errorText !== "net::ERR_ABORTED") complaints.push(`${errorText} ${request.url()}`);
  });
  if (html) await page.route(url, (route) => route.fulfill({ contentType: "text/html", body: html }));
  await page.goto(url);
  return page;
}

export const TIMEOUT = { timeout: 30_000 };

/** Runs a visit, checks what every page must hold to, and ends the process. `alone`: it asks nothing of others. */
export async function visit(run, { alone = true } = {}) {
  try {
    await run();
    await check("the browser has nothing to complain about", () => expect(complaints.length === 0, complaints.join("; ")));
    if (alone) await check("nothing is asked of any other origin", () => expect(strangers.length === 0, strangers.join("; ")));
  } finally {
    await browser.close();
  }
  process.exit(failures ? 1 : 0);
}
