// Two windows of one page: what is written in one shows in the other. node two_windows.mjs URL CHROMIUM
import { createRequire } from "node:module";

const [url, executablePath] = process.argv.slice(2);
const require = createRequire(new URL("../conformance/node/package.json", import.meta.url));
const { chromium } = require("playwright-core");

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
try {
  const ada = await browser.newPage();
  const bob = await browser.newPage();
  for (const page of [ada, bob]) await page.goto(url);
  for (const [writer, reader, text] of [[ada, bob, "from ada"], [bob, ada, "from bob"]]) {
    await writer.fill("input[name=body]", text);
    await writer.press("input[name=body]", "Enter");
    await reader.getByText(text).waitFor({ timeout: 15_000 });
  }
} finally {
  await browser.close();
}
