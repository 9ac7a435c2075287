// Opens a page of examples in headless Chromium, without network, and looks for things in it.
// Usage: node examples.mjs FOLDER-OF-PLAYWRIGHT PAGE [PICTURE]; its texts are those of `tests/page.rs`.

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
  assert.equal(await shown(), 40, "the first are shown");
  await page.click("#more");
  assert.equal(await shown(), 80, "more are shown");
  assert.deepEqual(await found("token", "<img"), ["20 found", 20]);
  assert.deepEqual(await found("text", "</script>"), ["100 found", 40]);
  assert.deepEqual(await found("neuron", "7"), ["1 found", 1]);
  assert.equal(await page.locator("h2").textContent(), "neuron 71.5row 2, token 2");
  // Each token is text, whatever it holds, and the one that counts has the full colour.
  const tokens = page.locator("article p span");
  assert.deepEqual(await tokens.allTextContents(), ["a ", "</script><b>", " peak", "⏎\n", "∅", "<img src=x onerror=alert(1)>"]);
  assert.equal(await page.locator("img, b").count(), 0);
  const color = (i) => tokens.nth(i).evaluate((span) => getComputedStyle(span).backgroundColor);
  assert.equal(await color(2), "rgb(21, 96, 130)");
  assert.equal(await color(1), "rgba(21, 96, 130, 0.51)");
  assert.equal(await tokens.nth(2).getAttribute("class"), "peak");
  assert.equal(await tokens.nth(0).getAttribute("class"), "far");
  assert.deepEqual(await found("neuron", "none"), ["0 found", 0]);
}
assert.deepEqual(complaints, []);
assert.deepEqual(requests.filter((request) => request !== url && !request.startsWith("data:")), []);
await browser.close();
