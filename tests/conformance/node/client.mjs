// ConvexClient: live queries, mutations, actions, errors, unsubscribing.
import { anyApi as api } from "convex/server";
import { bodies, connect, drive, last, outcome, watch } from "./driver.mjs";

const channel = "client";
const send = (client, body) => client.mutation(api.messages.send, { channel, author: "a", body });

async function liveQueries(writer, reader) {
  const list = watch(reader, api.messages.list, { channel });
  await list.until((seen) => seen.length === 1);
  const id = await send(writer, "one");
  await list.until((seen) => last(seen).length === 1);
  const [document] = last(list.seen);
  await send(writer, "two");
  await list.until((seen) => last(seen).length === 2);
  const elsewhere = { channel: "elsewhere", author: "a", body: "not for this list" };
  await writer.mutation(api.messages.send, elsewhere);
  list.stop();
  await send(writer, "three");
  const now = await writer.query(api.messages.list, { channel }); // the reader may know an older one
  return {
    results: list.seen.map(bodies),
    returnedItsId: id === document._id,
    document: Object.keys(document).sort(),
    creationTimeIsNow: Math.abs(document._creationTime - Date.now()) < 60_000,
    oneShot: bodies(now),
  };
}

// Issued together: they take effect in the order issued, and each result shows them at once.
async function orderedMutations(client) {
  const args = { channel: "ordered" };
  const list = watch(client, api.messages.list, args);
  await list.until((seen) => seen.length === 1);
  const issued = Array.from({ length: 10 }, (_, i) => `m${i}`);
  const optimisticUpdate = (store, { body }) => {
    const messages = store.getQuery(api.messages.list, args) ?? [];
    const _id = `optimistic ${body}`;
    store.setQuery(api.messages.list, args, [{ _id, _creationTime: 0, body, ...args }, ...messages]);
  };
  await Promise.all(issued.map((body) =>
    client.mutation(api.messages.send, { ...args, author: "a", body }, { optimisticUpdate })));
  await list.until((seen) => last(seen).length === 10
    && last(seen).every((message) => !message._id.startsWith("optimistic")));
  const shown = list.seen.map((messages) => bodies(messages).reverse());
  const isPrefix = (result) => result.every((body, i) => body === issued[i]);
  const grows = shown.every((result, i) => i === 0 || result.length >= shown[i - 1].length);
  list.stop();
  return { final: last(shown), everyResultInOrder: shown.every(isPrefix), neverShrinks: grows };
}

async function errors(client) {
  const application = watch(client, api.errors.application);
  await application.until((_, failed) => failed.length === 1);
  application.stop();
  const plain = await outcome(client.query(api.errors.plain, {}));
  const args = { channel: "failed" };
  return {
    live: { message: application.errors[0].message, data: application.errors[0].data },
    plain,
    mutation: await outcome(client.mutation(api.errors.application_mutation, args)),
    plainMutation: await outcome(client.mutation(api.errors.plain_mutation, {})),
    action: await outcome(client.action(api.errors.application_action, {})),
    wroteNothing: await client.query(api.messages.list, args),
    missing: await outcome(client.query(api.messages.no_such_query, {})),
    missingArgument: await outcome(client.mutation(api.counters.increment, {})),
    wrongArgument: await outcome(client.mutation(api.counters.increment, { name: 5 })),
    extraArgument: await outcome(client.query(api.counters.get, { name: "a", extra: 1 })),
    wrongKind: await outcome(client.mutation(api.counters.get, { name: "a" })),
    internal: await outcome(client.query(api.private.secret, {})),
    wrongResult: await outcome(client.query(api.errors.returns_wrong, {})),
    stillServes: await client.query(api.counters.get, { name: "nobody" }),
  };
}

drive(async () => {
  const writer = connect();
  const reader = connect();
  return {
    live: await liveQueries(writer, reader),
    ordered: await orderedMutations(writer),
    action: await writer.action(api.messages.announce, { channel: "actions", body: "hear" }),
    afterAction: bodies(await reader.query(api.messages.list, { channel: "actions" })),
    errors: await errors(reader),
    connected: reader.connectionState().isWebSocketConnected,
  };
});
