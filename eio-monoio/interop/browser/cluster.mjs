// Opens the page of the `cluster` example, whose requests go to three nodes in turn, in a real browser.
//
//     npm ci && node cluster.mjs 'http://127.0.0.1:3001/?ports=3001,3002,3003' /tmp/screenshots
//
// Prints one line per check and exits with 0 if all hold, else with 1.

import { join } from "node:path";

import { TIMEOUT, check, directory, expect, open, visit } from "./visit.mjs";

/** Waits until the log of a page has this line. */
const hears = (page, text) =>
  page.waitForFunction((text) => document.getElementById("log").textContent.split("\n").includes(text), text, TIMEOUT);

await visit(async () => {
  const page = await open();
  await check("the page has a session, whose sid names its node", async () => {
    await page.waitForFunction(() => document.getElementById("sid").textContent.includes("."), null, TIMEOUT);
  });
  await check("every address answers requests of the session", async () => {
    for (let n = 0; n < 6; n += 1) {
      await page.fill("#text", `message ${n}`);
      await page.press("#text", "Enter");
      await hears(page, `message ${n}`);
    }
    const rows = await page.locator("#nodes tr").allTextContents();
    const cells = await page.locator("#nodes td").allTextContents();
    for (let row = 0; row < rows.length; row += 1) {
      const [port, gets, posts, failed] = cells.slice(row * 4, row * 4 + 4);
      expect(gets + posts > 0 && failed === "0", `node ${port}: ${gets} GETs, ${posts} POSTs, ${failed} failed`);
    }
    expect(rows.length === 3 || rows.length === 1, `${rows.length} rows`);
  });
  await check("a message to all reaches the session", async () => {
    await page.fill("#text", "to everybody");
    await page.click("#all");
    await hears(page, "all:to everybody");
  });
  await page.screenshot({ path: join(directory, "cluster.png") });
});
