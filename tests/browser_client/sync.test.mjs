// Queries, versions, mutations and actions over a connection that may break.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { Cupola, CupolaError, connect, failed, recorder, settled, stopTheClock, ts, updated } from "./harness.mjs";

let clock;
beforeEach(() => (clock = stopTheClock()));

/** A client with one subscription that has its first result, at timestamp 10. */
async function subscribed(value = ["hello"]) {
  const world = connect();
  const onResult = recorder();
  const onError = recorder();
  const unsubscribe = world.cupola.subscribe("messages:list", { channel: "a" }, onResult, onError);
  world.last().open();
  world.last().transition(10, { 0: value });
  world.last().read();
  onResult.take();
  return { ...world, onResult, onError, unsubscribe };
}

// ------------------------------------------------------------------------------------ query sets

test("a client introduces itself and its queries in one go", async () => {
  const { cupola, last } = connect();
  cupola.subscribe("messages:list", { channel: "a" }, () => {});
  assert.equal(last().url, "ws://cupola.test/api/1.48.0/sync");
  last().open();
  assert.deepEqual(last().read(), [
    { type: "Connect", connectionCount: 0, lastCloseReason: "InitialConnect" },
    {
      type: "ModifyQuerySet", baseVersion: 0, newVersion: 1,
      modifications: [{ type: "Add", queryId: 0, udfPath: "messages:list", args: [{ channel: "a" }] }],
    },
  ]);
  await settled();
  assert.deepEqual(last().read(), []);
});

test("results arrive, and arrive again when they change", async () => {
  const { last, onResult } = await subscribed();
  last().transition(11, { 0: ["hello", { $integer: "AQAAAAAAAAA=" }] });
  assert.deepEqual(onResult.take(), [["hello", 1n]]);
  last().transition(12);
  assert.deepEqual(onResult.take(), []);
});

test("equal subscriptions share one query", async () => {
  const { cupola, last, unsubscribe } = await subscribed();
  const second = recorder();
  const stop = cupola.subscribe("messages:list", { channel: "a", extra: undefined }, second);
  assert.deepEqual(second.take(), [], "never before subscribe returns");
  await settled();
  assert.deepEqual(second.take(), [["hello"]]);
  unsubscribe();
  await settled();
  assert.deepEqual(last().read(), [], "one listener is left");
  stop();
  stop();
  await settled();
  assert.deepEqual(last().read(), [
    { type: "ModifyQuerySet", baseVersion: 1, newVersion: 2, modifications: [{ type: "Remove", queryId: 0 }] },
  ]);
});

test("changes of one moment travel in one message, and cancel out", async () => {
  const { cupola, last, unsubscribe } = await subscribed();
  cupola.subscribe("a:one", {}, () => {});
  cupola.subscribe("a:two", {}, () => {})();
  unsubscribe();
  await settled();
  assert.deepEqual(last().read(), [
    {
      type: "ModifyQuerySet", baseVersion: 1, newVersion: 2,
      modifications: [
        { type: "Add", queryId: 1, udfPath: "a:one", args: [{}] },
        { type: "Remove", queryId: 0 },
      ],
    },
  ]);
});

test("a failing query reaches onError with the data of the app, and may recover", async () => {
  const { last, onResult, onError } = await subscribed();
  last().transition(11, { 0: failed("Server Error", { errorData: { limit: { $integer: "AgAAAAAAAAA=" } } }) });
  const [error] = onError.take();
  assert(error instanceof CupolaError);
  assert.equal(error.message, "Server Error");
  assert.deepEqual(error.data, { limit: 2n });
  last().transition(12, { 0: failed("No data") });
  assert.equal(onError.take()[0].data, undefined);
  last().transition(13, { 0: [] });
  assert.deepEqual(onResult.take(), [[]]);
});

test("a query is asked once and forgotten", async () => {
  const { cupola, last } = connect();
  last().open();
  const answer = cupola.query("numbers:sum", { of: [1, 2] });
  await settled();
  last().transition(10, { 0: 3 });
  assert.equal(await answer, 3);
  await settled();
  assert.deepEqual(last().read().at(-1).modifications, [{ type: "Remove", queryId: 0 }]);
  const failing = cupola.query("numbers:fail");
  await settled();
  last().transition(11, { 1: failed("boom") });
  await assert.rejects(failing, /boom/);
});

