// Opens the page of the `latency` example in a real browser and checks what a visitor would see.
//
//     npm ci && node latency.mjs http://127.0.0.1:3000/ /tmp/screenshots
//
// Prints one line per check and exits with 0 if all hold, else with 1.

import { readFileSync } from "node:fs";
import { join } from "node:path";

import { TIMEOUT, check, directory, expect, open, require, visit } from "./visit.mjs";

const data = (page) => page.evaluate(() => ({ ...document.body.dataset }));
const text = (page, id) => page.locator(`#${id}`).innerText();
const choose = (page, name, value) => page.locator(`input[name=${name}][value="${value}"]`).check(TIMEOUT);

/** Waits until `transport` is in use and has carried `count` round trips with the settings as they are. */
async function carried(page, transport, count) {
  const key = transport === "polling" ? "countPolling" : "countWebsocket";
  await page.waitForFunction(
    ([transport, key, count]) => document.body.dataset.transport === transport && Number(document.body.dataset[key]) >= count,
    [transport, key, count], TIMEOUT,
  );
  return `${(await data(page))[key]} round trips`;
}

/** How many pixels of the plot have the colour of a transport. */
const painted = (page, transport) => page.evaluate((transport) => {
  const canvas = document.getElementById("plot");
  const context = canvas.getContext("2d");
  const probe = new OffscreenCanvas(1, 1).getContext("2d");
  probe.fillStyle = getComputedStyle(canvas).getPropertyValue(`--${transport}`).trim();
  probe.fillRect(0, 0, 1, 1);
  const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  let count = 0;
  for (let i = 0; i < data.length; i += 4) {
    if (data[i] === r && data[i + 1] === g && data[i + 2] === b && data[i + 3] === 255) count++;
  }
  return count;
}, transport);

await visit(async () => {
  const page = await open({ viewport: { width: 1280, height: 900 }, deviceScaleFactor: 2, colorScheme: "light" });

  await check("the connection is upgraded to WebSocket", async () => {
    await page.waitForFunction(() => document.body.dataset.transport === "websocket", null, TIMEOUT);
    return `${(await data(page)).upgradedAt} ms after open`;
  });
  await check("polling carried round trips before the upgrade", async () => {
    const { countPolling } = await data(page);
    expect(Number(countPolling) >= 1, "none");
    return `${countPolling}`;
  });
  await check("WebSocket carries round trips after it", async () => {
    await choose(page, "rate", 20);
    return carried(page, "websocket", 60);
  });
  await check("the plot shows both transports and the upgrade", async () => {
    const marks = await page.evaluate(() => window.__latency.marks);
    const upgrades = marks.filter((mark) => mark.kind === "upgrade");
    expect(upgrades.length === 1, `${upgrades.length} upgrade marks`);
    for (const transport of ["polling", "websocket"]) {
      expect((await painted(page, transport)) > 20, `nothing in the colour of ${transport}`);
    }
    return upgrades[0].text;
  });
  await check("the numbers add up", async () => {
    const cells = await page.locator('tr[data-series="websocket"] td').allInnerTexts();
    const [median, p95, min, max] = cells.map(Number);
    expect(0 < min && min <= median && median <= p95 && p95 <= max, `out of order: ${cells}`);
    return `median ${median} ms, p95 ${p95} ms`;
  });
  await check("the session is described", async () => {
    const [sid, interval, timeout] = await Promise.all(["sid", "ping-interval", "ping-timeout"].map((id) => text(page, id)));
    expect(sid.length >= 8, `session id ${sid}`);
    expect(/^\d/.test(interval) && /^\d/.test(timeout), `ping interval ${interval}, timeout ${timeout}`);
    return `ping interval ${interval}, timeout ${timeout}`;
  });
  await page.screenshot({ path: join(directory, "latency-light.png"), fullPage: true });
  await page.emulateMedia({ colorScheme: "dark" });
  await page.waitForTimeout(500);
  await page.screenshot({ path: join(directory, "latency-dark.png"), fullPage: true });

  await check("the labels of the vertical axis are not cut", async () => {
    // Round trips of a hundredth of a millisecond to a quarter of a minute.
    await page.evaluate(() => [0.004, 15_000].forEach((rtt) => window.__latency.sample(rtt)));
    await page.waitForFunction(() => window.__latency.axis.some(({ label }) => label === "10,000 ms"), null, TIMEOUT);
    await page.screenshot({ path: join(directory, "latency-slow.png") });
    const axis = await page.evaluate(() => window.__latency.axis);
    for (const { label, left } of axis) expect(left >= 0, `${label} begins at ${left}`);
    return `${axis.length} labels`;
  });

  // Every choice of size and format restarts the counts, so `carried` sees only the messages of this choice.
  await check("64 KB of text and of binary over WebSocket", async () => {
    await choose(page, "size", 65536);
    await carried(page, "websocket", 10);
    await choose(page, "format", "binary");
    return carried(page, "websocket", 10);
  });
  await check("64 KB of binary and of text over polling", async () => {
    await choose(page, "mode", "polling");
    await carried(page, "polling", 10);
    await choose(page, "format", "text");
    return carried(page, "polling", 10);
  });
  await check("WebSocket from the first request on", async () => {
    await choose(page, "size", 16);
    await choose(page, "mode", "websocket");
    await carried(page, "websocket", 10);
    expect((await text(page, "upgrade")) === "not asked for", "an upgrade took place");
  });
  await check("every echo is what was sent, and none is missing", async () => {
    const { altered } = await data(page);
    const lost = await page.evaluate(() => window.__latency.lost);
    expect(altered === "0" && lost === 0, `${altered} altered, ${lost} lost`);
  });
  await check("no connection was closed by the server", async () => {
    const reconnections = await text(page, "reconnections");
    expect(reconnections === "0", `${reconnections} reconnections: ${await text(page, "close-reason")}`);
  });
  await page.close();

  const phone = await open({ viewport: { width: 360, height: 780 }, deviceScaleFactor: 2, colorScheme: "light" });
  await check("the page fits a screen 360 pixels wide", async () => {
    await carried(phone, "websocket", 20);
    const width = await phone.evaluate(() => document.documentElement.scrollWidth);
    expect(width <= 360, `it is ${width} pixels wide`);
  });
  await phone.screenshot({ path: join(directory, "latency-mobile.png"), fullPage: true });

  await check("the client served is the one published", async () => {
    const path = require.resolve("engine.io-client/dist/engine.io.min.js");
    const served = await phone.evaluate(async () => (await fetch("/engine.io.min.js")).text());
    expect(served === readFileSync(path, "utf8"), "they differ");
  });
  await phone.close();
});
