// Web APIs of queries and mutations, made of this context's own objects; evaluated when one of them
// is first used. What would need the outside world fails with a message that says what to do.
(function (host, environment, loadPart) {
  "use strict";
  const { base64Decode, base64Encode, decodeText, encodingOf } = host;

  const tagged = (classes) => {
    for (const name of Object.keys(classes)) {
      Object.defineProperty(classes[name].prototype, Symbol.toStringTag, {
        value: name, configurable: true,
      });
    }
    return classes;
  };

  const missing = (what) => new Error(
    `Not implemented: ${what} in queries and mutations. Consider calling an action instead.`,
  );

  // -------------------------------------------------------------------------- errors and events

  const ERROR_CODES = {
    IndexSizeError: 1, NotFoundError: 8, NotSupportedError: 9, InvalidStateError: 11, SyntaxError: 12,
    InvalidAccessError: 15, SecurityError: 18, NetworkError: 19, AbortError: 20,
    QuotaExceededError: 22, TimeoutError: 23, DataCloneError: 25,
  };

  class DOMException extends Error {
    #name;
    constructor(message = "", options = "Error") {
      const name = typeof options === "object" && options !== null ? options.name ?? "Error" : options;
      super(String(message));
      if (typeof options === "object" && options !== null && "cause" in options) {
        this.cause = options.cause;
      }
      this.#name = String(name);
    }
    get name() {
      return this.#name;
    }
    get code() {
      return ERROR_CODES[this.#name] ?? 0;
    }
  }

  class Event {
    #type;
    #options;
    #prevented = false;
    target = null;
    currentTarget = null;
    stopped = false;
    constructor(type, options = {}) {
      if (arguments.length === 0) throw new TypeError("An event needs a type.");
      this.#type = String(type);
      this.#options = options ?? {};
      this.timeStamp = environment.clock.nowMs;
      Object.defineProperty(this, "stopped", { enumerable: false });
    }
    get type() { return this.#type; }
    get bubbles() { return Boolean(this.#options.bubbles); }
    get cancelable() { return Boolean(this.#options.cancelable); }
    get composed() { return Boolean(this.#options.composed); }
    get defaultPrevented() { return this.#prevented; }
    get isTrusted() { return false; }
    get eventPhase() { return this.currentTarget === null ? 0 : 2; }
    preventDefault() {
      if (this.cancelable) this.#prevented = true;
    }
    stopPropagation() {}
    stopImmediatePropagation() {
      this.stopped = true;
    }
    composedPath() {
      return this.currentTarget === null ? [] : [this.currentTarget];
    }
  }

  class CustomEvent extends Event {
    #detail;
    constructor(type, options = {}) {
      super(type, options);
      this.#detail = options?.detail ?? null;
    }
    get detail() { return this.#detail; }
  }

  class EventTarget {
    #listeners = [];
    addEventListener(type, listener, options) {
      if (listener === null || listener === undefined) return;
      const once = typeof options === "object" && options !== null && Boolean(options.once);
      const signal = typeof options === "object" && options !== null ? options.signal : undefined;
      if (signal?.aborted) return;
      if (this.#listeners.some((each) => each.type === type && each.listener === listener)) return;
      this.#listeners.push({ type: String(type), listener, once });
      signal?.addEventListener("abort", () => this.removeEventListener(type, listener));
    }
    removeEventListener(type, listener) {
      this.#listeners = this.#listeners.filter(
        (each) => each.type !== type || each.listener !== listener,
      );
    }
    dispatchEvent(event) {
      if (!(event instanceof Event)) throw new TypeError("dispatchEvent takes an Event.");
      event.target = event.currentTarget = this;
      for (const each of [...this.#listeners]) {
        if (each.type !== event.type) continue;
        if (each.once) this.removeEventListener(each.type, each.listener);
        if (typeof each.listener === "function") Reflect.apply(each.listener, this, [event]);
        else each.listener.handleEvent(event);
        if (event.stopped) break;
      }
      event.currentTarget = null;
      return !event.defaultPrevented;
    }
  }

  const SECRET = Symbol("made here");

  class AbortSignal extends EventTarget {
    #reason;
    #aborted = false;
    onabort = null;
    constructor(secret) {
      if (secret !== SECRET) throw new TypeError("Illegal constructor");
      super();
    }
    get aborted() { return this.#aborted; }
    get reason() { return this.#reason; }
    throwIfAborted() {
      if (this.#aborted) throw this.#reason;
    }
    static abort(reason) {
      const signal = new AbortSignal(SECRET);
      endSignal(SECRET, signal, reason);
      return signal;
    }
    static timeout() {
      throw missing("AbortSignal.timeout()");
    }
    static any(signals) {
      const joined = new AbortSignal(SECRET);
      for (const signal of signals) {
        if (signal.aborted) endSignal(SECRET, joined, signal.reason);
        else {
          signal.addEventListener("abort", () => endSignal(SECRET, joined, signal.reason));
        }
      }
      return joined;
    }
    static end(secret, signal, reason) {
      if (secret !== SECRET || signal.#aborted) return;
      signal.#aborted = true;
      signal.#reason = reason !== undefined
        ? reason : new DOMException("This operation was aborted", "AbortError");
      const event = new Event("abort");
      if (typeof signal.onabort === "function") signal.onabort(event);
      signal.dispatchEvent(event);
    }
  }
  const endSignal = AbortSignal.end;
  delete AbortSignal.end;

  class AbortController {
    #signal = new AbortSignal(SECRET);
    get signal() { return this.#signal; }
    abort(reason) {
      endSignal(SECRET, this.#signal, reason);
    }
  }

  // -------------------------------------------------------------------------------------- encoding

  class TextEncoder {
    get encoding() { return "utf-8"; }
    encode(text = "") {
      const source = String(text);
      const bytes = new Uint8Array(source.length * 3);
      return bytes.slice(0, this.encodeInto(source, bytes).written);
    }
    encodeInto(text, bytes) {
      const source = String(text);
      let read = 0;
      let written = 0;
      while (read < source.length) {
        let point = source.codePointAt(read);
        const units = point > 0xffff ? 2 : 1;
        if (point >= 0xd800 && point <= 0xdfff) point = 0xfffd;
        const size = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
        if (written + size > bytes.length) break;
        if (size === 1) {
          bytes[written] = point;
        } else {
          for (let i = size - 1; i > 0; i--) {
            bytes[written + i] = 0x80 | (point & 0x3f);
            point >>= 6;
          }
          bytes[written] = (0xf00 >> size) & 0xff | point;
        }
        written += size;
        read += units;
      }
      return { read, written };
    }
  }

  const viewOf = (source) => {
    if (source === undefined) return new Uint8Array(0);
    if (ArrayBuffer.isView(source)) {
      return new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
    }
    return new Uint8Array(source);
  };

  class TextDecoder {
    #label;
    #fatal;
    #ignoreBOM;
    #held = [];
    constructor(label = "utf-8", { fatal = false, ignoreBOM = false } = {}) {
      this.#label = encodingOf(String(label));
      if (this.#label === "") {
        throw new RangeError(`The encoding label provided ('${label}') is invalid.`);
      }
      this.#fatal = Boolean(fatal);
      this.#ignoreBOM = Boolean(ignoreBOM);
    }
    get encoding() { return this.#label; }
    get fatal() { return this.#fatal; }
    get ignoreBOM() { return this.#ignoreBOM; }
    decode(source, { stream = false } = {}) {
      let bytes = viewOf(source);
      if (this.#held.length > 0) {
        const joined = new Uint8Array(this.#held.length + bytes.length);
        joined.set(this.#held);
        joined.set(bytes, this.#held.length);
        bytes = joined;
        this.#held = [];
      }
      if (stream && this.#label === "utf-8") {
        const whole = bytes.length - unfinished(bytes);
        this.#held = [...bytes.subarray(whole)];
        bytes = bytes.subarray(0, whole);
      }
      const answer = decodeText(this.#label, this.#fatal, this.#ignoreBOM, bytes);
      if (answer[0] !== "0") throw new TypeError("The encoded data was not valid.");
      return answer.slice(1);
    }
  }

  /** How many bytes at the end begin a UTF-8 character that goes on. */
  function unfinished(bytes) {
    for (let back = 1; back <= Math.min(3, bytes.length); back++) {
      const byte = bytes[bytes.length - back];
      if ((byte & 0xc0) === 0x80) continue;
      const size = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
      return size > back ? back : 0;
    }
    return 0;
  }

  function atob(text) {
    const answer = base64Decode(String(text));
    if (answer[0] === "0") return answer.slice(1);
    throw new DOMException("The string to be decoded is not correctly encoded.",
      "InvalidCharacterError");
  }

  function btoa(text) {
    const answer = base64Encode(String(text));
    if (answer[0] === "0") return answer.slice(1);
    throw new DOMException("The string to be encoded contains characters outside of the Latin1 range.",
      "InvalidCharacterError");
  }

  // ----------------------------------------------------------------------------------------- cloning

  function structuredClone(value, options) {
    if (options !== undefined) throw missing("structuredClone with options");
    return clone(value, new Map());
  }

  function refuseClone(value) {
    const shown = typeof value === "function" ? "function" : String(value);
    throw new DOMException(`${shown} could not be cloned.`, "DataCloneError");
  }

  function clone(value, seen) {
    if (typeof value === "symbol" || typeof value === "function") refuseClone(value);
    if (typeof value !== "object" || value === null) return value;
    if (seen.has(value)) return seen.get(value);
    const keep = (copy) => {
      seen.set(value, copy);
      return copy;
    };
    if (Array.isArray(value)) {
      const copy = keep(new Array(value.length));
      for (const key of Object.keys(value)) copy[key] = clone(value[key], seen);
      return copy;
    }
    if (value instanceof Date) return keep(new Date(value.getTime()));
    if (value instanceof RegExp) return keep(new RegExp(value.source, value.flags));
    if (value instanceof ArrayBuffer) return keep(value.slice(0));
    if (ArrayBuffer.isView(value)) {
      const buffer = clone(value.buffer, seen);
      const length = value instanceof DataView ? value.byteLength : value.length;
      return keep(new value.constructor(buffer, value.byteOffset, length));
    }
    if (value instanceof Map) {
      const copy = keep(new Map());
      for (const [k, v] of value) copy.set(clone(k, seen), clone(v, seen));
      return copy;
    }
    if (value instanceof Set) {
      const copy = keep(new Set());
      for (const item of value) copy.add(clone(item, seen));
      return copy;
    }
    if (value instanceof Error) {
      const kinds = { EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError };
      const copy = keep(new (kinds[value.name] ?? Error)(value.message));
      copy.stack = value.stack;
      if ("cause" in value) copy.cause = clone(value.cause, seen);
      return copy;
    }
    if (value instanceof Number || value instanceof String || value instanceof Boolean) {
      return keep(Object(value.valueOf()));
    }
    if (value instanceof Promise || value instanceof WeakMap || value instanceof WeakSet) {
      refuseClone(value);
    }
    const copy = keep({});
    for (const key of Object.keys(value)) copy[key] = clone(value[key], seen);
    return copy;
  }

  // ----------------------------------------------------------------------------------- async context

  const { asyncContext, setAsyncContext } = host;

  function inContext(values, callback, receiver, parameters) {
    const outer = asyncContext();
    setAsyncContext(values);
    try {
      return Reflect.apply(callback, receiver, parameters);
    } finally {
      setAsyncContext(outer);
    }
  }

  class AsyncLocalStorage {
    static bind(callback) {
      return AsyncResource.bind(callback);
    }
    static snapshot() {
      const values = asyncContext();
      return (callback, ...parameters) => inContext(values, callback, undefined, parameters);
    }
    run(store, callback, ...parameters) {
      const values = new Map(asyncContext()).set(this, store);
      return inContext(values, callback, undefined, parameters);
    }
    exit(callback, ...parameters) {
      const values = new Map(asyncContext());
      values.delete(this);
      return inContext(values, callback, undefined, parameters);
    }
    getStore() {
      return asyncContext()?.get(this);
    }
    enterWith(store) {
      setAsyncContext(new Map(asyncContext()).set(this, store));
    }
    disable() {}
  }

  class AsyncResource {
    #values = asyncContext();
    static bind(callback, type, receiver) {
      return new AsyncResource(type).bind(callback, receiver);
    }
    bind(callback, receiver) {
      return (...parameters) => inContext(this.#values, callback, receiver, parameters);
    }
    runInAsyncScope(callback, receiver, ...parameters) {
      return inContext(this.#values, callback, receiver, parameters);
    }
    emitDestroy() {
      return this;
    }
  }

  // What is large or seldom used is in files of its own, which are evaluated when they are needed.
  const PARTS = {
    urls: ["URL", "URLSearchParams"],
    fetch: ["Headers", "Blob", "File", "FormData", "Request", "Response"],
    crypto: ["CryptoKey", "SubtleCrypto", "Crypto", "crypto"],
    streams: [
      "ReadableStream", "ReadableStreamDefaultReader", "ReadableStreamBYOBReader", "WritableStream",
      "WritableStreamDefaultWriter",
    ],
    transforms: ["TransformStream", "TextEncoderStream", "TextDecoderStream"],
    performance: [
      "Performance", "PerformanceEntry", "PerformanceMark", "PerformanceMeasure", "performance",
    ],
  };
  const parts = {}; // those that are there, by name: their classes, and what they share

  function part(name) {
    if (parts[name] === undefined) {
      const { classes, ...more } = loadPart(name)(host, environment, shared);
      parts[name] = { ...tagged(classes), ...more };
    }
    return parts[name];
  }

  const shared = {
    AbortController, DOMException, EventTarget, SECRET, TextDecoder, TextEncoder, atob, btoa, missing,
    part, parts, structuredClone, viewOf,
  };
  const found = {
    ...tagged({
      DOMException, Event, CustomEvent, EventTarget, AbortSignal, AbortController, TextEncoder,
      TextDecoder, AsyncLocalStorage, AsyncResource,
    }),
    atob,
    btoa,
    structuredClone,
  };
  for (const [name, members] of Object.entries(PARTS)) {
    for (const member of members) {
      Object.defineProperty(found, member, { get: () => part(name)[member], enumerable: true });
    }
  }
  return found;
})
