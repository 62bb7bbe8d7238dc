// Knocks at the door of the `site` example in a real browser, without a token, with a wrong one and with the right one.
//
//     npm ci && node site.mjs http://127.0.0.1:3000/ /tmp/screenshots
//
// Prints one line per check and exits with 0 if all hold, else with 1.

import { join } from "node:path";

import { TIMEOUT, check, complaints, directory, expect, open, visit } from "./visit.mjs";

await visit(async () => {
  const page = await open({ viewport: { width: 720, height: 420 }, deviceScaleFactor: 2 });
  const knock = async (token, answer) => {
    await page.fill("#token", token);
    await page.press("#token", "Enter");
    await page.waitForFunction((answer) => document.getElementById("said").textContent === answer, answer, TIMEOUT);
  };

  await check("without a token the visitor is told so", () => knock("", 'Refused: 401 "Unauthorized"'));
  await check("a wrong token is told from none", () => knock("open", 'Refused: 401 {"reason":"wrong token"}'));
  await check("the browser noticed two refusals and nothing else", () => {
    const refusals = complaints.filter((text) => text.includes("401"));
    expect(refusals.length >= 2 && refusals.length === complaints.length, complaints.join("; "));
  });
  complaints.length = 0;
  await check("the token opens the door", () => knock("sesame", "Come in."));
  await check("who was let in has a cookie", async () => {
    const cookies = await page.context().cookies();
    expect(cookies.some(({ name, httpOnly }) => name === "io" && httpOnly), JSON.stringify(cookies));
  });
  await page.screenshot({ path: join(directory, "site.png") });
});
