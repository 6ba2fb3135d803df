// Two windows of a React page whose functions were pushed; then the functions change under them.
import { chromium } from "playwright-core";
import { drive, say, url } from "./driver.mjs";

const executablePath = process.argv[3];

drive(async () => {
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  const [ada, bob] = await Promise.all([browser.newPage(), browser.newPage()]);
  const problems = [];
  for (const page of [ada, bob]) {
    page.on("pageerror", (error) => problems.push(error.message));
    await page.goto(url);
  }
  await ada.fill("input", "hello");
  await ada.press("input", "Enter");
  await bob.waitForSelector("li:text-is('hello')");
  await bob.evaluate(() => (globalThis.sameDocument = true));
  await say({ pushNow: true });
  await bob.waitForSelector("li:text-is('new: hello')");
  await bob.fill("input", "again");
  await bob.press("input", "Enter");
  await ada.waitForSelector("li:text-is('new: again')");
  const notReloaded = await bob.evaluate(() => globalThis.sameDocument === true);
  const shown = await ada.locator("li").allTextContents();
  await browser.close();
  return { shown, notReloaded, problems };
});
