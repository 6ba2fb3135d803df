// The host of actions: many at a time, each in a thread and realm of its own (a Worker), which ends
// with it. The process may reach the network, and nothing else.

const READY_MAX = 2;
const RUNNING_MAX = 32;
const WORKING_MAX = 8; // beside those that wait for others, where these take all places

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

let workerUrl = "";
let furnishings = null;
let ready = [];
const running = new Map(); // number of a call -> its worker
const blocked = new Map(); // those of them that wait for other actions -> numbers of what they asked
const waiting = [];

// ---------------------------------------------------------------------------------------- frames

async function* frames() {
  let data = new Uint8Array(0);
  const chunk = new Uint8Array(1 << 16);
  for (;;) {
    const count = await Deno.stdin.read(chunk);
    if (count === null) return;
    const joined = new Uint8Array(data.length + count);
    joined.set(data);
    joined.set(chunk.subarray(0, count), data.length);
    data = joined;
    while (data.length >= 4) {
      const length = new DataView(data.buffer, data.byteOffset).getUint32(0, true);
      if (data.length < 4 + length) break;
      yield decoder.decode(data.subarray(4, 4 + length));
      data = data.subarray(4 + length);
    }
  }
}

function tell(kind, message) {
  const body = encoder.encode(kind + JSON.stringify(message));
  const frame = new Uint8Array(4 + body.length);
  new DataView(frame.buffer).setUint32(0, body.length, true);
  frame.set(body, 4);
  let sent = 0;
  while (sent < frame.length) sent += Deno.stdout.writeSync(frame.subarray(sent));
}

// --------------------------------------------------------------------------------------- workers

function makeWorker() {
  const worker = new Worker(workerUrl, { type: "module" });
  worker.postMessage({ type: "furnish", ...furnishings });
  return worker;
}

function keepReady() {
  while (ready.length < READY_MAX) ready.push(makeWorker());
}

/** Actions that wait for others would hold all places for ever: what they wait for may start. */
const isFull = () =>
  running.size >= RUNNING_MAX && running.size - blocked.size >= WORKING_MAX;

function startNext() {
  if (waiting.length > 0 && !isFull()) start(waiting.shift());
}

function block(call, { id, op }) {
  if (op !== "1.0/actions/action") return;
  blocked.set(call, (blocked.get(call) ?? new Set()).add(id));
  startNext();
}

function unblock(call, id) {
  if (blocked.get(call)?.delete(id) && blocked.get(call).size === 0) blocked.delete(call);
}

function start(request) {
  if (isFull()) {
    waiting.push(request);
    return;
  }
  const worker = ready.shift() ?? makeWorker();
  const { call } = request;
  running.set(call, worker);
  worker.onmessage = ({ data }) => {
    const [kind, message] = data;
    if (kind === "V" || kind === "E") end(call);
    if (kind === "S") block(call, message);
    tell(kind, { call, ...message });
  };
  worker.onerror = (event) => {
    event.preventDefault();
    if (!end(call)) return;
    tell("E", { call, message: `Uncaught ${event.message}`, stack: "" });
  };
  worker.postMessage({ type: "run", ...request });
}

/** The call is over: so is its worker. Returns whether it was running. */
function end(call) {
  const worker = running.get(call);
  if (worker === undefined) return false;
  running.delete(call);
  blocked.delete(call);
  worker.terminate();
  setTimeout(() => {
    keepReady();
    startNext();
  });
  return true;
}

function stop(call) {
  const at = waiting.findIndex((request) => request.call === call);
  if (at >= 0) waiting.splice(at, 1);
  end(call);
}

addEventListener("unhandledrejection", (event) => event.preventDefault());

for await (const frame of frames()) {
  const message = JSON.parse(frame.slice(1));
  switch (frame[0]) {
    case "P":
      workerUrl = `data:application/javascript,${encodeURIComponent(message.worker)}`;
      furnishings = {
        sources: message.sources, bundle: message.bundle, packages: message.packages,
      };
      tell("H", {});
      keepReady();
      break;
    case "R":
      start(message);
      break;
    case "A":
      unblock(message.call, message.id);
      running.get(message.call)?.postMessage({ type: "answer", ...message });
      break;
    case "D":
      running.get(message.call)?.postMessage({ type: "gone" });
      break;
    case "K":
      stop(message.call);
      break;
  }
}
Deno.exit(0);
