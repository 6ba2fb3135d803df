// Tokens: stated on every connection, replaced in order, given up when refused.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { connect, recorder, settled, stopTheClock } from "./harness.mjs";

let clock;
beforeEach(() => (clock = stopTheClock()));

const authenticates = (socket) => socket.read().filter(({ type }) => type === "Authenticate");

test("the token comes between Connect and the queries, on every connection", () => {
  const { cupola, last } = connect();
  cupola.setAuth("token 1");
  last().open();
  assert.deepEqual(last().read().map(({ type }) => type), ["Connect", "Authenticate", "ModifyQuerySet"]);
  last().transition(10, {}, { identity: 1 });
  last().lose();
  clock.pass(500);
  last().open();
  assert.deepEqual(last().read()[1], { type: "Authenticate", baseVersion: 0, tokenType: "User", value: "token 1" });
});

test("identities are numbered as they change", () => {
  const { cupola, last } = connect();
  last().open();
  cupola.setAuth("token 1");
  cupola.setAdminAuth("name|key");
  cupola.setAuth(null);
  assert.deepEqual(authenticates(last()), [
    { type: "Authenticate", baseVersion: 0, tokenType: "User", value: "token 1" },
    { type: "Authenticate", baseVersion: 1, tokenType: "Admin", value: "name|key" },
    { type: "Authenticate", baseVersion: 2, tokenType: "None" },
  ]);
});

test("a refused token is dropped, and the client goes on as nobody", async () => {
  const { cupola, last } = connect();
  const onRejected = recorder();
  cupola.setAuth("bad", onRejected);
  const call = cupola.mutation("a:b");
  last().open();
  last().say({ type: "AuthError", error: "Could not verify token", baseVersion: 0, authUpdateAttempted: true });
  assert.equal(onRejected.calls[0].message, "Could not verify token");
  assert.equal(onRejected.calls[0].code, "AuthError");
  assert.equal(cupola.state.connection, "connecting");
  last().lose(1005);
  clock.pass(500);
  last().open();
  assert.deepEqual(last().read().map(({ type }) => type), ["Connect", "ModifyQuerySet", "Mutation"]);
  last().succeed(0, "as nobody", 10);
  last().transition(10);
  assert.equal(await call, "as nobody");
});

test("without a callback a refused token is logged", () => {
  const { cupola, last, lines } = connect();
  cupola.setAuth("bad");
  last().open();
  last().say({ type: "AuthError", error: "expired", baseVersion: 0, authUpdateAttempted: true });
  assert.match(lines[0], /refused the token: expired/);
});

test("the refusal of an older token does not cost the newer one", async () => {
  const { cupola, last } = connect();
  const onRejected = recorder();
  cupola.setAuth("old", onRejected);
  last().open();
  cupola.setAuth("new", onRejected);
  last().say({ type: "AuthError", error: "old", baseVersion: 0, authUpdateAttempted: true });
  last().lose(1005);
  clock.pass(500);
  last().open();
  assert.equal(authenticates(last())[0].value, "new");
  assert.deepEqual(onRejected.calls, []);
});

test("a token that expires is dropped, unless it is being replaced", async () => {
  const { cupola, last } = connect();
  const onRejected = recorder();
  cupola.setAuth("first", onRejected);
  last().open();
  last().transition(10, {}, { identity: 1 });
  cupola.setAuth("second", onRejected);
  last().say({ type: "AuthError", error: "expired", baseVersion: 1, authUpdateAttempted: false });
  assert.deepEqual(onRejected.calls, []);
  last().transition(11, {}, { identity: 2 });
  last().say({ type: "AuthError", error: "expired", baseVersion: 2, authUpdateAttempted: false });
  assert.equal(onRejected.calls.length, 1);
  await settled();
});
