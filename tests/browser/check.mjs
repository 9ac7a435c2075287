// Opens each page of a folder in headless Chromium, without network, and does what a reader does.
// Usage: node check.mjs FOLDER-OF-PLAYWRIGHT FOLDER-OF-PAGES; beside `a.html` lies `a.csv`, the data it must show.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [tools, pages] = process.argv.slice(2);
const { chromium } = createRequire(join(tools, "package.json"))("playwright-core");
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run"],
});
const context = await browser.newContext({ viewport: { width: 1400, height: 1000 }, acceptDownloads: true });
await context.setOffline(true);

/** The values of a card as one line of the page's data. */
const values = async (card) => (await card.locator("dd").allTextContents()).join("|");

for (const name of readdirSync(pages).filter((name) => name.endsWith(".html"))) {
  const page = await context.newPage();
  const complaints = [], requests = [];
  page.on("console", (message) => complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => requests.push(request.url()));
  const url = pathToFileURL(join(pages, name)).href;
  await page.goto(url);

  const csv = readFileSync(join(pages, name.replace(".html", ".csv")), "utf8");
  // Cells of the test's figures hold no commas and quotes.
  const [header, ...records] = csv.trimEnd().split("\n").map((line) => line.replaceAll(",", "|"));
  const spots = await page.evaluate(() => spots);
  assert.equal(spots.length, records.length, name);

  const svg = page.locator("svg");
  const box = await svg.boundingBox();
  const center = ([left, top, width, height]) => [box.x + left + width / 2, box.y + top + height / 2];
  const card = page.locator(".card");
  for (const i of new Set([0, 1, Math.floor(records.length / 2), records.length - 1])) {
    await page.mouse.move(...center(spots[i]));
    assert.equal(await card.count(), 1, `${name}: record ${i} has a card`);
    assert.equal((await card.locator("dt").allTextContents()).join("|"), header, name);
    assert.equal(await values(card), records[i], `${name}: record ${i}`);
  }
  if (name.startsWith("heatmap")) {
    // The first rectangle is the paper; then come the cells, wherever the data says that they are.
    const cells = await svg.locator("rect").evaluateAll((all) => all.map((cell) => cell.getBoundingClientRect()));
    for (const i of [0, records.length - 1]) {
      const { x, y, width, height } = cells[i + 1];
      await page.mouse.move(x + width * 0.9, y + height * 0.9);
      assert.equal(await values(card), records[i], `${name}: cell ${i}`);
    }
  }

  await page.mouse.click(...center(spots[0]));
  await page.mouse.move(box.x + 1, box.y + 1);
  assert.equal(await page.locator(".card.pinned").count(), 1, `${name}: a click pins`);
  assert.equal(await values(card), records[0], name);
  await page.keyboard.press("Escape");
  assert.equal(await card.count(), 0, `${name}: Esc removes`);

  const cut = await svg.evaluate((svg) => {
    const inside = ({ left, top, right, bottom }) =>
      left >= outer.left && top >= outer.top && right <= outer.right && bottom <= outer.bottom;
    const outer = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text")];
    return texts.filter((text) => !inside(text.getBoundingClientRect())).map((text) => text.textContent);
  });
  assert.deepEqual(cut, [], `${name}: texts that are cut`);

  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#download")]);
  assert.equal(readFileSync(await download.path(), "utf8"), csv, `${name}: the download`);
  assert.deepEqual(complaints, [], name);
  const foreign = requests.filter((request) => request !== url && !request.startsWith("data:") && !request.startsWith("blob:"));
  assert.deepEqual(foreign, [], `${name}: requests`);
  await page.close();
}
await browser.close();
