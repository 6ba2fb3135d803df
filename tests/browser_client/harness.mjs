// A scripted server: fake sockets that record what the client sends and say what a test tells them to say.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { mock } from "node:test";

// The module is a plain .js file without a package.json, which older versions of Node take for CommonJS.
const source = await readFile(new URL("../../src/cupola/server/static/cupola.js", import.meta.url), "base64");
export const { Cupola, CupolaError, toWire, fromWire } = await import(`data:text/javascript;base64,${source}`);

/** A timestamp as it crosses the wire. */
export function ts(number) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(number));
  return bytes.toString("base64");
}

/** Let everything that is ready run. */
export const settled = () => new Promise((resolve) => setImmediate(resolve));

/** Stop the clock, and take the chance out of the delays: they last exactly their base. */
export function stopTheClock() {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  mock.method(Math, "random", () => 0.5);
  return { pass: (milliseconds) => mock.timers.tick(milliseconds) };
}

class FakeSocket {
  constructor(url) {
    this.url = url;
    this.sent = [];
    this.unread = 0;
    this.version = { querySet: 0, identity: 0, ts: ts(0) };
    this.isClosed = false;
  }

  // -- what the client calls

  send(text) {
    assert(!this.isClosed, "the client wrote to a closed socket");
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.isClosed = true;
  }

  // -- what a test calls

  /** The messages sent since the last look, without the members that differ from run to run. */
  read() {
    const messages = this.sent.slice(this.unread).map(({ sessionId, clientTs, ...rest }) => rest);
    this.unread = this.sent.length;
    return messages;
  }

  open() {
    this.onopen?.({});
  }

  say(message) {
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  lose(code = 1006, reason = "") {
    this.isClosed = true;
    this.onclose?.({ code, reason });
  }

  /** Take the client to the version it last asked for, at `at`, with these results: {queryId: value | modification}. */
  transition(at, results = {}, { identity = this.version.identity } = {}) {
    this.say(this.nextTransition(at, results, { identity }));
  }

  nextTransition(at, results = {}, { identity = this.version.identity } = {}) {
    const asked = this.sent.filter(({ type }) => type === "ModifyQuerySet").at(-1);
    const startVersion = this.version;
    this.version = { querySet: asked?.newVersion ?? 0, identity, ts: ts(at) };
    const modifications = Object.entries(results).map(([queryId, result]) => ({
      queryId: Number(queryId),
      ...(result?.type ? result : updated(result)),
    }));
    return { type: "Transition", startVersion, endVersion: this.version, modifications };
  }

  succeed(requestId, result, at) {
    this.say({ type: "MutationResponse", requestId, success: true, result, ts: ts(at), logLines: [] });
  }
}

export const updated = (value, more = {}) => ({ type: "QueryUpdated", value, logLines: [], journal: null, ...more });
export const failed = (errorMessage, more = {}) => ({
  type: "QueryFailed", errorMessage, logLines: [], journal: null, ...more,
});

/** A client whose server is the test: `sockets` are the connections it made, `lines` what it logged. */
export function connect() {
  const sockets = [];
  const lines = [];
  class WebSocket extends FakeSocket {
    constructor(url) {
      super(url);
      sockets.push(this);
    }
  }
  const levels = ["debug", "info", "log", "warn", "error"];
  const console = Object.fromEntries(
    levels.map((level) => [level, (...words) => lines.push([level, ...words.map(String)].join(" "))]),
  );
  const cupola = new Cupola("http://cupola.test", { webSocket: WebSocket, console });
  return { cupola, sockets, lines, last: () => sockets.at(-1) };
}

/** Everything a callback was given, in order. */
export function recorder() {
  const calls = [];
  const record = (...given) => calls.push(given.length > 1 ? given : given[0]);
  record.calls = calls;
  record.take = () => calls.splice(0);
  return record;
}
