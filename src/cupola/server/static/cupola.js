/**
 * Cupola for pages without a build step: live queries, mutations and actions over one WebSocket.
 *
 *     import { Cupola } from "/cupola.js";
 *     const cupola = new Cupola();
 *     cupola.subscribe("messages:list", { channel: "general" }, (messages) => render(messages));
 *     await cupola.mutation("messages:send", { channel: "general", author: "Ada", body: "Hello" });
 *
 * How it stays correct. The client holds a *query set* and the results of all its queries at one
 * timestamp; each Transition of the server moves every result from one version to the next, together.
 * A Transition that does not start where the last one ended is never applied: the client reconnects.
 * Nothing of a connection survives it: after a reconnect the client states everything again (session,
 * token, queries with their journals, unanswered mutations), and the server recognises a mutation it
 * has already carried out by session and request id. So results are never stale for good and never go
 * back, and a mutation takes effect exactly once. An action cannot be repeated safely: it fails.
 *
 * @typedef {any} Value null, boolean, number, bigint (int64), string, ArrayBuffer (bytes), an array or plain object of these
 * @typedef {Record<string, any>} Args
 * @typedef {{ connection: "connecting" | "connected" | "disconnected", hasPendingMutations: boolean }} State
 * @typedef {{ get(path: string, args?: Args): any, set(path: string, args: Args, value: any): void }} LocalResults
 * @typedef {"LoadingFirstPage" | "CanLoadMore" | "LoadingMore" | "Exhausted"} PageStatus
 * @typedef {{ loadMore(count?: number): boolean, readonly status: PageStatus, stop(): void }} Pagination
 * @typedef {{ tokenType: string, value?: string, onRejected?: (error: CupolaError) => void }} Auth
 * @typedef {{ value?: any, error?: CupolaError }} Outcome
 * @typedef {{ onResult: (value: any) => void, onError: (error: CupolaError) => void, seen?: Outcome }} Listener
 * @typedef {{ id: number, key: string, path: string, args: any, journal: string | null, outcome?: Outcome,
 *             shown?: Outcome, isRestated?: boolean, listeners: Set<Listener> }} Query
 * @typedef {{ type: "Mutation" | "Action", requestId: number, udfPath: string, args: any[] }} RequestMessage
 * @typedef {{ message: RequestMessage, sent: boolean, answer?: { value: any, ts: bigint },
 *             optimistic?: (local: LocalResults) => void, resolve: (value: any) => void,
 *             reject: (error: Error) => void }} Request
 */

const PROTOCOL_VERSION = "1.48.0"; // the release of the published client whose protocol we speak
const INACTIVITY_MS = 60_000; // the server pings every 15 s
const SILENCE_SUSPECT_MS = 20_000; // after this long, a page that wakes up does not trust its socket
const RETRY_BASE_MS = 500;
const RETRY_BASE_OVERLOADED_MS = 3_000;
const RETRY_MAX_MS = 16_000;
const PENDING_REQUESTS_MAX = 1_000; // as many as the server accepts from one connection
const TRY_AGAIN_LATER = 1013; // the close code of an overloaded server
const ZERO_VERSION = { querySet: 0, identity: 0, ts: "AAAAAAAAAAA=" };

/**
 * What a failed call rejects with. `data` is what the function gave to `ApplicationError`, else undefined.
 * `code` is set for errors of the connection: ConnectionLost, Closed, FatalError, AuthError, TooManyRequests.
 */
export class CupolaError extends Error {
  /** @param {string} message @param {{ data?: Value, code?: string }} [details] */
  constructor(message, { data, code } = {}) {
    super(message);
    this.name = "CupolaError";
    this.data = data;
    this.code = code;
  }
}

// ------------------------------------------------------------------------------------------ values

/** @param {ArrayBuffer | ArrayBufferView} buffer */
function toBase64(buffer) {
  const bytes = ArrayBuffer.isView(buffer)
    ? new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength)
    : new Uint8Array(buffer);
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

/** @param {string} text @returns {ArrayBuffer} */
function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0)).buffer;
}

/** @param {"setBigInt64" | "setFloat64"} setter @param {any} number */
function eightBytes(setter, number) {
  const view = new DataView(new ArrayBuffer(8));
  /** @type {any} */ (view)[setter](0, number, true);
  return toBase64(view);
}

