// Two windows of the React quickstart, of which one comes from Vite's own server; the Cupola server is
// killed while a message is on its way.
import { openWindows } from "./windows.mjs";
import { drive, say, url } from "./driver.mjs";

const [executablePath, otherUrl, screenshot] = process.argv.slice(3);

drive(async () => {
  const { browser, pages: [ada, bob], problems } = await openWindows(executablePath, url, otherUrl);
  const write = async (page, body) => {
    await page.fill("[name=body]", body);
    await page.press("[name=body]", "Enter");
  };
  const shown = (page) => page.locator("li span").allTextContents();

  // Live: each window shows what the other one sends, in the list and in the line of authors.
  await ada.waitForSelector("#authors:text-is('Nobody yet')");
  await bob.fill("[name=author]", "Bob");
  for (let number = 1; number <= 7; number++) await write(ada, `ada ${number}`);
  await ada.waitForFunction(() => document.querySelectorAll("li.sent").length === 7);
  for (let number = 1; number <= 7; number++) await write(bob, `bob ${number}`);
  await ada.waitForSelector("li.sent:has-text('bob 7')");
  await ada.waitForSelector("#authors:text-is('Written by Ada, Bob')");

  // Pages: Ada's first one was loaded when the book was empty, so it holds everything.
  const late = await browser.newPage();
  await late.goto(url);
  await late.waitForSelector("#more:enabled");
  const firstPage = await shown(late);
  await late.click("#more");
  await late.waitForSelector("#end");
  const bothPages = await shown(late);
  await late.close();

  // What the function refuses takes the optimistic message back.
  await ada.fill("[name=body]", "x".repeat(281));
  await ada.press("[name=body]", "Enter");
  await ada.waitForSelector("#problem:text-is('A message has at most 280 characters.')");
  const afterRefusal = await shown(ada);

  // Optimistic: shown at once though nobody answers, and stored once when somebody does.
  await say({ kill: true });
  await write(ada, "while it was down");
  await ada.waitForSelector("li.sending:has-text('while it was down')");
  const offline = await shown(bob);
  await say({ start: true });
  await bob.waitForSelector("li.sent:has-text('while it was down')");
  await ada.waitForSelector("li.sent:has-text('while it was down')");
  await ada.waitForFunction(() => document.querySelector("li.sending") === null);
  if (screenshot) await ada.screenshot({ path: screenshot });
  const last = [await shown(ada), await shown(bob)];
  await browser.close();
  return { firstPage, bothPages, afterRefusal, offline, last, problems };
});
