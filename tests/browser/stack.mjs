// Opens a page of many heatmaps in headless Chromium, without network, and picks some.
// Usage: node stack.mjs FOLDER-OF-PLAYWRIGHT PAGE [PICTURE]; its values are those of `tests/page.rs`.

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
const context = await browser.newContext({ viewport: { width: 900, height: 1000 } });
await context.setOffline(true);
const page = await context.newPage();
const complaints = [], requests = [];
page.on("console", (message) => complaints.push(message.text()));
page.on("pageerror", (error) => complaints.push(String(error)));
page.on("request", (request) => requests.push(request.url()));
const url = pathToFileURL(path).href;
await page.goto(url);
if (picture) {
  await page.screenshot({ path: picture });
} else {
  const told = async (column, row) => {
    const { x, y, width, height } = await page.locator("#map").boundingBox();
    await page.mouse.move(x + ((column + 0.5) / 4) * width, y + ((row + 0.5) / 3) * height);
    return page.locator("#told").textContent();
  };
  // A value is 100 layer + 10 head + row + column / 10; the last column is no number.
  assert.equal(await told(1, 2), "layer 0, head 0: query 2, key <b>1: attention 2.1");
  await page.locator('input[name="layer"]').evaluate((slider) => {
    slider.value = "1";
    slider.dispatchEvent(new Event("input"));
  });
  assert.equal(await told(0, 1), "layer 1, head 0: query 1, key <b>0: attention 101");
  await page.mouse.click(5, 5);
  await page.keyboard.press("ArrowRight");
  assert.equal(await told(2, 0), "layer 1, head 1: query 0, key <b>2: attention 110.2");
  await page.keyboard.press("ArrowRight");
  assert.equal(await told(3, 0), "layer 1, head 1: query 0, key <b>3: attention NaN", "no head after the last");
  await page.locator("#all button").nth(1).click();
  assert.equal(await told(2, 0), "layer 0, head 1: query 0, key <b>2: attention 10.2");
  assert.equal(await page.locator('#all button[aria-pressed="true"]').count(), 1);
  assert.equal(await page.locator("b").count(), 0, "labels are texts");
}
assert.deepEqual(complaints, []);
assert.deepEqual(requests.filter((request) => request !== url && !request.startsWith("data:")), []);
await browser.close();
