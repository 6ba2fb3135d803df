// The browser client that the server serves, in Node, against that server.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { inRepository, serve, until } from "./harness.mjs";

const DATA = { code: "RoomFull", limit: 20, who: ["ada", null] };

let server;
let Cupola, CupolaError;
const clients = [];

before(async () => {
  server = await serve(inRepository("tests/conformance/app"));
  const source = await (await fetch(`${server.url}/cupola.js`)).text();
  ({ Cupola, CupolaError } = await import(`data:text/javascript,${encodeURIComponent(source)}`));
});
after(() => clients.forEach((client) => client.close()));

function connect() {
  const lines = [];
  const print = (...words) => lines.push(words.join(" "));
  const console = { debug: print, info: print, log: print, warn: print, error: print };
  const cupola = new Cupola(server.url, { console });
  clients.push(cupola);
  return Object.assign(cupola, { lines });
}

/** All results of a subscription so far, in order. */
function follow(cupola, path, args, select = (value) => value) {
  const results = [];
  const unsubscribe = cupola.subscribe(path, args, (value) => results.push(select(value)));
  return Object.assign(results, { unsubscribe });
}

const bodies = (messages) => messages.map(({ body }) => body);
const range = (from, to) => Array.from({ length: to - from + 1 }, (_, index) => from + index);

test("a subscription gets each change of its own channel, and none after it ended", async () => {
  const [ada, bob] = [connect(), connect()];
  const tea = follow(ada, "messages:list", { channel: "tea" }, bodies);
  const coffee = follow(ada, "messages:list", { channel: "coffee" }, bodies);
  await until(() => tea.length && coffee.length);

  await bob.mutation("messages:send", { channel: "tea", author: "Bob", body: "one" });
  await until(() => tea.length === 2);
  assert.deepEqual(await bob.query("messages:list", { channel: "tea" }).then(bodies), ["one"]);
  tea.unsubscribe();
  await ada.mutation("messages:send", { channel: "tea", author: "Ada", body: "two" });
  await ada.mutation("messages:send", { channel: "coffee", author: "Ada", body: "three" });
  await until(() => coffee.length === 2);

  assert.deepEqual([...tea], [[], ["one"]]);
  assert.deepEqual([...coffee], [[], ["three"]]);
  assert.equal(ada.state.connection, "connected");
  assert.match(bob.lines.join("\n"), /^\[M\(messages:send\)\] 'sending to' 'tea'$/m, "what a function prints");
});

test("mutations take effect in the order of their calls, and a resolved one shows", async () => {
  const cupola = connect();
  const shown = follow(cupola, "counters:get", { name: "order" });
  const calls = range(1, 200).map(async (expected) => {
    assert.equal(await cupola.mutation("counters:increment", { name: "order" }), expected);
    assert(shown.at(-1) >= expected, "its effect is in the results when it resolves");
  });
  assert(cupola.state.hasPendingMutations);
  await Promise.all(calls);
  assert.equal(shown.at(-1), 200);
  assert(!cupola.state.hasPendingMutations);
});

test("killed under load and started again, each mutation takes effect exactly once", async () => {
  const [ada, bob] = [connect(), connect()];
  const shown = follow(bob, "counters:get", { name: "storm" });
  await until(() => shown.length);
  const results = [];
  const increment = () => ada.mutation("counters:increment", { name: "storm" }).then((value) => results.push(value));
  const calls = range(1, 300).map(increment);
  await until(() => results.length >= 50);

  await server.kill();
  const atKill = results.length;
  calls.push(...range(1, 10).map(increment)); // made while it is down
  await until(() => ada.state.connection === "disconnected");
  await server.start();
  await Promise.all(calls);
  await until(() => shown.at(-1) === 310);

  assert(atKill < 300, "some were under way");
  assert.deepEqual(results, range(1, 310), "each once, in order, the answers too");
  assert(shown.every((value, index) => index === 0 || value > shown[index - 1]), `never backwards: ${shown}`);
});

