// The dashboard with its feed, the to-do lists of two users, and an app that `cupola new` has made.

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { exampleApp, newFolder, openPage, python, see, serve, until } from "./harness.mjs";

test("the dashboard draws what its script measures", async () => {
  const server = await serve(exampleApp("dashboard"));
  const [first, second] = await Promise.all([openPage(server.url), openPage(server.url)]);
  for (const page of [first, second]) await see(page, "#status", "No measurements yet.");

  const feed = join(exampleApp("dashboard"), "feed.py");
  const printed = await python(feed, "--url", server.url, "--interval", "0.02", "--count", "12");
  const last = printed.trim().split("\n").at(-1); // "Visitors 118, Response time 73.9ms, …"
  const visitors = /Visitors (\d+)/.exec(last)[1];

  for (const page of [first, second]) {
    const card = page.locator("article", { hasText: "Visitors" });
    await until(async () => (await card.locator(".latest").textContent()).trim() === visitors, "the newest value");
    const points = async () => (await card.locator(".curve").getAttribute("d"))?.split("L").length;
    await until(async () => (await points()) === 12, "a point for each measurement");
    assert((await page.locator("article").count()) >= 3);
    assert(await page.isHidden("#status"));
    assert.deepEqual(page.problems, []);
  }
});

test("lists belong to their owners, and the others are told so", async () => {
  const server = await serve(exampleApp("todo"));
  const [ada, bob] = await Promise.all([openPage(server.url), openPage(server.url)]);
  const signIn = async (page, name) => {
    await page.fill("#sign-in [name=name]", name);
    await page.click("#sign-in button");
  };
  const submit = async (page, form, text) => {
    await page.fill(`${form} input`, text);
    await page.press(`${form} input`, "Enter");
  };
  await signIn(ada, "Ada");
  await see(ada, "#no-lists", "No lists yet.");
  await signIn(bob, "Ada");
  await see(bob, "#problem", "Somebody else is called Ada here.");
  await signIn(bob, "Bob");
  await see(bob, "#me", "Bob");
  assert(await bob.isHidden("#problem"));

  await submit(ada, "#new-list", "Groceries");
  await see(ada, "#list-title", "Groceries");
  await submit(ada, "#new-item", "Milk <b>and</b> 🍞");
  await see(ada, "#items", "Milk <b>and</b> 🍞");
  await see(bob, "#no-lists", "No lists yet.");
  await ada.check("#shared");
  await see(bob, "#list-title", "Groceries, by Ada");
  await see(bob, "#items", "Milk <b>and</b> 🍞");
  assert(await bob.isHidden("#new-item"));

  await ada.check("#items input");
  await bob.waitForSelector("#items li.done");
  const box = bob.locator("#items input");
  assert(await box.isDisabled());
  await box.evaluate((element) => { element.disabled = false; }); // what the page forbids, the server does, too
  await box.click();
  await see(bob, "#problem", "Only its owner can change this list.");
  await bob.waitForSelector("#items li.done"); // and what it showed too early is taken back
  await ada.waitForSelector("#items li.done");

  await ada.uncheck("#shared");
  await see(bob, "#no-lists", "No lists yet.");
  assert(await bob.isHidden("#list"));
  for (const page of [ada, bob]) assert.deepEqual(page.problems, []);
});

test("a new app is live in two windows", async () => {
  const app = join(await newFolder(), "my-app");
  assert.match(await python("-m", "cupola", "new", app), /cupola dev/);
  const server = await serve(app);
  const [ada, bob] = await Promise.all([
    openPage(server.url),
    openPage(server.url, { viewport: { width: 375, height: 700 } }),
  ]);
  for (const page of [ada, bob]) await see(page, "#state", "connected");
  const say = async (page, body) => {
    await page.fill("[name=body]", body);
    await page.press("[name=body]", "Enter");
  };
  await say(ada, "Hello <b>Bob</b>! 🎉");
  await see(bob, "li", "Ada: Hello <b>Bob</b>! 🎉");
  await bob.fill("[name=author]", "Bob");
  await say(bob, "y".repeat(500));
  await see(ada, "li", "Bob: yyy");
  assert(await bob.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "it fits a phone");
  await say(ada, " ");
  await see(ada, "#problem", "A message needs some text.");

  await server.kill();
  for (const page of [ada, bob]) await see(page, "#state", "disconnected");
  await say(ada, "while it was down");
  await server.start();
  await see(bob, "li", "Ada: while it was down");
  assert.equal(await bob.locator("li").count(), 3);
  for (const page of [ada, bob]) assert.deepEqual(page.problems, []);
});