/**
 * A value in the wire's JSON: int64 (bigint), bytes (ArrayBuffer) and special floats in their `$` forms,
 * names sorted, undefined fields left out.
 *
 * @param {any} value @param {string} [where] a path such as `.items[3]`, for the error
 * @returns {any} what JSON.stringify can write
 */
export function toWire(value, where = "") {
  const refuse = (/** @type {string} */ why) => new TypeError(`${where || "The value"} ${why}.`);
  switch (typeof value) {
    case "boolean":
      return value;
    case "number":
      if (Number.isFinite(value) && !Object.is(value, -0)) return value;
      return { $float: eightBytes("setFloat64", value) };
    case "bigint":
      if (BigInt.asIntN(64, value) !== value) throw refuse(`is ${value}, which does not fit in 64 bits`);
      return { $integer: eightBytes("setBigInt64", value) };
    case "string":
      if (/** @type {any} */ (value).isWellFormed?.() === false) throw refuse("is a string with a lone surrogate");
      return value;
  }
  if (value === null) return null;
  if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) return { $bytes: toBase64(value) };
  if (Array.isArray(value)) return value.map((item, index) => toWire(item, `${where}[${index}]`));
  const prototype = typeof value === "object" ? Object.getPrototypeOf(value) : undefined;
  if (prototype !== null && prototype?.constructor?.name !== "Object") {
    const kind = typeof value === "object" ? value.constructor?.name : typeof value;
    throw refuse(`is of type ${kind}, which Cupola cannot store`);
  }
  /** @type {Record<string, any>} */
  const fields = Object.create(null); // so that a field named __proto__ is a field
  for (const name of Object.keys(value).sort()) {
    if (value[name] === undefined) continue;
    if (name.startsWith("$")) throw refuse(`has a field named "${name}": names must not start with "$"`);
    fields[name] = toWire(value[name], `${where}.${name}`);
  }
  return fields;
}

/** The value of a parsed piece of wire JSON. @param {any} tree @returns {any} */
export function fromWire(tree) {
  if (tree === null || typeof tree !== "object") return tree;
  if (Array.isArray(tree)) return tree.map(fromWire);
  const names = Object.keys(tree);
  if (names.length === 1 && names[0].startsWith("$")) {
    const bytes = fromBase64(tree[names[0]]);
    if (names[0] === "$bytes") return bytes;
    if (names[0] === "$integer") return new DataView(bytes).getBigInt64(0, true);
    if (names[0] === "$float") return new DataView(bytes).getFloat64(0, true);
    throw new TypeError(`The server sent the unknown form "${names[0]}".`);
  }
  return Object.fromEntries(names.map((name) => [name, fromWire(tree[name])]));
}

/** @param {string} ts eight little-endian bytes in base64 */
const timestamp = (ts) => new DataView(fromBase64(ts)).getBigUint64(0, true);

// ------------------------------------------------------------------------------------------ client

export class Cupola {
  #url; #WebSocket; #console;
  #sessionId = newSessionId();
  /** @type {any} */ #socket = null; // null while waiting to retry
  #isOpen = false; // Connect was sent
  #isHeard = false; // the server has spoken on this connection
  #heardAt = 0;
  #connectionCount = 0;
  #failures = 0;
  #closeReason = "InitialConnect";
  /** @type {any} */ #retryTimer;
  /** @type {any} */ #inactivityTimer;
  /** @type {CupolaError | null} */ #ended = null; // closed by the app, or by a FatalError

  /** @type {Map<string, Query>} */ #queries = new Map(); // by path and arguments: equal subscriptions share one
  /** @type {Map<number, Query>} */ #queriesById = new Map();
  /** @type {Map<number, "Add" | "Remove">} */ #changes = new Map(); // of the query set, not yet sent
  /** @type {Map<number, Request>} */ #requests = new Map(); // in the order they were made
  #nextQueryId = 0; #nextRequestId = 0; #nextPaginationId = 0;
  #version = ZERO_VERSION; // what the server last took us to
  #querySetVersion = 0; #identityVersion = 0; // what we last asked for
  /** @type {string | undefined} */ #observedTs; // the newest timestamp seen, over all connections
  /** @type {string[]} */ #chunks = []; #chunkedId = "";
  /** @type {Auth | null} */ #auth = null;
  /** @type {Set<(state: State) => void>} */ #stateListeners = new Set();
  /** @type {State} */ #state = { connection: "connecting", hasPendingMutations: false };
  #wake = () => this.#wakeUp();

