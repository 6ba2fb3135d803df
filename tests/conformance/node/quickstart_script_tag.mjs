// Two windows of the page without a build step: each shows the votes of the other.
import { openWindows } from "./windows.mjs";
import { drive, url } from "./driver.mjs";

drive(async () => {
  const { browser, pages: [ada, bob], problems } = await openWindows(process.argv[3], url, url);
  const votes = async (page) => (await page.locator("output").allTextContents()).map(Number);
  const show = (page, tea, coffee) => page.waitForFunction(
    (wanted) => [...document.querySelectorAll("output")].map((o) => o.textContent).join() === wanted,
    `${tea},${coffee}`);
  await Promise.all([show(ada, 0, 0), show(bob, 0, 0)]);
  await ada.click("[value=tea]");
  await show(bob, 1, 0);
  await Promise.all([1, 2, 3].flatMap(() => [ada.click("[value=tea]"), bob.click("[value=coffee]")]));
  await Promise.all([show(ada, 4, 3), show(bob, 4, 3)]);
  const version = await ada.evaluate(() => typeof convex.ConvexClient);
  const facts = { ada: await votes(ada), bob: await votes(bob), version, problems };
  await browser.close();
  return facts;
});
