// Opens the page of the `chat` example in two windows of a real browser and has them talk.
//
//     npm ci && node chat.mjs http://127.0.0.1:3000/ /tmp/screenshots
//
// Prints one line per check and exits with 0 if all hold, else with 1.

import { join } from "node:path";

import { TIMEOUT, check, directory, expect, open, visit } from "./visit.mjs";

const SIZE = { viewport: { width: 720, height: 560 }, deviceScaleFactor: 2, colorScheme: "light" };

async function say(page, text) {
  await page.fill("#text", text);
  await page.press("#text", "Enter");
}

/** Waits until the log of a page has an entry with exactly this text. */
const hears = (page, text) =>
  page.waitForFunction((text) => [...document.querySelectorAll("#log li")].some((item) => item.textContent === text), text, TIMEOUT);

await visit(async () => {
  const ada = await open(SIZE);
  const grace = await open({ ...SIZE, viewport: { width: 360, height: 640 }, colorScheme: "dark" });

  await check("who joins is announced to everyone", async () => {
    await say(ada, "Ada");
    await hears(ada, "Ada joined");
    await say(grace, "Grace");
    await Promise.all([ada, grace].map((page) => hears(page, "Grace joined")));
  });
  await check("what one says the other hears, with the name", async () => {
    await say(ada, "Good morning, Grace. Does it fit on a phone?");
    await hears(grace, "AdaGood morning, Grace. Does it fit on a phone?");
    await say(grace, "It does. Also a rather longer line that has to be broken somewhere in the middle.");
    await hears(ada, "GraceIt does. Also a rather longer line that has to be broken somewhere in the middle.");
  });
  await check("what one says is one's own", async () => {
    await hears(ada, "Good morning, Grace. Does it fit on a phone?");
    const mine = await ada.locator("#log li.mine").count();
    expect(mine === 1, `${mine} entries`);
  });
  await check("markup is text", async () => {
    await say(grace, "<b>bold</b> & 'quoted' — naïve 🙂");
    await hears(ada, "Grace<b>bold</b> & 'quoted' — naïve 🙂");
  });
  await check("the page fits a screen 360 pixels wide", async () => {
    const width = await grace.evaluate(() => document.documentElement.scrollWidth);
    expect(width <= 360, `it is ${width} pixels wide`);
  });
  await ada.screenshot({ path: join(directory, "chat-light.png") });
  await grace.screenshot({ path: join(directory, "chat-dark-mobile.png") });
  await check("who leaves is missed", async () => {
    await grace.close();
    await hears(ada, "Grace left");
  });
});
