// The host of queries and mutations: runs one at a time for the worker that started it, each in a
// fresh context. It needs no permission at all, and is given none.

import { Bundle, Contexts, Told } from "./contexts.mjs";
import { readFrame, writeFrame } from "./frames.mjs";
import { functionsForContexts } from "./natives.mjs";
import { analyze } from "./analysis.mjs";

const MODULES_MAX = 3;
const WARM_MAX = 2; // contexts of the module that was called last; one of each other

let contexts;
let bundle = null;
let blank = null;
// `placeOf` a call -> [{context, printed}] in which its module is evaluated already
const warm = new Map();
let recent = []; // places that were called lately, the last one first
let held = null; // frames of what modules print while contexts are made ahead: of calls to come
let ahead = null; // a frame of documents that was met while waiting for another
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
    if (answer[0] === "D") ahead = answer;
    else if (answer[0] !== "N") return answer;
    else runNested(JSON.parse(answer.slice(1)));
  }
}

/** The documents that the worker sends unasked with each run that says so. */
function documentsAhead(run) {
  const head = `D${run}\n`;
  let frame = ahead ?? readFrame();
  while (!frame.startsWith(head)) frame = readFrame(); // those of a run that did not want them
  ahead = null;
  return frame.slice(head.length);
}

function log(level, text) {
  const frame = `L${level} ${text}`;
  if (held === null) writeFrame(frame);
  else held.push(frame);
}

/** Documents that came along with others were read: their ids, one a line. */
function documentsRead(ids) {
  writeFrame(`U${ids}`);
}

/** The call looks at the clock, for the first time. */
function timeObserved() {
  if (held === null) writeFrame("T");
  else held.push("T");
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
  rejected = ahead = null;
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

function createAt(place) {
  const cut = place.indexOf("//");
  if (cut < 0) return contexts.create(bundle);
  const environment = JSON.stringify(bundle.environments[place.slice(0, cut)] ?? {});
  return contexts.create(bundle, { environment });
}

const moduleAt = (place) => place.slice(place.indexOf("//") < 0 ? 0 : place.indexOf("//") + 2);

function takeContext(call) {
  const place = placeOf(call);
  remember(place);
  const ready = warm.get(place)?.shift();
  if (ready !== undefined) {
    ready.printed.forEach(writeFrame);
    return ready.context;
  }
  if (call.component) return createAt(place);
  const context = blank ?? contexts.create(bundle);
  blank = null;
  return context;
}

function remember(place) {
  if (recent[0] === place) return;
  recent = [place, ...recent.filter((each) => each !== place)];
  while (recent.length > MODULES_MAX) warm.delete(recent.pop());
}

/** The place that has too few contexts; "" if a blank one lacks, null if nothing does. */
function lacking() {
  for (const place of recent) {
    if ((warm.get(place)?.length ?? 0) < (place === recent[0] ? WARM_MAX : 1)) return place;
  }
  return bundle !== null && blank === null ? "" : null;
}

/** Make one context for the calls to come. */
async function prepare() {
  const place = lacking();
  if (place === "") blank = contexts.create(bundle);
  if (place === null || place === "") return;
  rejected = null;
  held = [];
  try {
    const context = createAt(place);
    context.evaluate(moduleAt(place));
    if ((await takeRejected()) !== null) throw new Error("rejected");
    warm.set(place, [...(warm.get(place) ?? []), { context, printed: held }]);
  } catch {
    recent = recent.filter((each) => each !== place); // the next call meets it again, and tells
  } finally {
    held = null;
  }
}

async function serve() {
  for (;;) {
    // Each frame begins a turn of its own, so that nothing here runs inside a microtask of ours.
    const frame = await new Promise((resolve) => setImmediate(() => resolve(readFrame())));
    const body = frame.slice(1);
    switch (frame[0]) {
      case "P": {
        const { sources, webNames } = JSON.parse(body);
        contexts = new Contexts(sources, webNames, {
          ...functionsForContexts, syscall, log, timeObserved, documentsRead, documentsAhead,
        });
        writeFrame("H");
        break;
      }
      case "B":
        bundle = new Bundle(JSON.parse(body));
        blank = null;
        recent = [];
        warm.clear();
        await prepare();
        break;
      case "R":
        await run(JSON.parse(body));
        break;
      case "D": // its run has ended, and did not want them
        break;
      case "W": // the worker has nothing to do, and says when we may use the processor
        if (body !== "") remember(body);
        await prepare();
        writeFrame(lacking() === null ? "W" : "Wmore");
        break;
      case "A":
        await analyze(JSON.parse(body), contexts, bundle, takeRejected);
        break;
    }
  }
}

await serve();
