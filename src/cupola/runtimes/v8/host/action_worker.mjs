// One action, in a realm of its own. This file is the main module of a Worker; the action's modules
// are evaluated in the same realm, with Deno's own Web APIs, after what is not theirs has gone.

import vm from "node:vm";
import { builtinModules, createRequire } from "node:module";
import nodeProcess from "node:process";
import { AsyncLocalStorage, AsyncResource } from "node:async_hooks";
import { Buffer as NodeBuffer } from "node:buffer";

const send = self.postMessage.bind(self);
const schedule = globalThis.setImmediate;
const OPERATIONS_MAX = 8;

let furnishings = null;
let describe = null;
let lookAt = null;

// Globals of the Worker itself, which no action should meet.
const OURS = ["postMessage", "onmessage", "onerror", "close", "Worker", "name", "nodeBootstrap"];
// Globals that the reference's isolates lack; "use node" actions keep them.
const OF_NODE = [
  "Deno", "Buffer", "global", "process", "setImmediate", "clearImmediate", "caches", "Cache",
  "CacheStorage", "BroadcastChannel", "navigator", "location", "GPU", "EventSource", "WebSocket",
  "WorkerNavigator", "WorkerLocation", "OffscreenCanvas", "createImageBitmap",
  "onunhandledrejection",
];

function hide(isNode, component) {
  for (const name of isNode ? OURS : [...OURS, ...OF_NODE]) {
    delete globalThis[name];
    if (name in globalThis) define(name, undefined);
  }
  define("AsyncLocalStorage", AsyncLocalStorage);
  define("AsyncResource", AsyncResource);
  const { environment: own, environments } = furnishings.bundle;
  const environment = component ? environments[component] ?? {} : own;
  const env = isNode ? { ...environment } : new Proxy({}, {
    get: (_, name) => (Object.hasOwn(environment, name) ? environment[name] : undefined),
    has: () => false,
    ownKeys: () => [],
  });
  if (!isNode) {
    define("process", { env });
    Atomics.wait = function () {
      throw new TypeError("Atomics.wait cannot be called in this context");
    };
    return;
  }
  // The standard streams carry our frames: what is printed becomes log lines.
  for (const name of ["stdin", "stdout", "stderr"]) {
    Object.defineProperty(Deno, name, { value: undefined, configurable: false });
    Object.defineProperty(nodeProcess, name, { value: printer(name), configurable: true });
  }
  Object.defineProperty(nodeProcess, "env", { value: env, configurable: true });
  define("process", nodeProcess);
  define("Buffer", NodeBuffer);
  define("global", globalThis);
  define("require", createRequire(`${furnishings.packages ?? "file:///convex"}/functions.js`));
}

/** Whatever ends a process would end this realm, and nobody hears of that. */
function forbidExit(fail) {
  const exit = () => {
    const error = new Error("An action cannot exit: let it return, or throw an error.");
    fail(error);
    throw error;
  };
  for (const name of ["exit", "reallyExit", "abort"]) {
    Object.defineProperty(nodeProcess, name, { value: exit, configurable: true });
  }
  Object.defineProperty(Deno, "exit", { value: exit, configurable: true });
}

function printer(name) {
  const level = name === "stderr" ? "ERROR" : "LOG";
  const nothing = () => {};
  return {
    isTTY: false, on: nothing, once: nothing, end: nothing, removeListener: nothing,
    write(text) {
      send(["L", { level, text: String(text).replace(/\n$/, "") }]);
      return true;
    },
  };
}

function define(name, value) {
  Object.defineProperty(globalThis, name, {
    value, writable: true, configurable: true, enumerable: false,
  });
}

const install = (name) => new vm.Script(furnishings.sources[name], { filename: `cupola:${name}` })
  .runInThisContext();

// ------------------------------------------------------------------------------------ operations

const pending = new Map();
const queued = [];
let asked = 0;

/** Ask the engine; at most some operations of an action run at once, the others wait. */
function operate(op, args) {
  return new Promise((resolve, reject) => {
    queued.push({ op, args, resolve, reject });
    next();
  });
}

function next() {
  while (queued.length > 0 && pending.size < OPERATIONS_MAX) {
    const { op, args, resolve, reject } = queued.shift();
    pending.set(++asked, { op, resolve, reject });
    send(["S", { id: asked, op, args }]);
  }
}

function answered({ id, ok, text }) {
  const operation = pending.get(id);
  if (operation === undefined) return;
  pending.delete(id);
  next();
  if (ok) {
    operation.resolve(text);
    return;
  }
  const { message, data } = JSON.parse(text);
  const error = new Error(message);
  if (data !== undefined) error.data = data;
  operation.reject(error);
}

