// The values table: what a page hands over, what crosses the wire, what comes back.

import assert from "node:assert/strict";
import { test } from "node:test";

import { fromWire, toWire } from "./harness.mjs";

const bytes = (...numbers) => new Uint8Array(numbers).buffer;

const TABLE = [
  [null, null],
  [true, true],
  ["héllo \u0000 🙂", "héllo \u0000 🙂"],
  [3, 3],
  [1.5, 1.5],
  [5e-324, 5e-324],
  [-0, { $float: "AAAAAAAAAIA=" }],
  [NaN, { $float: "AAAAAAAA+H8=" }],
  [Infinity, { $float: "AAAAAAAA8H8=" }],
  [-Infinity, { $float: "AAAAAAAA8P8=" }],
  [0n, { $integer: "AAAAAAAAAAA=" }],
  [1n, { $integer: "AQAAAAAAAAA=" }],
  [-1n, { $integer: "//////////8=" }],
  [2n ** 63n - 1n, { $integer: "/////////38=" }],
  [-(2n ** 63n), { $integer: "AAAAAAAAAIA=" }],
  [bytes(), { $bytes: "" }],
  [bytes(1, 2, 255), { $bytes: "AQL/" }],
  [[1, [2n]], [1, [{ $integer: "AgAAAAAAAAA=" }]]],
  [{ b: 1, a: { c: "x" } }, { a: { c: "x" }, b: 1 }],
];

for (const [value, wire] of TABLE) {
  const name = JSON.stringify(wire);
  test(`${name} is written and read back`, () => {
    assert.equal(JSON.stringify(toWire(value)), name);
    assert.deepEqual(fromWire(JSON.parse(name)), value);
  });
}

test("names are sorted, so that equal arguments have equal texts", () => {
  assert.equal(JSON.stringify(toWire({ b: 1, a: 2 })), JSON.stringify(toWire({ a: 2, b: 1 })));
});

test("undefined fields are left out", () => {
  assert.equal(JSON.stringify(toWire({ a: undefined, b: { c: undefined } })), '{"b":{}}');
});

test("a field named __proto__ is a field", () => {
  const value = JSON.parse('{"__proto__": {"polluted": true}}');
  assert.equal(JSON.stringify(toWire(value)), '{"__proto__":{"polluted":true}}');
  const back = fromWire(value);
  assert.deepEqual(Object.keys(back), ["__proto__"]);
  assert.equal(back.polluted, undefined);
});

test("a typed array is sent as the bytes it shows", () => {
  const view = new Uint8Array(bytes(9, 1, 2, 9), 1, 2);
  assert.deepEqual(toWire(view), toWire(bytes(1, 2)));
});

const REFUSED = [
  [{ a: [undefined] }, /args\.a\[0\] is of type undefined/],
  [{ a: () => 1 }, /args\.a is of type function/],
  [{ a: new Date(0) }, /args\.a is of type Date/],
  [{ a: new Map() }, /args\.a is of type Map/],
  [{ a: 2n ** 63n }, /args\.a is 9223372036854775808, which does not fit in 64 bits/],
  [{ $a: 1 }, /args has a field named "\$a"/],
  [{ a: "\ud800" }, /args\.a is a string with a lone surrogate/],
];

for (const [value, message] of REFUSED) {
  test(`refused before it is sent: ${message}`, () => assert.throws(() => toWire(value, "args"), message));
}

test("an unknown special form from the server is an error, not a guess", () => {
  assert.throws(() => fromWire({ $weird: "AAAA" }), /unknown form "\$weird"/);
});