test("a callback that throws stops nobody else", async () => {
  const { cupola, last, lines } = connect();
  const second = recorder();
  cupola.subscribe("a:b", {}, () => { throw new Error("the page's own bug"); });
  cupola.subscribe("a:b", {}, second);
  last().open();
  last().transition(10, { 0: 1 });
  assert.deepEqual(second.take(), [1]);
  assert.match(lines[0], /error Error: the page's own bug/);
});

test("log lines go to the console at their level", async () => {
  const { last, lines } = await subscribed();
  last().transition(11, { 0: updated(1, { logLines: ["[LOG] 'hi'", "[WARN] careful\nnow", "odd"] }) });
  assert.deepEqual(lines, [
    "log [Q(messages:list)] 'hi'", "warn [Q(messages:list)] careful\nnow", "log [Q(messages:list)] odd",
  ]);
});

// -------------------------------------------------------------------------------------- versions

test("a transition that does not start where the last one ended is not applied", async () => {
  const { last, sockets, onResult, lines } = await subscribed();
  last().version = { ...last().version, ts: ts(5) };
  last().transition(11, { 0: ["wrong"] });
  assert.deepEqual(onResult.take(), []);
  assert(sockets[0].isClosed);
  assert.match(lines[0], /something unexpected/);
  clock.pass(500);
  assert.equal(sockets.length, 2);
});

test("a transition is applied whole or not at all", async () => {
  const { cupola, last, onResult } = await subscribed();
  cupola.subscribe("a:b", {}, () => {});
  await settled();
  last().transition(11, { 0: ["new"], 1: { $weird: "x" } });
  assert.deepEqual(onResult.take(), []);
  assert(last().isClosed);
});

test("all results of a transition are there before any callback runs", async () => {
  const { cupola, last } = connect();
  const seen = [];
  cupola.subscribe("a:left", {}, async (left) => seen.push([left, await cupola.query("a:right")]));
  cupola.subscribe("a:right", {}, () => {});
  last().open();
  last().transition(10, { 0: 1, 1: 1 });
  last().transition(11, { 0: 2, 1: 2 });
  await settled();
  assert.deepEqual(seen.at(-1), [2, 2]);
});

test("messages of a later server are ignored", async () => {
  const { last } = await subscribed();
  last().say({ type: "Fireworks" });
  assert(!last().isClosed);
});

test("a transition in parts is put together, also around a ping", async () => {
  const { last, onResult } = await subscribed();
  const text = JSON.stringify(last().nextTransition(11, { 0: ["é🙂".repeat(10)] }));
  const chunks = [text.slice(0, 100), text.slice(100, 120), text.slice(120)];
  chunks.forEach((chunk, partNumber) => {
    last().say({ type: "TransitionChunk", chunk, partNumber, totalParts: 3, transitionId: "t" });
    last().say({ type: "Ping" });
  });
  assert.deepEqual(onResult.take(), [["é🙂".repeat(10)]]);
});

test("parts out of order, or of another transition, are a broken connection", async () => {
  for (const second of [{ partNumber: 2, transitionId: "t" }, { partNumber: 1, transitionId: "u" }]) {
    const { last } = await subscribed();
    last().say({ type: "TransitionChunk", chunk: "{", totalParts: 3, partNumber: 0, transitionId: "t" });
    last().say({ type: "TransitionChunk", chunk: "}", totalParts: 3, ...second });
    assert(last().isClosed);
  }
});

// ------------------------------------------------------------------------------------- mutations

test("a mutation resolves when its effect is shown, not before", async () => {
  const { cupola, last, onResult } = await subscribed();
  const order = [];
  const call = cupola.mutation("messages:send", { body: "hi" }).then((value) => order.push(value));
  assert.deepEqual(last().read(), [
    { type: "Mutation", requestId: 0, udfPath: "messages:send", args: [{ body: "hi" }] },
  ]);
  last().succeed(0, "id1", 12);
  last().transition(11, { 0: ["other"] });
  await settled();
  assert.deepEqual(order, []);
  last().transition(12, { 0: ["other", "hi"] });
  assert.deepEqual(onResult.take().at(-1), ["other", "hi"]);
  await call;
  assert.deepEqual(order, ["id1"]);
  assert.deepEqual(await cupola.query("messages:list", { channel: "a" }), ["other", "hi"]);
});

test("a mutation whose transition came first resolves with its response", async () => {
  const { cupola, last } = await subscribed();
  const call = cupola.mutation("messages:send");
  last().transition(12);
  last().succeed(0, null, 12);
  assert.equal(await call, null);
});

test("a mutation that fails rejects at once, with the data of the app", async () => {
  const { cupola, last } = await subscribed();
  const call = cupola.mutation("rooms:join");
  last().say({
    type: "MutationResponse", requestId: 0, success: false, result: "Server Error", logLines: ["[ERROR] full"],
    errorData: null,
  });
  await assert.rejects(call, (error) => error instanceof CupolaError && error.data === null);
});

test("mutations wait for the connection and leave in order", async () => {
  const { cupola, last } = connect();
  cupola.mutation("a:first");
  cupola.action("a:second");
  cupola.mutation("a:third");
  last().open();
  assert.deepEqual(last().read().slice(2).map(({ requestId, udfPath }) => [requestId, udfPath]),
    [[0, "a:first"], [1, "a:second"], [2, "a:third"]]);
});

test("a mutation is sent again after a reconnect, with the same session and request id", async () => {
  const { cupola, sockets, last } = await subscribed();
  const done = cupola.mutation("a:done");
  const first = cupola.mutation("a:first");
  const second = cupola.mutation("a:second");
  last().succeed(0, "done", 20); // carried out, not yet shown
  last().lose();
  clock.pass(500);
  last().open();
  assert.match(sockets[0].sent[0].sessionId, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(sockets[1].sent[0].sessionId, sockets[0].sent[0].sessionId);
  assert.deepEqual(last().read(), [
    { type: "Connect", connectionCount: 1, lastCloseReason: "closed with code 1006", maxObservedTimestamp: ts(20) },
    {
      type: "ModifyQuerySet", baseVersion: 0, newVersion: 1,
      modifications: [{ type: "Add", queryId: 0, udfPath: "messages:list", args: [{ channel: "a" }] }],
    },
    { type: "Mutation", requestId: 1, udfPath: "a:first", args: [{}] },
    { type: "Mutation", requestId: 2, udfPath: "a:second", args: [{}] },
  ]);
  last().succeed(1, "first", 15); // the recorded answer, with its original timestamp
  last().succeed(1, "first", 15);
  last().transition(21, { 0: ["all"] });
  last().succeed(2, "second", 22);
  last().transition(22);
  assert.deepEqual(await Promise.all([done, first, second]), ["done", "first", "second"]);
  assert.equal(cupola.state.hasPendingMutations, false);
});

test("request ids are never used twice", async () => {
  const { cupola, last } = await subscribed();
  for (let round = 0; round < 3; round++) {
    cupola.mutation("a:b");
    last().lose();
    clock.pass(16_000);
    last().open();
    last().transition(20 + round);
  }
  cupola.mutation("a:b");
  assert.deepEqual(last().read().filter(({ type }) => type === "Mutation").map(({ requestId }) => requestId), [0, 1, 2, 3]);
});

test("too many waiting calls are refused", async () => {
  const { cupola } = connect();
  for (let call = 0; call < 1000; call++) cupola.mutation("a:b");
  await assert.rejects(cupola.mutation("a:b"), { code: "TooManyRequests" });
});

test("a bad argument rejects and is not sent", async () => {
  const { cupola, last } = await subscribed();
  await assert.rejects(cupola.mutation("a:b", { when: new Date(0) }), /args\.when is of type Date/);
  assert.deepEqual(last().read(), []);
});

test("an optimistic update shows at once and gives way to the truth", async () => {
  const { cupola, last, onResult } = await subscribed();
  const optimistic = (local) =>
    local.set("messages:list", { channel: "a" }, [...local.get("messages:list", { channel: "a" }), "mine?"]);
  const call = cupola.mutation("messages:send", {}, { optimistic });
  assert.deepEqual(onResult.take(), [["hello", "mine?"]]);
  last().transition(11, { 0: ["hello", "other"] });
  assert.deepEqual(onResult.take(), [["hello", "other", "mine?"]]);
  last().succeed(0, null, 12);
  last().transition(12, { 0: ["hello", "other", "mine"] });
  assert.deepEqual(onResult.take(), [["hello", "other", "mine"]]);
  await call;

  const refused = cupola.mutation("messages:send", {}, { optimistic });
  onResult.take();
  last().say({ type: "MutationResponse", requestId: 1, success: false, result: "no", logLines: [] });
  await assert.rejects(refused, /no/);
  assert.deepEqual(onResult.take(), [["hello", "other", "mine"]]);
});

// --------------------------------------------------------------------------------------- actions

test("an action resolves with its response", async () => {
  const { cupola, last } = await subscribed();
  const call = cupola.action("mail:send", { to: "ada" });
  assert.deepEqual(last().read(), [{ type: "Action", requestId: 0, udfPath: "mail:send", args: [{ to: "ada" }] }]);
  last().say({ type: "ActionResponse", requestId: 0, success: true, result: "sent", logLines: [] });
  assert.equal(await call, "sent");
});

test("an action in flight fails with the connection; one not yet sent waits for the next", async () => {
  const { cupola, last } = await subscribed();
  const inFlight = cupola.action("mail:send");
  last().lose();
  const waiting = cupola.action("mail:send");
  await assert.rejects(inFlight, { code: "ConnectionLost", message: /mail:send ran; it may or may not/ });
  clock.pass(500);
  last().open();
  assert.deepEqual(last().read().slice(2), [{ type: "Action", requestId: 1, udfPath: "mail:send", args: [{}] }]);
  last().say({ type: "ActionResponse", requestId: 1, success: false, result: "bounced", logLines: [] });
  await assert.rejects(waiting, /bounced/);
});

// ---------------------------------------------------------------------------------- reconnecting

test("waits grow from half a second to sixteen, and start over after a transition", async () => {
  const { sockets, last } = await subscribed();
  for (const wait of [500, 1000, 2000, 4000, 8000, 16000, 16000]) {
    last().lose();
    const before = sockets.length;
    clock.pass(wait - 1);
    assert.equal(sockets.length, before);
    clock.pass(1);
    assert.equal(sockets.length, before + 1);
  }
  last().open();
  last().transition(11, { 0: [] });
  last().lose();
  clock.pass(500);
  assert(!last().isClosed);
});

test("an overloaded server is given more time", async () => {
  const { sockets, last } = await subscribed();
  last().lose(1013, "TooManyConcurrentRequests");
  clock.pass(2999);
  assert.equal(sockets.length, 1);
  clock.pass(1);
  last().open();
  assert.equal(last().read()[0].lastCloseReason, "TooManyConcurrentRequests");
});

test("a journal is sent again with its query", async () => {
  const { last } = await subscribed(updated(["page"], { journal: "j1" }));
  last().transition(11, { 0: updated(["page"], { journal: undefined }) });
  last().lose();
  clock.pass(500);
  last().open();
  assert.equal(last().read()[1].modifications[0].journal, "j1");
});

test("what a new connection only repeats is not shown again", async () => {
  const { last, onResult, onError } = await subscribed([{ n: 1, bytes: { $bytes: "AAE=" } }]);
  const returnTo = (ts, outcome) => {
    last().lose();
    clock.pass(500);
    last().open();
    last().transition(ts, { 0: outcome });
    return onResult.take();
  };
  assert.deepEqual(returnTo(11, [{ bytes: { $bytes: "AAE=" }, n: 1 }]), []);
  const [shown] = returnTo(12, [{ n: 2 }]);
  shown[0].n = Symbol("the page's own"); // nobody may, somebody will
  assert.deepEqual(returnTo(13, [{ n: 2 }]), [[{ n: 2 }]]);
  returnTo(14, failed("No such room"));
  returnTo(15, failed("No such room"));
  assert.equal(onError.take().length, 1);
});

test("subscriptions changed while away are stated as they are on return", async () => {
  const { cupola, last, unsubscribe } = await subscribed();
  last().lose();
  unsubscribe();
  cupola.subscribe("a:new", {}, () => {});
  clock.pass(500);
  last().open();
  assert.deepEqual(last().read()[1].modifications, [{ type: "Add", queryId: 1, udfPath: "a:new", args: [{}] }]);
  await settled();
  assert.deepEqual(last().read(), []);
});

test("a server that is silent for a minute is left", async () => {
  const { sockets, last } = await subscribed();
  clock.pass(59_000);
  last().say({ type: "Ping" });
  clock.pass(59_999);
  assert(!sockets[0].isClosed);
  clock.pass(1);
  assert(sockets[0].isClosed);
  clock.pass(500);
  last().open();
  assert.equal(last().read()[0].lastCloseReason, "InactiveServer");
});

test("an opening that never ends is given up", async () => {
  const { sockets } = connect();
  clock.pass(60_000);
  assert(sockets[0].isClosed);
});

test("the network's return, or a look at the page, ends the wait", async (t) => {
  const page = new EventTarget();
  const window = new EventTarget();
  globalThis.document = Object.assign(page, { visibilityState: "visible" });
  const { addEventListener, removeEventListener } = globalThis;
  globalThis.addEventListener = window.addEventListener.bind(window);
  globalThis.removeEventListener = window.removeEventListener.bind(window);
  t.after(() => {
    delete globalThis.document;
    Object.assign(globalThis, { addEventListener, removeEventListener });
  });

  const { cupola, sockets, last } = await subscribed();
  window.dispatchEvent(new Event("online"));
  assert.equal(sockets.length, 1, "a connection that lives is kept");
  last().lose();
  window.dispatchEvent(new Event("online"));
  assert.equal(sockets.length, 2);

  last().open();
  last().transition(11, { 0: [] });
  last().lose();
  page.visibilityState = "hidden";
  page.dispatchEvent(new Event("visibilitychange"));
  assert.equal(sockets.length, 2);
  page.visibilityState = "visible";
  page.dispatchEvent(new Event("visibilitychange"));
  assert.equal(sockets.length, 3);
  clock.pass(20_001); // asleep: the server was not heard for longer than its pings are apart
  page.dispatchEvent(new Event("visibilitychange"));
  assert(sockets[2].isClosed);
  assert.equal(sockets.length, 4);

  cupola.close();
  window.dispatchEvent(new Event("online"));
  assert.equal(sockets.length, 4);
});

test("the state tells whether results are live and changes are on their way", async () => {
  const { cupola, last } = connect();
  const states = recorder();
  const stop = cupola.onState(({ connection, hasPendingMutations }) => states(connection, hasPendingMutations));
  last().open();
  last().transition(10);
  cupola.mutation("a:b");
  last().lose();
  clock.pass(500);
  last().open();
  last().succeed(0, null, 11);
  last().transition(11);
  assert.deepEqual(states.take(), [
    ["connecting", false], ["connected", false], ["connected", true], ["disconnected", true], ["connecting", true],
    ["connected", true], ["connected", false],
  ]);
  stop();
  cupola.close();
  assert.deepEqual(states.take(), []);
  assert.equal(cupola.state.connection, "disconnected");
});

// -------------------------------------------------------------------------------------- the end

test("closing rejects what waits, and nothing reconnects", async () => {
  const { cupola, sockets, onError } = await subscribed();
  const mutation = cupola.mutation("a:b");
  const query = cupola.query("a:c");
  cupola.close();
  cupola.close();
  await assert.rejects(mutation, { code: "Closed" });
  await assert.rejects(query, { code: "Closed" });
  await assert.rejects(cupola.action("a:b"), { code: "Closed" });
  assert.throws(() => cupola.subscribe("a:b", {}, () => {}), { code: "Closed" });
  assert.deepEqual(onError.take(), [], "a subscription that has its result just ends");
  clock.pass(100_000);
  assert.equal(sockets.length, 1);
  assert(sockets[0].isClosed);
});

test("a FatalError stops the client and tells everyone", async () => {
  const { cupola, sockets, last, onError } = await subscribed();
  const mutation = cupola.mutation("a:b");
  last().say({ type: "FatalError", error: "BaseVersionMismatch" });
  await assert.rejects(mutation, { code: "FatalError", message: "BaseVersionMismatch" });
  assert.equal(onError.take()[0].code, "FatalError");
  clock.pass(100_000);
  assert.equal(sockets.length, 1);
});

test("outside a page the address is needed, and a WebSocket", () => {
  assert.throws(() => new Cupola(), /say where the server is/);
  if (!globalThis.WebSocket) assert.throws(() => new Cupola("http://x"), /Node 22/);
});

test("an address may have a path, a trailing slash, and TLS", () => {
  const urls = [];
  class WebSocket { constructor(url) { urls.push(url); } close() {} }
  new Cupola("https://a.example/base/", { webSocket: WebSocket }).close();
  assert.deepEqual(urls, ["wss://a.example/base/api/1.48.0/sync"]);
});
