// The server is killed in the middle of mutations and started again: each takes effect exactly once.
import { anyApi as api } from "convex/server";
import { connect, drive, last, say, watch } from "./driver.mjs";

const name = "reconnect";
const MUTATIONS = 800; // so many that some are under way when the server is killed
const KILL_AFTER = 100;

drive(async () => {
  const client = connect();
  const counter = watch(client, api.counters.get, { name });
  const page = watch(client, api.messages.page, {
    channel: name,
    paginationOpts: { numItems: 5, cursor: null },
  });
  await page.until((seen) => seen.length === 1);

  const results = [];
  let killed;
  const pending = Array.from({ length: MUTATIONS }, async () => {
    results.push(await client.mutation(api.counters.increment, { name }));
    if (results.length === KILL_AFTER) killed = say({ kill: true });
  });
  while (!killed) await new Promise((resolve) => setTimeout(resolve, 1));
  await killed;
  const acknowledgedBeforeKill = results.length;
  const whileDown = Array.from({ length: 10 }, () =>
    client.mutation(api.counters.increment, { name }));
  await say({ restart: true });
  await Promise.all(pending);
  results.push(...(await Promise.all(whileDown)));
  await counter.until((seen) => last(seen) === MUTATIONS + 10);

  const neverBackwards = counter.seen.every((value, i) => i === 0 || value >= counter.seen[i - 1]);
  await client.mutation(api.messages.send, { channel: name, author: "a", body: "after" });
  await page.until((seen) => last(seen).page.length === 1);
  return {
    acknowledgedBeforeKill,
    results: results.sort((a, b) => a - b),
    final: last(counter.seen),
    neverBackwards,
    pageLivesOn: last(page.seen).page.map((message) => message.body),
    connections: client.connectionState().connectionCount,
  };
});