  /**
   * @param {string} [url] the address of the server; the origin of the page by default
   * @param {{ webSocket?: any, console?: Pick<Console, "debug" | "info" | "log" | "warn" | "error"> }} [options]
   *     `webSocket`: a constructor to use instead of the global one; `console`: where log lines go
   */
  constructor(url = globalThis.location?.origin, options = {}) {
    if (!url) throw new TypeError('Outside a page, say where the server is: new Cupola("http://127.0.0.1:3210").');
    this.#url = `${url.replace(/^http/, "ws").replace(/\/+$/, "")}/api/${PROTOCOL_VERSION}/sync`;
    this.#WebSocket = options.webSocket ?? globalThis.WebSocket;
    this.#console = options.console ?? globalThis.console;
    if (!this.#WebSocket) throw new TypeError("There is no WebSocket here: use Node 22 or newer, or pass { webSocket }.");
    globalThis.addEventListener?.("online", this.#wake);
    globalThis.document?.addEventListener("visibilitychange", this.#wake);
    this.#connect();
  }

  /**
   * Follow a query. `onResult` gets its result now and whenever it changes, never before this returns;
   * `onError` gets a CupolaError when the query fails (it may succeed again later).
   *
   * @param {string} path @param {Args} args @param {(value: any) => void} onResult
   * @param {(error: CupolaError) => void} [onError] @returns {() => void} unsubscribe
   */
  subscribe(path, args, onResult, onError) {
    if (this.#ended) throw this.#ended;
    const wireArgs = toWire(args ?? {}, "args");
    const key = keyOf(path, wireArgs);
    let query = this.#queries.get(key);
    if (!query) {
      query = { id: this.#nextQueryId++, key, path, args: wireArgs, journal: null, listeners: new Set() };
      this.#queries.set(key, query);
      this.#queriesById.set(query.id, query);
      this.#changeQuerySet(query.id, "Add");
    }
    const subscribed = query;
    onError ??= (error) => this.#console.error(`[cupola] ${path}: ${error.message}`);
    const listener = /** @type {Listener} */ ({ onResult, onError });
    subscribed.listeners.add(listener);
    if (subscribed.shown) queueMicrotask(() => this.#deliver(subscribed, listener));
    return () => {
      if (!subscribed.listeners.delete(listener) || subscribed.listeners.size) return;
      this.#queries.delete(key);
      this.#queriesById.delete(subscribed.id);
      this.#changeQuerySet(subscribed.id, "Remove");
    };
  }

  /** Run a query once. @param {string} path @param {Args} [args] @returns {Promise<any>} */
  async query(path, args = {}) {
    return new Promise((resolve, reject) => {
      const unsubscribe = this.subscribe(
        path, args,
        (value) => { unsubscribe(); resolve(value); },
        (error) => { unsubscribe(); reject(error); },
      );
    });
  }

  /**
   * Change data. Mutations take effect in the order of these calls, each exactly once, however often the
   * connection breaks. Resolves when every subscription shows its effect. `optimistic` may change the local
   * results at once: `(local) => local.set(path, args, [...local.get(path, args), item])`; it is undone when
   * the server's answer shows, and may run several times.
   *
   * @param {string} path @param {Args} [args] @param {{ optimistic?: (local: LocalResults) => void }} [options]
   * @returns {Promise<any>}
   */
  async mutation(path, args = {}, { optimistic } = {}) {
    return this.#request("Mutation", path, args, optimistic);
  }

  /**
   * Run an action. Rejects with code ConnectionLost if the connection breaks while it runs: whether it took
   * effect is then unknown.
   *
   * @param {string} path @param {Args} [args] @returns {Promise<any>}
   */
  async action(path, args = {}) {
    return this.#request("Action", path, args);
  }

  /**
   * Follow a paginated query (one that takes `paginationOpts`) page by page. `onPages` gets all loaded items
   * in order whenever any changes; pages stay adjacent as documents come and go, without gaps or repeats.
   *
   * @param {string} path @param {Args} args without `paginationOpts`
   * @param {{ pageSize?: number } | undefined} options 20 items per page by default
   * @param {(items: any[], status: PageStatus) => void} onPages @param {(error: CupolaError) => void} [onError]
   * @returns {Pagination}
   */
  paginate(path, args, { pageSize = 20 } = {}, onPages, onError) {
    onError ??= (error) => this.#console.error(`[cupola] ${path}: ${error.message}`);
    /** @type {typeof onPages} */
    const guarded = (items, status) => this.#call(() => onPages(items, status));
    return new Pages(this, path, args, pageSize, guarded, onError, () => this.#nextPaginationId++);
  }

  /** @returns {State} */
  get state() {
    return this.#state;
  }

  /** Calls back now and at every change. @param {(state: State) => void} callback @returns {() => void} */
  onState(callback) {
    this.#stateListeners.add(callback);
    callback(this.#state);
    return () => void this.#stateListeners.delete(callback);
  }

  /**
   * Act as the user of this token from here on, or as nobody (null). When the server refuses the token, now or
   * when it expires, `onRejected` is called and the client goes on as nobody.
   *
   * @param {string | null} token @param {(error: CupolaError) => void} [onRejected]
   */
  setAuth(token, onRejected) {
    this.#authenticate(token === null ? null : { tokenType: "User", value: token, onRejected });
  }

  /** Act as an administrator. @param {string} key @param {(error: CupolaError) => void} [onRejected] */
  setAdminAuth(key, onRejected) {
    this.#authenticate({ tokenType: "Admin", value: key, onRejected });
  }

  /** Close for good. Calls and subscriptions that were not answered yet get an error with code Closed. */
  close() {
    this.#end(new CupolaError("This client was closed.", { code: "Closed" }));
  }

  // ------------------------------------------------------------------------------ the connection

  #connect() {
    clearTimeout(this.#retryTimer);
    const socket = new this.#WebSocket(this.#url);
    this.#socket = socket;
    this.#expectWord();
    socket.onopen = () => this.#introduce();
    socket.onmessage = (/** @type {any} */ event) => this.#hear(event.data);
    socket.onerror = () => {}; // a close event follows
    socket.onclose = (/** @type {any} */ event) =>
      this.#lose(event.reason || `closed with code ${event.code}`, event.code);
    this.#report();
  }

  /** State everything again: the server has forgotten all but the mutations it carried out. */
  #introduce() {
    this.#isOpen = true;
    this.#version = ZERO_VERSION;
    this.#querySetVersion = this.#identityVersion = 0;
    this.#send({
      type: "Connect", sessionId: this.#sessionId, connectionCount: this.#connectionCount++,
      lastCloseReason: this.#closeReason, maxObservedTimestamp: this.#observedTs, clientTs: Date.now(),
    });
    if (this.#auth) this.#sendAuthenticate();
    this.#changes = new Map([...this.#queriesById.keys()].map((id) => [id, "Add"]));
    for (const query of this.#queries.values()) query.isRestated = true;
    this.#sendQuerySet();
    for (const request of this.#requests.values()) this.#sendRequest(request);
  }

  /** The connection is gone, or not to be trusted any more. @param {string} reason @param {number} [code] */
  #lose(reason, code) {
    if (this.#ended) return;
    this.#dropSocket();
    this.#closeReason = reason;
    for (const [id, request] of this.#requests) {
      if (request.message.type === "Action" && request.sent) {
        this.#requests.delete(id);
        request.reject(new CupolaError(
          `The connection was lost while the action ${request.message.udfPath} ran; it may or may not have taken effect.`,
          { code: "ConnectionLost" },
        ));
      }
      request.sent = false;
    }
    const base = code === TRY_AGAIN_LATER ? RETRY_BASE_OVERLOADED_MS : RETRY_BASE_MS;
    const delay = Math.min(base * 2 ** this.#failures++, RETRY_MAX_MS) * (0.5 + Math.random());
    this.#retryTimer = setTimeout(() => this.#connect(), delay);
    this.#report();
  }

  #dropSocket() {
    const socket = this.#socket;
    this.#socket = null;
    this.#isOpen = this.#isHeard = false;
    this.#chunks = [];
    clearTimeout(this.#inactivityTimer);
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  /** Lose the connection unless the server says something in time; this covers the opening, too. */
  #expectWord() {
    this.#heardAt = Date.now();
    clearTimeout(this.#inactivityTimer);
    this.#inactivityTimer = setTimeout(() => this.#lose("InactiveServer"), INACTIVITY_MS);
  }

  /** The network came back, or the page became visible: do not wait for a timer that may have slept. */
  #wakeUp() {
    if (globalThis.document?.visibilityState === "hidden") return;
    if (this.#socket && Date.now() - this.#heardAt > SILENCE_SUSPECT_MS) this.#lose("InactiveServer");
    if (!this.#socket && !this.#ended) this.#connect();
  }

  /** @param {CupolaError} error */
  #end(error) {
    if (this.#ended) return;
    this.#ended = error;
    this.#dropSocket();
    clearTimeout(this.#retryTimer);
    globalThis.removeEventListener?.("online", this.#wake);
    globalThis.document?.removeEventListener("visibilitychange", this.#wake);
    for (const request of this.#requests.values()) request.reject(error);
    this.#requests.clear();
    for (const query of this.#queries.values()) if (error.code !== "Closed" || !query.outcome) query.outcome = { error };
    this.#show();
    this.#report();
  }

  /** @param {any} message */
  #send(message) {
    this.#socket.send(JSON.stringify(message));
  }

  /** Tell the state's listeners, if it changed. */
  #report() {
    const connection = this.#isHeard ? "connected" : this.#socket ? "connecting" : "disconnected";
    const hasPendingMutations = [...this.#requests.values()].some(({ message }) => message.type === "Mutation");
    if (connection === this.#state.connection && hasPendingMutations === this.#state.hasPendingMutations) return;
    this.#state = { connection, hasPendingMutations };
    for (const listener of this.#stateListeners) this.#call(listener, this.#state);
  }

  /** Run a callback of the app: its exceptions are its own. @param {(argument: any) => void} callback @param {any} [argument] */
  #call(callback, argument) {
    try {
      callback(argument);
    } catch (error) {
      this.#console.error(error);
    }
  }

  // --------------------------------------------------------------------- what goes to the server

  /** @param {number} id @param {"Add" | "Remove"} change */
  #changeQuerySet(id, change) {
    if (!this.#changes.size) queueMicrotask(() => this.#isOpen && this.#changes.size && this.#sendQuerySet());
    if (change === "Remove" && this.#changes.get(id) === "Add") this.#changes.delete(id);
    else this.#changes.set(id, change);
  }

  /** All changes since the last time, in one message: they take effect in one Transition. */
  #sendQuerySet() {
    const modifications = [...this.#changes].map(([queryId, type]) => {
      const query = this.#queriesById.get(queryId);
      if (!query) return { type: "Remove", queryId };
      return { type, queryId, udfPath: query.path, args: [query.args], journal: query.journal ?? undefined };
    });
    this.#changes.clear();
    const baseVersion = this.#querySetVersion++;
    this.#send({ type: "ModifyQuerySet", baseVersion, newVersion: this.#querySetVersion, modifications });
  }

  /**
   * @param {"Mutation" | "Action"} type @param {string} path @param {Args} args
   * @param {(local: LocalResults) => void} [optimistic] @returns {Promise<any>}
   */
  #request(type, path, args, optimistic) {
    if (this.#ended) throw this.#ended;
    if (this.#requests.size >= PENDING_REQUESTS_MAX) {
      throw new CupolaError(`More than ${PENDING_REQUESTS_MAX} calls wait for an answer.`, { code: "TooManyRequests" });
    }
    const message = { type, requestId: this.#nextRequestId, udfPath: path, args: [toWire(args, "args")] };
    return new Promise((resolve, reject) => {
      const request = { message, sent: false, optimistic, resolve, reject };
      this.#requests.set(this.#nextRequestId++, request);
      if (this.#isOpen) this.#sendRequest(request);
      if (optimistic) this.#show();
      this.#report();
    });
  }

  /** @param {Request} request */
  #sendRequest(request) {
    if (request.answer) return; // carried out: the next Transition is at its timestamp or later
    this.#send(request.message);
    request.sent = true;
  }

  /** @param {Auth | null} auth */
  #authenticate(auth) {
    this.#auth = auth;
    if (this.#isOpen) this.#sendAuthenticate();
  }

  #sendAuthenticate() {
    const { tokenType, value } = this.#auth ?? { tokenType: "None", value: undefined };
    this.#send({ type: "Authenticate", baseVersion: this.#identityVersion++, tokenType, value });
  }

  // ------------------------------------------------------------------- what comes from the server

  /** @param {string} frame */
  #hear(frame) {
    try {
      this.#expectWord();
      this.#receive(JSON.parse(frame));
    } catch (error) {
      this.#console.error("[cupola] The server sent something unexpected; connecting again.", error);
      this.#lose("ProtocolFailure");
    }
  }

  /** @param {any} message */
  #receive(message) {
    if (message.type !== "AuthError") this.#isHeard = true;
    if (message.type !== "TransitionChunk" && message.type !== "Ping") this.#chunks = [];
    switch (message.type) {
      case "Transition":
        this.#transition(message);
        break;
      case "TransitionChunk":
        this.#transitionChunk(message);
        break;
      case "MutationResponse":
      case "ActionResponse":
        this.#response(message);
        break;
      case "AuthError":
        this.#authError(message);
        break;
      case "FatalError":
        this.#fatalError(message.error);
    } // Ping, and whatever a later server adds, need no answer
    this.#report();
  }

  /** @param {any} message */
  #transition({ startVersion, endVersion, modifications }) {
    const { querySet, identity, ts } = this.#version;
    if (startVersion.querySet !== querySet || startVersion.identity !== identity || startVersion.ts !== ts) {
      throw new Error(`Transition from ${JSON.stringify(startVersion)} at ${JSON.stringify(this.#version)}`);
    }
    const outcomes = modifications.map(outcomeOf); // before anything changes: all or nothing
    this.#version = endVersion;
    this.#observe(endVersion.ts);
    this.#failures = 0;
    modifications.forEach((/** @type {any} */ modification, /** @type {number} */ index) => {
      const query = this.#queriesById.get(modification.queryId);
      if (!query || !outcomes[index]) return;
      const outcome = /** @type {Outcome} */ (outcomes[index]);
      if (!query.isRestated || !isSameOutcome(query.outcome, outcome)) query.outcome = outcome;
      query.isRestated = false;
      if (modification.journal !== undefined) query.journal = modification.journal;
      this.#print("Q", query.path, modification.logLines);
    });
    this.#settle();
  }

  /** @param {any} part */
  #transitionChunk({ chunk, partNumber, totalParts, transitionId }) {
    if (partNumber === 0) this.#chunks = [];
    else if (partNumber !== this.#chunks.length || transitionId !== this.#chunkedId) {
      throw new Error(`Part ${partNumber} of ${totalParts} came after ${this.#chunks.length} parts`);
    }
    this.#chunkedId = transitionId;
    this.#chunks.push(chunk);
    if (this.#chunks.length < totalParts) return;
    const whole = this.#chunks.join("");
    this.#chunks = [];
    this.#transition(JSON.parse(whole));
  }

  /** @param {any} response */
  #response({ type, requestId, success, result, ts, errorData, logLines }) {
    const request = this.#requests.get(requestId);
    if (!request || request.answer) return; // an old answer to a call that was sent twice
    const value = success ? fromWire(result) : undefined;
    this.#print(type[0], request.message.udfPath, logLines);
    if (success && type === "MutationResponse") {
      request.answer = { value, ts: timestamp(ts) };
      this.#observe(ts);
      if (request.answer.ts <= timestamp(this.#version.ts)) this.#settle(); // the Transition came first
      return;
    }
    this.#requests.delete(requestId);
    if (request.optimistic) this.#show();
    if (success) request.resolve(value);
    else request.reject(errorOf(result, errorData));
  }

  /** Show the results; then resolve the mutations whose effects they show. */
  #settle() {
    const now = timestamp(this.#version.ts);
    const done = [...this.#requests.values()].filter(({ answer }) => answer && answer.ts <= now);
    for (const { message } of done) this.#requests.delete(message.requestId);
    this.#show();
    for (const { answer, resolve } of done) resolve(answer?.value);
  }

  /** @param {string} ts */
  #observe(ts) {
    if (!this.#observedTs || timestamp(ts) > timestamp(this.#observedTs)) this.#observedTs = ts;
  }

  /** The server closes after this; the next connection goes on with the newer token, or without one. @param {any} message */
  #authError({ error, baseVersion, authUpdateAttempted }) {
    const isStale = authUpdateAttempted
      ? baseVersion + 1 < this.#identityVersion // another token was sent after the one refused
      : this.#identityVersion > this.#version.identity; // one has expired that is being replaced
    if (isStale) return;
    const onRejected = this.#auth?.onRejected;
    this.#auth = null;
    const rejection = new CupolaError(error, { code: "AuthError" });
    if (onRejected) this.#call(onRejected, rejection);
    else this.#console.error(`[cupola] The server refused the token: ${error}`);
  }

  /** We broke the protocol: trying again would not help. @param {string} text */
  #fatalError(text) {
    const error = new CupolaError(text, { code: "FatalError" });
    this.#console.error(`[cupola] Stopped: ${text}`);
    this.#end(error);
  }

  // ------------------------------------------------------------------------- what the page sees

  /** Lay the optimistic updates over the server's results, and tell the listeners of what changed. */
  #show() {
    /** @type {Map<Query, Outcome>} */
    const layer = new Map();
    const find = (/** @type {string} */ path, /** @type {Args} */ args) =>
      this.#queries.get(keyOf(path, toWire(args ?? {}, "args")));
    /** @type {LocalResults} */
    const local = {
      get: (path, args = {}) => {
        const query = find(path, args);
        return query && (layer.get(query) ?? query.outcome)?.value;
      },
      set: (path, args, value) => {
        const query = find(path, args);
        if (query) layer.set(query, { value });
      },
    };
    for (const { optimistic } of this.#requests.values()) if (optimistic) this.#call(optimistic, local);
    const queries = [...this.#queries.values()];
    for (const query of queries) query.shown = layer.get(query) ?? query.outcome;
    for (const query of queries) for (const listener of [...query.listeners]) this.#deliver(query, listener);
  }

  /** @param {Query} query @param {Listener} listener */
  #deliver(query, listener) {
    const outcome = query.shown;
    if (!outcome || outcome === listener.seen || !query.listeners.has(listener)) return;
    listener.seen = outcome;
    if (outcome.error) this.#call(listener.onError, outcome.error);
    else this.#call(listener.onResult, outcome.value);
  }

  /** The log lines of a function, each at its level. @param {string} kind @param {string} path @param {string[]} lines */
  #print(kind, path, lines) {
    for (const line of lines ?? []) {
      const [, level = "LOG", text = line] = /^\[(DEBUG|ERROR|WARN|INFO|LOG)\] ([^]*)$/.exec(line) ?? [];
      /** @type {any} */ (this.#console)[level.toLowerCase()](`[${kind}(${path})] ${text}`);
    }
  }
}

/** A random UUID. (`crypto.randomUUID` is missing on pages that came without TLS.) */
function newSessionId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40; // version 4
  bytes[8] = (bytes[8] & 0x3f) | 0x80; // variant 1
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** @param {string} path @param {any} wireArgs with sorted names: equal arguments have equal texts */
const keyOf = (path, wireArgs) => `${path} ${JSON.stringify(wireArgs)}`;

/** @param {string} message @param {any} errorData present only for application errors */
const errorOf = (message, errorData) =>
  new CupolaError(message, errorData === undefined ? {} : { data: fromWire(errorData) });

/** @param {any} modification @returns {Outcome | undefined} undefined: the query is gone */
function outcomeOf({ type, value, errorMessage, errorData }) {
  if (type === "QueryUpdated") return { value: fromWire(value) };
  if (type === "QueryFailed") return { error: errorOf(errorMessage, errorData) };
  return undefined;
}

/**
 * Whether a new connection only repeats what is shown, which is no change to anybody.
 *
 * @param {Outcome | undefined} shown @param {Outcome} outcome
 */
function isSameOutcome(shown, outcome) {
  if (!shown || shown.error?.message !== outcome.error?.message) return false;
  const text = (/** @type {Outcome} */ { value, error }) =>
    JSON.stringify([value, error?.data].map((part) => part !== undefined && toWire(part)));
  try {
    return text(shown) === text(outcome);
  } catch {
    return false; // the page has put something else into the value it was given
  }
}

// -------------------------------------------------------------------------------------- pagination

/**
 * The pages of one paginated query, each a subscription of its own. A page begins where the one before it ended,
 * and keeps its end in its journal when it runs again: so no document is missed or shown twice. A page that has
 * grown too long is split: its two halves are loaded beside it, and take its place together.
 *
 * @typedef {{ cursor: string | null, endCursor?: string, result?: any, halves?: Page[], unsubscribe: () => void }} Page
 */
class Pages {
  #cupola; #path; #args; #pageSize; #onPages; #onError; #newId;
  #id = 0; // in the arguments: pages of different paginations are different subscriptions
  /** @type {Page[]} */ #pages = [];
  /** @type {PageStatus} */ #status = "LoadingFirstPage";
  #isStopped = false;
  #isScheduled = false;

  /**
   * @param {Cupola} cupola @param {string} path @param {Args} args @param {number} pageSize
   * @param {(items: any[], status: PageStatus) => void} onPages @param {(error: CupolaError) => void} onError
   * @param {() => number} newId
   */
  constructor(cupola, path, args, pageSize, onPages, onError, newId) {
    this.#cupola = cupola;
    this.#path = path;
    this.#args = args;
    this.#pageSize = pageSize;
    this.#onPages = onPages;
    this.#onError = onError;
    this.#newId = newId;
    this.#restart();
  }

  get status() {
    return this.#status;
  }

  /** Load the next page; false if there is none or one is already loading. @param {number} [count] */
  loadMore(count = this.#pageSize) {
    if (this.#isStopped || this.#status !== "CanLoadMore") return false;
    this.#pages.push(this.#open({ cursor: this.#pages.at(-1)?.result.continueCursor }, count));
    this.#schedule();
    this.#status = "LoadingMore";
    return true;
  }

  stop() {
    this.#isStopped = true;
    for (const page of this.#pages.splice(0)) this.#close(page);
  }

  /** Begin again at the first page. */
  #restart() {
    for (const page of this.#pages.splice(0)) this.#close(page);
    this.#id = this.#newId();
    this.#status = "LoadingFirstPage";
    this.#pages.push(this.#open({ cursor: null }));
  }

  /** @param {{ cursor: string | null, endCursor?: string }} range @param {number} [numItems] @returns {Page} */
  #open(range, numItems = this.#pageSize) {
    /** @type {Page} */
    const page = { ...range, unsubscribe: () => {} };
    const args = { ...this.#args, paginationOpts: { ...range, numItems, id: this.#id } };
    page.unsubscribe = this.#cupola.subscribe(this.#path, args,
      (result) => { page.result = result; this.#schedule(); },
      (error) => this.#fail(page, error));
    return page;
  }

  /** @param {Page} page */
  #close(page) {
    page.unsubscribe();
    page.halves?.forEach((half) => half.unsubscribe());
  }

  /** @param {Page} page @param {CupolaError} error */
  #fail(page, error) {
    const isLostPlace = error.message.includes("InvalidCursor")
      || /** @type {any} */ (error.data)?.paginationError === "InvalidCursor";
    // A cursor can become invalid, as when the query changes; one that was never given cannot.
    if (isLostPlace && (page.cursor !== null || page.result)) this.#restart();
    else this.#onError(error);
  }

  /** Show the pages once, after all listeners of this moment have run. */
  #schedule() {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    queueMicrotask(() => {
      this.#isScheduled = false;
      if (!this.#isStopped) this.#show();
    });
  }

  #show() {
    this.#pages = this.#pages.flatMap((page) => this.#split(page));
    const missing = this.#pages.findIndex(({ result }) => !result || result.pageStatus === "SplitRequired");
    const loaded = missing < 0 ? this.#pages : this.#pages.slice(0, missing);
    const items = loaded.flatMap(({ result }) => result.page);
    if (missing >= 0) this.#status = this.#pages[0].result ? "LoadingMore" : "LoadingFirstPage";
    else this.#status = this.#pages.at(-1)?.result.isDone ? "Exhausted" : "CanLoadMore";
    this.#onPages(items, this.#status);
  }

  /** The page itself, or its two halves once both are loaded. @param {Page} page @returns {Page[]} */
  #split(page) {
    if (page.halves) {
      if (!page.halves.every(({ result }) => result)) return [page];
      page.unsubscribe();
      return page.halves.flatMap((half) => this.#split(half));
    }
    const { splitCursor, pageStatus, continueCursor, page: items } = page.result ?? {};
    if (splitCursor && (pageStatus || items.length > 2 * this.#pageSize)) {
      page.halves = [
        this.#open({ cursor: page.cursor, endCursor: splitCursor }),
        this.#open({ cursor: splitCursor, endCursor: continueCursor }),
      ];
    }
    return [page];
  }
}