function installAbi() {
  globalThis.Convex = {
    syscall(op) {
      throw new Error(`Unknown operation ${op}`);
    },
    async asyncSyscall(op, args) {
      if (typeof op !== "string" || typeof args !== "string") {
        throw new TypeError("A syscall takes two strings: its name, and its arguments as JSON.");
      }
      return await operate(op, args);
    },
    jsSyscall(op, args) {
      switch (op) {
        case "storage/storeBlob":
          return storeBlob(args);
        case "storage/getBlob":
          return getBlob(args);
        case "requestFromConvexJson":
          return requestOf(args.convexJson);
        case "convexJsonFromResponse":
          return describeResponse(args.response);
      }
      throw new Error(`Unknown JS syscall: ${op}`);
    },
  };
}

// ----------------------------------------------------------------------------------------- files

const PIECE_BYTES = 1 << 18;
const toBase64 = (bytes) =>
  NodeBuffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
const fromBase64 = (text) => new Uint8Array(NodeBuffer.from(text, "base64"));
const ask = async (op, args) => JSON.parse(await operate(op, JSON.stringify(args)));

async function storeBlob({ blob, options }) {
  if (!(blob instanceof Blob)) throw new Error("store() expects a Blob.");
  const sha256 = options?.sha256 ?? null;
  const upload = await ask("storage/begin", { contentType: blob.type || null, sha256 });
  for (let at = 0; at < blob.size; at += PIECE_BYTES) {
    const piece = new Uint8Array(await blob.slice(at, at + PIECE_BYTES).arrayBuffer());
    await ask("storage/write", { upload, data: toBase64(piece) });
  }
  return await ask("storage/finish", { upload });
}

async function getBlob({ storageId }) {
  const found = await ask("1.0/storageGetMetadata", { storageId });
  if (found === null) return null;
  const pieces = [];
  for (let start = 0; start < found.size; start += PIECE_BYTES) {
    const end = Math.min(start + PIECE_BYTES, found.size);
    pieces.push(fromBase64(await ask("storage/read", { storageId, start, end })));
  }
  return new Blob(pieces, { type: found.contentType ?? "" });
}

// ---------------------------------------------------------------------------------- HTTP actions

const gone = new AbortController(); // the client has closed the connection
let answerBody = null; // of the one response that this realm makes

function requestOf({ url, method, headerPairs, streamId }) {
  const body = streamId === null ? null : new ReadableStream({
    async pull(controller) {
      const part = await ask("http/body", {});
      if (part === null) controller.close();
      else controller.enqueue(fromBase64(part));
    },
  }, { highWaterMark: 0 });
  const { signal } = gone;
  return new Request(url, { method, headers: headerPairs, body, signal, duplex: "half" });
}

function describeResponse(response) {
  if (!(response instanceof Response)) {
    throw new Error("An HTTP action must return a Response.");
  }
  answerBody = response.body;
  const streamId = answerBody === null ? null : "answer";
  return { status: response.status, headerPairs: [...response.headers], streamId };
}

async function serve(namespace, request, routedPath) {
  const router = namespace.default;
  if (router?.isRouter !== true) throw new Error("The default export of `http.js` is no router.");
  const text = await router.runRequest(JSON.stringify(request), routedPath);
  const { status, headerPairs } = JSON.parse(text);
  await ask("http/head", { status, headers: headerPairs });
  if (answerBody === null) return;
  for await (const chunk of answerBody) {
    const bytes = typeof chunk === "string" ? NodeBuffer.from(chunk) : chunk;
    for (let at = 0; at < bytes.byteLength; at += PIECE_BYTES) {
      await ask("http/part", { data: toBase64(bytes.subarray(at, at + PIECE_BYTES)) });
    }
  }
}

// --------------------------------------------------------------------------------------- modules

const modules = new Map();
const BUILT_IN = new Set(builtinModules);

function builtInOf(specifier) {
  const name = specifier.replace(/^node:/, "");
  return BUILT_IN.has(name) ? `node:${name}` : null;
}

/** The key of an npm package, or of a module in one; null if that is no name of one. */
function packageOf(specifier) {
  const isName = !/^(\.{0,2}\/|[a-z]+:)/.test(specifier);
  return furnishings.packages !== null && isName ? `npm:${specifier}` : null;
}

