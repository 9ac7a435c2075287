// Opens the page of a recorded run in headless Chromium, without network, and takes a picture of it.
// Usage: node report.mjs FOLDER-OF-PLAYWRIGHT PAGE PICTURE; the run is that of `tests/page.rs`.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [tools, path, picture] = process.argv.slice(2);
const { chromium } = createRequire(join(tools, "package.json"))("playwright-core");
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run"],
});
const context = await browser.newContext({ viewport: { width: 900, height: 1200 } });
await context.setOffline(true);
const page = await context.newPage();
const complaints = [], requests = [];
page.on("console", (message) => complaints.push(message.text()));
page.on("pageerror", (error) => complaints.push(String(error)));
page.on("request", (request) => requests.push(request.url()));
const url = pathToFileURL(path).href;
await page.goto(url);

const figures = await page.locator("figure img").evaluateAll((all) =>
  all.map((image) => ({ name: image.alt, natural: image.naturalWidth, ...image.getBoundingClientRect().toJSON() })));
assert.deepEqual(figures.map(({ name }) => name), ["map.png"]);
const [{ natural, left, right, width }] = figures;
assert.ok(natural > 300 && width > 100 && left >= 0 && right <= 900, JSON.stringify(figures));
const text = await page.locator("body").innerText();
for (const part of ["demo", "sweeps", "6 cells", "0.25 <b>&amp;", 'print("0.25 <b>&amp;");']) {
  assert.ok(text.includes(part), `${part} in ${text}`);
}
assert.equal(await page.locator("b").count(), 0, "what a script prints is text");
const wide = await page.evaluate(() => document.documentElement.scrollWidth);
assert.ok(wide <= 900, `${wide} wide: the page is read without scrolling sideways`);
await page.screenshot({ path: picture });
assert.deepEqual(complaints, []);
assert.deepEqual(requests.filter((request) => request !== url && !request.startsWith("data:")), []);
await browser.close();
