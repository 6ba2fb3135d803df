// Every edge of the value model, through arguments and results of both transports and the database.
import { isDeepStrictEqual } from "node:util";
import { ConvexHttpClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import { connect, drive, outcome, quiet, url } from "./driver.mjs";

const bytes = (...octets) => new Uint8Array(octets).buffer;
const nested = (depth) => (depth === 0 ? 1 : [nested(depth - 1)]);

const VALUES = {
  null: null,
  true: true,
  false: false,
  zero: 0,
  "minus zero": -0,
  one: 1,
  fraction: 1.5,
  "largest safe integer": Number.MAX_SAFE_INTEGER,
  "beyond safe integers": 2 ** 60,
  "largest double": Number.MAX_VALUE,
  "smallest subnormal": 5e-324,
  "large exponent": 1e21,
  NaN: NaN,
  Infinity: Infinity,
  "-Infinity": -Infinity,
  "int64 zero": 0n,
  "int64 minus one": -1n,
  "int64 largest": 2n ** 63n - 1n,
  "int64 smallest": -(2n ** 63n),
  "empty string": "",
  "NUL in a string": "a\0b",
  "quotes and controls": "\"\\\n\r\t\b\f\u0001\u001f\u007f",
  "line separators": "\u2028\u2029",
  "beyond the basic plane": "😀 é 漢",
  "dollar strings": "$integer",
  "empty bytes": bytes(),
  bytes: bytes(0, 1, 127, 128, 255),
  "empty array": [],
  "mixed array": [1, 1n, "1", null, true, bytes(1), [], {}],
  "empty object": {},
  "odd field names": { "": 1, "with space": 2, "a.b": 3, "~!@#%^&*()": 4, __proto: 5, length: 6 },
  "nested special values": { a: [{ b: NaN, c: [-0, 2n] }] },
  "ten deep": nested(10),
  "a thousand fields": Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`f${i}`, i])),
  "eight thousand elements": Array.from({ length: 8000 }, (_, i) => i),
};

// Asked by HTTP: a lone surrogate is not even JSON to the server, and would cost the socket.
const REFUSED = {
  "lone surrogate": "\ud800",
  "array too long": Array.from({ length: 8193 }, () => 0),
  "too many fields": Object.fromEntries(Array.from({ length: 1025 }, (_, i) => [`f${i}`, i])),
  "nested too deep": nested(70),
};

drive(async () => {
  const client = connect();
  const http = new ConvexHttpClient(url, { skipConvexDeploymentUrlCheck: true, logger: quiet });
  const ways = {
    "query over WebSocket": (value) => client.query(api.values.echo, { value }),
    "query over HTTP": (value) => http.query(api.values.echo, { value }),
    action: (value) => client.action(api.values.echo_from_action, { value }),
    database: async (value) => {
      const id = await client.mutation(api.values.keep, { value });
      return await client.query(api.values.kept, { id });
    },
  };
  const changed = {};
  for (const [way, pass] of Object.entries(ways)) {
    for (const [name, value] of Object.entries(VALUES)) {
      const { value: back, error } = await outcome(pass(value));
      if (error !== undefined || !isDeepStrictEqual(back, value)) {
        changed[`${name} by ${way}`] = error ?? String(back);
      }
    }
  }
  const refused = {};
  for (const [name, value] of Object.entries(REFUSED)) {
    refused[name] = (await outcome(http.mutation(api.values.keep, { value }))).error ?? "accepted";
  }
  const withoutUndefined = await client.query(api.values.echo, { value: { a: 1, b: undefined } });
  return { passed: Object.keys(VALUES).length, changed, refused, withoutUndefined };
});
