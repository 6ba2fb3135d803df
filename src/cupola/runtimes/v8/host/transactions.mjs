// The host of queries and mutations: runs one at a time for the worker at the other end of the
// socket, each in a fresh context. It needs no permission at all, and is given none.

import { Bundle, Contexts, Told } from "./contexts.mjs";
import { readFrame, writeFrame } from "./frames.mjs";
import { functionsForContexts } from "./natives.mjs";
import { analyze } from "./analysis.mjs";

const SPARES_MAX = 3;

let contexts;
let bundle = null;
let blank = null;
const warm = new Map(); // `placeOf` a call -> a context in which its module is evaluated already
let rejected = null; // what was rejected with nobody listening, since the last turn

addEventListener("unhandledrejection", (event) => {
  event.preventDefault();
  rejected ??= { reason: event.reason };
});

async function takeRejected() {
  await nextTurn();
  const found = rejected;
  rejected = null;
  return found;
}

const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

function syscall(op, args) {
  writeFrame(`S${op}\n${args}`);
  for (;;) {
    const answer = readFrame();
    if (answer[0] !== "N") return answer;
    runNested(JSON.parse(answer.slice(1)));
  }
}

function log(level, text) {
  writeFrame(`L${level} ${text}`);
}

/** A call made by the one that waits in `syscall`. */
function runNested(run) {
  try {
    writeFrame(`V${takeContext(run).call(run)}`);
  } catch (error) {
    writeFrame(`E${JSON.stringify(told(error))}`);
  }
}

function told(error) {
  if (error instanceof Told) return error.told;
  // Deno itself is at its end, for example out of stack.
  return { message: `Uncaught ${error?.name ?? "Error"}: ${error?.message ?? error}`, stack: "" };
}

async function run(request) {
  rejected = null;
  let context;
  let value;
  let failure = null;
  try {
    context = takeContext(request);
    value = context.call(request);
  } catch (error) {
    failure = told(error);
  }
  await nextTurn(); // now Deno has reported what was rejected
  if (failure === null && rejected !== null) failure = context.tell(rejected.reason);
  if (failure === null) writeFrame(`V${value}`);
  else writeFrame(`E${JSON.stringify(failure)}`);
}

/** A module, in the app itself or in a component, whose variables are others. */
const placeOf = ({ path, component }) => (component ? `${component}//${path}` : path);

function takeContext(call) {
  const place = placeOf(call);
  const ready = warm.get(place);
  if (ready !== undefined) {
    warm.delete(place);
    return ready;
  }
  if (call.component) return createIn(call.component);
  const context = blank ?? contexts.create(bundle);
  blank = null;
  return context;
}

function createIn(component) {
  if (!component) return contexts.create(bundle);
  const environment = JSON.stringify(bundle.environments[component] ?? {});
  return contexts.create(bundle, { environment });
}

/** While nobody waits: contexts for the next calls, one with the module that was used last. */
async function prepare(call) {
  if (bundle === null) return;
  blank ??= contexts.create(bundle);
  if (call === null || warm.has(placeOf(call))) return;
  rejected = null;
  const context = createIn(call.component);
  try {
    context.evaluate(call.path);
  } catch {
    await takeRejected();
    return; // the next call meets it again, and tells
  }
  if ((await takeRejected()) !== null) return;
  warm.set(placeOf(call), context);
  if (warm.size > SPARES_MAX) warm.delete(warm.keys().next().value);
}

async function serve() {
  for (;;) {
    // Each frame begins a turn of its own, so that nothing here runs inside a microtask of ours.
    const frame = await new Promise((resolve) => setImmediate(() => resolve(readFrame())));
    const body = frame.slice(1);
    switch (frame[0]) {
      case "P": {
        const { sources, webNames } = JSON.parse(body);
        contexts = new Contexts(sources, webNames, { ...functionsForContexts, syscall, log });
        writeFrame("H");
        break;
      }
      case "B":
        bundle = new Bundle(JSON.parse(body));
        blank = null;
        warm.clear();
        await prepare(null);
        break;
      case "R": {
        const request = JSON.parse(body);
        await run(request);
        await prepare(request);
        break;
      }
      case "A":
        await analyze(JSON.parse(body), contexts, bundle, takeRejected);
        break;
    }
  }
}

await serve();
