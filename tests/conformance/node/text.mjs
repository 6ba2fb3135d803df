// Text searches of an app in TypeScript, through one ConvexClient, live and page by page.
import { anyApi as api } from "convex/server";
import { connect, drive, last, outcome, watch } from "./driver.mjs";

drive(async () => {
  const client = connect();
  const add = (body, more = {}) => client.mutation(api.notes.add, { body, ...more });
  const search = (text, more = {}) => client.query(api.notes.search, { text, ...more });
  const live = watch(client, api.notes.search, { text: "brown fo" });
  const bobs = watch(client, api.notes.search, { text: "fox", author: "bob" });
  await live.until((seen) => seen.length > 0);
  await bobs.until((seen) => seen.length > 0);

  const fox = await add("The quick brown FOX");
  await live.until((seen) => last(seen).length === 1);
  await add("a lazy dog");
  await add("two foxes", { author: "bob", pinned: true });
  await live.until((seen) => last(seen).length === 2);
  await bobs.until((seen) => last(seen).length === 1);
  const ways = ["index", "staged", "field", "filter", "nothing", "twice", "number", "many", "order"];
  const facts = {
    found: await search("brown fo"),
    first: await client.query(api.notes.first, { text: "fox" }),
    none: await search("fix"),
    nothing: await search(" "),
    bob: await search("fox", { author: "bob" }),
    unpinned: await search("fox", { unpinned: true }),
    longer: await client.query(api.notes.longer, { text: "fox", than: "a" }),
    python: await client.query(api.desk.find, { text: "FOX", author: "bob" }),
    misused: Object.fromEntries(await Promise.all(
      ways.map(async (how) => [how, await client.query(api.notes.misused, { how })]),
    )),
  };
  await client.mutation(api.notes.edit, { id: fox, body: "a hare" });
  await live.until((seen) => last(seen).length === 1);
  facts.tagged = await client.mutation(api.notes.tagAll, { text: "foxes" });
  facts.live = live.seen.map((found) => found.length);
  facts.bobs = bobs.seen;
  live.stop();

  await client.mutation(api.notes.addMany, { count: 1100 });
  facts.tooMany = await outcome(search("many"));
  facts.newest = await search("many", { take: 3 });
  facts.one = await search("many 7 77", { take: 2 });
  const pages = [];
  let cursor = null;
  for (let n = 0; n < 3; n++) {
    const paginationOpts = { numItems: 4, cursor };
    const page = await client.query(api.notes.page, { text: "many", paginationOpts });
    pages.push(page.page.map((note) => note.body));
    cursor = page.continueCursor;
  }
  facts.pages = pages;
  const paginationOpts = { numItems: 10, cursor: null };
  const single = await client.query(api.notes.page, { text: "hare", paginationOpts });
  facts.single = [single.page.length, single.isDone];
  return facts;
});
