// Everything that clients see of the app that is written twice: results, log lines, errors and data. What
// differs from run to run (ids, request ids) and from language to language (lines of stacks) is left out.
import { ConvexHttpClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import { connect, drive, outcome, url } from "./driver.mjs";

const heard = [];
const hear = (level) => (...words) => {
  const styled = String(words[0]).startsWith("%c"); // then a style follows
  heard.push([level, ...(styled ? [words[0].slice(2), ...words.slice(2)] : words)].map(plain).join(" "));
};
const logger = Object.fromEntries(["log", "warn", "error"].map((level) => [level, hear(level)]));
logger.logVerbose = () => {};

const plain = (value) => String(value)
  .replace(/\[Request ID: \w+\]/g, "[Request ID]")
  .replace(/\n +at .*/g, "")
  .replace(/Uncaught \w+/g, "Uncaught <class>")
  .replace(/\b[0-9a-z]{31,37}\b/g, "<id>");

const bigint = (_, value) => (typeof value === "bigint" ? `${value}n` : value);
const facts = (value) => JSON.parse(plain(JSON.stringify(value, bigint).replace(/(\\n +at [^\\"]*)+/g, "")));

const MISUSES = [
  "delete twice", "patch deleted", "replace deleted", "wrong field", "missing field", "extra field", "not unique",
  "no index", "no table", "bad id", "id of another table", "not a function", "wrong kind", "bad argument",
];
const good = { text: "t", choice: "a" };
const ARGUMENTS = {
  fine: { ...good, large: 1n, maybe: null, items: [1, 2.5], raw: new ArrayBuffer(2) },
  missing: { text: "t" },
  "no such choice": { text: "t", choice: "c" },
  "number for text": { text: 7, choice: "a" },
  "number for int64": { ...good, large: 1 },
  "wrong union": { ...good, maybe: 1 },
  "wrong item": { ...good, items: [1, "2"] },
  "no list": { ...good, items: { a: 1 } },
  "no id": { ...good, id: "nonsense" },
  "text for bytes": { ...good, raw: "ab" },
  extra: { ...good, extra: [1n, null, { a: new ArrayBuffer(1) }] },
};

drive(async () => {
  const clients = {
    websocket: connect({ logger }),
    http: new ConvexHttpClient(url, { skipConvexDeploymentUrlCheck: true, logger }),
  };
  const seen = {};
  for (const [transport, client] of Object.entries(clients)) {
    const tell = async (name, promise) => {
      heard.length = 0;
      const came = await outcome(promise);
      seen[`${transport} ${name}`] = facts({ ...came, heard: [...heard] });
    };
    await tell("lines", client.query(api.alike.lines, { text: 'say "hello"', number: 1.5 }));
    await tell("quotes in lines", client.query(api.alike.lines, { text: "it's", number: 1.5 }));
    await tell("values in lines", client.query(api.alike.values_in_lines, {}));
    await tell("levels of lines", client.query(api.alike.levels, {}));
    await tell("nested lines", client.mutation(api.alike.nested_lines, {}));
    await tell("lines of actions", client.action(api.alike.action_lines, {}));
    await tell("lines before a failure", client.query(api.errors.plain, {}));
    for (const [name, args] of Object.entries(ARGUMENTS)) {
      await tell(`arguments: ${name}`, client.query(api.alike.typed, args));
    }
    for (const how of MISUSES) {
      await tell(`misuse: ${how}`, client.mutation(api.alike.misuse, { how }));
      await tell(`catch misuse: ${how}`, client.mutation(api.alike.catch_misuse, { how }));
    }
    for (const data of ["text", "", 0, null, [1, "a"], { a: { b: 1n } }]) {
      await tell(`data ${JSON.stringify(data, bigint)}`, client.query(api.alike.fails_with, { data }));
    }
    await tell("uncaught", client.mutation(api.alike.uncaught, {}));
    await tell("wrong result", client.query(api.errors.returns_wrong, {}));
    await tell("application error of a mutation", client.mutation(api.errors.application_mutation, { channel: "a" }));
    await tell("application error of an action", client.action(api.errors.application_action, {}));
    await tell("plain error of a mutation", client.mutation(api.errors.plain_mutation, {}));
    await tell("no function", client.query(api.alike.nowhere, {}));
    await tell("no module", client.query(api.nowhere.at, {}));
    await tell("another kind", client.mutation(api.counters.get, { name: "a" }));
    await tell("a kind of action", client.action(api.counters.get, { name: "a" }));
    await tell("internal", client.query(api.private.secret, {}));
    await tell("time", client.query(api.alike.random_and_time, {}));
  }
  const client = clients.websocket;
  seen.caught = await client.mutation(api.alike.caught, {});
  await client.mutation(api.alike.seed, {});
  seen.ranges = await client.query(api.alike.ranges, {});
  return seen;
});