test("pages stay adjacent while documents come", async () => {
  const [ada, bob] = [connect(), connect()];
  const send = (from, to) => bob.mutation("messages:send_many", { channel: "pages", bodies: range(from, to).map(String) });
  const newestFirst = (newest) => range(1, newest).reverse().map(String);
  await send(1, 25);
  let seen;
  const pages = ada.paginate("messages:page", { channel: "pages" }, { pageSize: 10 },
    (items, status) => (seen = { bodies: bodies(items), status }));
  await until(() => seen?.status === "CanLoadMore");
  assert.deepEqual(seen.bodies, newestFirst(25).slice(0, 10));

  assert(pages.loadMore());
  await send(26, 30); // while the second page loads
  await until(() => seen.bodies.length === 25);
  assert.deepEqual(seen.bodies, newestFirst(30).slice(0, 25));

  await send(31, 60); // the first page has grown too long, and is split
  await until(() => seen.bodies.length === 55 && seen.status === "CanLoadMore");
  pages.loadMore();
  await until(() => seen.status === "Exhausted");
  assert.deepEqual(seen.bodies, newestFirst(60));
  pages.stop();
});

test("an action runs, and what it wrote is there", async () => {
  const cupola = connect();
  assert.equal(await cupola.action("messages:announce", { channel: "news", body: "hear" }), 2);
  assert.deepEqual(bodies(await cupola.query("messages:list", { channel: "news" })), ["hear 2", "hear 1"]);
});

test("every value comes back as it went in", async () => {
  const cupola = connect();
  const value = {
    nothing: null, yes: true, text: "naïve 漢字 🎉 \u0000", list: [1, [2, []], {}],
    numbers: [0, -0, 1.5, -1e300, 5e-324, NaN, Infinity, -Infinity, 2 ** 53],
    large: [0n, -1n, 2n ** 63n - 1n, -(2n ** 63n)], bytes: new Uint8Array([0, 1, 255]).buffer,
  };
  assert.deepStrictEqual(await cupola.query("values:echo", { value }), value);
  assert.deepStrictEqual(await cupola.action("values:echo_from_action", { value }), value);
  const id = await cupola.mutation("values:keep", { value });
  assert.deepStrictEqual(await cupola.query("values:kept", { id }), value);
  assert.deepStrictEqual(await cupola.query("values:echo", { value: { a: 1, b: undefined } }), { a: 1 });

  const large = await cupola.query("values:large", { mebibytes: 12 }); // it comes in parts
  assert.deepEqual(large.map((text) => text.length), Array(12).fill(2 ** 20));
});

test("errors say what is wrong, carry their data, and change nothing", async () => {
  const cupola = connect();
  const failure = (promise) => promise.then(() => assert.fail("it succeeded"), (error) => error);

  const refused = await failure(cupola.mutation("errors:application_mutation", { channel: "errors" }));
  assert(refused instanceof CupolaError);
  assert.deepEqual(refused.data, DATA);
  assert.deepEqual(await cupola.query("messages:list", { channel: "errors" }), []);
  assert.deepEqual((await failure(cupola.query("errors:application"))).data, DATA);
  assert.equal((await failure(cupola.action("errors:application_action"))).data, "just text");

  const bug = await failure(cupola.query("errors:plain"));
  assert.match(bug.message, /boom/);
  assert.equal(bug.data, undefined);
  assert.match((await failure(cupola.mutation("messages:nowhere"))).message, /Could not find public function/);
  assert.match((await failure(cupola.query("counters:get"))).message, /ArgumentValidationError[^]*name/);
  assert.equal(cupola.state.connection, "connected");
});

test("an administrator sees what is internal; a wrong key is refused, and others are not asked", async () => {
  const cupola = connect();
  await assert.rejects(cupola.query("private:secret"), /Could not find public function/);
  cupola.setAdminAuth(await server.adminKey(), (error) => assert.fail(error.message));
  assert.equal(await cupola.query("private:secret"), "hidden");

  const stranger = connect();
  const refusals = [];
  stranger.setAdminAuth("convex-self-hosted|01ff", (error) => refusals.push(error));
  assert.equal(await stranger.query("counters:get", { name: "nobody" }), 0); // it goes on as nobody
  assert.equal(refusals.length, 1);
  assert.equal(refusals[0].code, "AuthError");
});
