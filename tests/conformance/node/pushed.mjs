// Both languages of a pushed app, through one ConvexClient: they read what the other one writes.
import { anyApi as api } from "convex/server";
import { connect, drive, last, outcome, watch } from "./driver.mjs";

const channel = "pushed";

drive(async () => {
  const client = connect();
  const typescript = watch(client, api.messages.list, { channel });
  const python = watch(client, api.rooms.bodies, { channel });
  await typescript.until((seen) => seen.length === 1);
  await client.mutation(api.messages.send, { channel, author: "a", body: "from typescript" });
  await python.until((seen) => seen.length > 0 && last(seen).length === 1);
  const twice = await client.mutation(api.rooms.send_twice, { channel, body: "from python" });
  await typescript.until((seen) => last(seen).length === 3);
  return {
    typescript: last(typescript.seen),
    python: last(python.seen),
    twice,
    action: await outcome(client.action(api.messages.sendLoudly, { channel, body: "loud" })),
    refused: await outcome(client.mutation(api.messages.send, { channel, author: "a", body: "" })),
    badArgument: await outcome(client.query(api.messages.list, { channel: 7 })),
    internal: await outcome(client.query(api.messages.count, { channel })),
  };
});
