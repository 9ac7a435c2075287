// Opens a page of a mixture in headless Chromium, without network, and looks for things in it.
// Usage: node mixture.mjs FOLDER-OF-PLAYWRIGHT PAGE [PICTURE]; its texts are those of `tests/page.rs`.

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
  const shown = () => page.locator("article").count();
  const found = async (by, query) => {
    await page.selectOption("#by", by);
    await page.fill("#query", query);
    return [await page.textContent("#count"), await shown()];
  };
  assert.equal(await shown(), 20, "the first are shown");
  await page.click("#more");
  assert.equal(await shown(), 40, "more are shown");
  assert.deepEqual(await found("token", "<img"), ["40 found", 20]);
  assert.deepEqual(await found("text", "a <img"), ["50 found", 20]);
  assert.deepEqual(await found("component", "7"), ["1 found", 1]);
  assert.equal(await page.locator("h2").textContent(), "component 7weight 0.07");
  // Each token is text, whatever it holds.
  const tokens = page.locator("article p span");
  assert.deepEqual(await tokens.allTextContents(), ["-1.5000", "a ", "<img src=x onerror=alert(1)>", "⏎"]);
  assert.equal(await page.locator("img").count(), 0);
  assert.equal(await tokens.nth(2).getAttribute("class"), "peak");
  assert.equal(await page.locator("svg circle").count(), 60);
  const outside = await page.locator("svg circle").evaluateAll((all) => all.filter((circle) => {
    const [x, y] = ["cx", "cy"].map((name) => Number(circle.getAttribute(name)));
    return !(x >= 0 && x <= 300 && y >= 0 && y <= 300);
  }).length);
  assert.equal(outside, 0);
  assert.deepEqual(await found("component", "none"), ["0 found", 0]);
}
assert.deepEqual(complaints, []);
assert.deepEqual(requests.filter((request) => request !== url && !request.startsWith("data:")), []);
await browser.close();
