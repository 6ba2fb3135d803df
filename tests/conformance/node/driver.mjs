// What every driver needs: the server's URL, a client, and a way to tell its facts as one JSON line.
import { createInterface } from "node:readline";
import { ConvexClient } from "convex/browser";
import ws from "ws";

export const url = process.argv[2];
export const quiet = { log() {}, logVerbose() {}, warn() {}, error() {} };

export function connect(options = {}) {
  return new ConvexClient(url, {
    webSocketConstructor: ws,
    skipConvexDeploymentUrlCheck: true,
    unsavedChangesWarning: false,
    logger: quiet,
    ...options,
  });
}

// Runs the driver; whatever it returns are the facts. A driver that hangs is ended by its test.
export async function drive(main) {
  try {
    console.log(JSON.stringify(await main()));
    process.exit(0);
  } catch (error) {
    console.error(error);
    process.exit(1);
  }
}

// A live query as a list of the results seen so far, and a way to wait for one of them.
export function watch(client, query, args = {}) {
  const seen = [];
  const errors = [];
  let wake = () => {};
  const stop = client.onUpdate(
    query,
    args,
    (value) => { seen.push(value); wake(); },
    (error) => { errors.push(error); wake(); },
  );
  const until = async (holds) => {
    while (!holds(seen, errors)) await new Promise((resolve) => (wake = resolve));
  };
  return { seen, errors, until, stop };
}

export const last = (list) => list[list.length - 1];
export const bodies = (messages) => messages.map((message) => message.body);

// What a promise came to, as facts.
export async function outcome(promise) {
  try {
    return { value: await promise };
  } catch (error) {
    const isData = error.constructor.name === "ConvexError";
    return { error: error.message, ...(isData ? { data: error.data } : {}) };
  }
}

// The test's side of a conversation: it writes a line when it has done its part.
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
export async function say(fact) {
  console.log(JSON.stringify(fact));
  return (await lines.next()).value;
}