function resolve(specifier, referrer) {
  const { sources } = furnishings.bundle;
  let path = null;
  try {
    if (!/^(\.{0,2}\/|[a-z]+:)/.test(specifier)) throw new TypeError("a bare name");
    const url = new URL(specifier, `convex:/${referrer}`);
    if (url.protocol === "convex:") path = decodeURIComponent(url.pathname).replace(/^\//, "");
  } catch {
    // a bare name
  }
  if (path !== null && !sources.has(path) && sources.has(`${path}.js`)) path = `${path}.js`;
  if (path === null && sources.get(referrer)?.isNode) {
    throw new Error(
      `"${specifier}", imported from "${referrer}", is not bundled, and not among the packages ` +
        "that were pushed: name it in `node.externalPackages` in convex.json, and push again.",
    );
  }
  if (path === null || !sources.has(path)) {
    throw new Error(`Couldn't find module "${specifier}", imported from "${referrer}"`);
  }
  return path;
}

async function load(specifier, referrer, isNode) {
  const foreign = isNode ? builtInOf(specifier) ?? packageOf(specifier) : null;
  const key = foreign ?? resolve(specifier, referrer);
  let loading = modules.get(key);
  if (loading === undefined) {
    loading = foreign !== null ? loadForeign(foreign) : compile(key);
    modules.set(key, loading);
  }
  return await loading;
}

async function importPackage(name) {
  const { load } = await import(`${furnishings.packages}/cupola.mjs`);
  return await load(name);
}

/** A module of Node or npm, which is not evaluated here. */
async function loadForeign(name) {
  const exported = name.startsWith("npm:")
    ? await importPackage(name.slice("npm:".length))
    : await import(name);
  return new vm.SyntheticModule(Object.keys(exported), function () {
    for (const each of Object.keys(exported)) this.setExport(each, exported[each]);
  }, { identifier: name });
}

async function compile(path) {
  const { source, isNode } = furnishings.bundle.sources.get(path);
  return new vm.SourceTextModule(source, {
    identifier: `convex:/${path}`,
    initializeImportMeta: (meta) => {
      meta.url = `convex:/${path}`;
    },
    importModuleDynamically: async (specifier) => await evaluated(specifier, path, isNode),
  });
}

async function link(module, path, isNode, seen) {
  if (module.status !== "unlinked" || seen.has(module)) return;
  seen.add(module);
  await module.link(async (specifier, referrer) => {
    const from = referrer.identifier.replace(/^convex:\//, "");
    return await load(specifier, from, isNode);
  });
}

async function evaluated(specifier, referrer, isNode) {
  const module = await load(specifier, referrer, isNode);
  await link(module, specifier, isNode, new Set());
  if (module.status === "linked") await module.evaluate();
  if (module.status === "errored") throw module.error;
  return module;
}

// ------------------------------------------------------------------------------------------ calls

/** All that can be done before anybody calls. */
function furnish(data) {
  furnishings = data;
  furnishings.bundle.sources = new Map(
    furnishings.bundle.modules.map(([each, source, node]) => [each, { source, isNode: node }]),
  );
  install("console")(
    { log: (level, text) => send(["L", { level, text }]) },
    { monotonicMs: performance.now.bind(performance) },
  );
  describe = install("failures")();
  lookAt = install("exports")();
  installAbi();
}

async function run({ path, component, name, args, isNode, look, http }) {
  hide(isNode, component);
  let over = false;
  const end = (kind, message) => {
    if (over) return;
    over = true;
    send([kind, message]);
  };
  const fail = (error) => end("E", JSON.parse(describe(error)));
  addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    fail(event.reason);
  });
  addEventListener("error", (event) => {
    event.preventDefault();
    fail(event.error);
  });
  if (isNode) forbidExit(fail);
  try {
    const { namespace } = await evaluated(`./${path}`, "", isNode);
    if (look !== undefined) {
      end("V", { value: lookAt(look, namespace, path) });
      return;
    }
    const value = http === undefined
      ? await invoke(namespace, path, name, args)
      : await serve(namespace, http.request, http.routedPath) ?? "null";
    // Rejections of promises that nobody holds are reported in a turn of their own.
    await new Promise((resolve) => schedule(resolve));
    warnOfUnawaited();
    end("V", { value });
  } catch (error) {
    fail(error);
  }
}

async function invoke(namespace, path, name, args) {
  const found = namespace[name];
  if (found === undefined) throw new Error(`Couldn't find \`${name}\` in module \`${path}\`.`);
  if (typeof found.invokeAction !== "function") {
    throw new Error(`Function \`${path}:${name}\` is not an action; was it wrapped?`);
  }
  const value = await found.invokeAction("", args);
  if (typeof value !== "string") {
    throw new Error(`\`${path}:${name}\` did not return its result as a string.`);
  }
  return value;
}

function warnOfUnawaited() {
  if (pending.size === 0) return;
  const names = [...pending.values()].map(({ op }) => op.replace(/^1\.0\/(actions\/)?/, ""));
  const text = `${pending.size} unawaited operation${pending.size > 1 ? "s" : ""}: ` +
    `[${names.join(", ")}]. Async operations should be awaited or they might not run.`;
  send(["L", { level: "WARN", text }]);
}

addEventListener("message", ({ data }) => {
  switch (data.type) {
    case "furnish":
      furnish(data);
      break;
    case "run":
      void run(data);
      break;
    case "answer":
      answered(data);
      break;
    case "gone":
      gone.abort();
      break;
  }
});
