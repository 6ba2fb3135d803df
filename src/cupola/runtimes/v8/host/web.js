// Web APIs of queries and mutations, made of this context's own objects; evaluated when one of them
// is first used. What would need the outside world fails with a message that says what to do.
(function (host, environment, loadPart) {
  "use strict";
  const { urlParts, base64Decode, base64Encode, decodeText, encodingOf } = host;

  const tagged = (classes) => {
    for (const name of Object.keys(classes)) {
      Object.defineProperty(classes[name].prototype, Symbol.toStringTag, {
        value: name, configurable: true,
      });
    }
    return classes;
  };

  const parts = {}; // of this file that are files of their own, by name

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

  // ------------------------------------------------------------------------------------------- URLs

  const pairsOf = new WeakMap(); // a URLSearchParams or FormData -> its [name, value] pairs

  /** What both have: looking up and walking through their pairs. */
  class Pairs {
    constructor() {
      pairsOf.set(this, []);
    }
    get(name) {
      return pairsOf.get(this).find((pair) => pair[0] === String(name))?.[1] ?? null;
    }
    getAll(name) {
      return pairsOf.get(this).filter((pair) => pair[0] === String(name)).map((pair) => pair[1]);
    }
    forEach(callback, receiver) {
      for (const [name, value] of pairsOf.get(this)) {
        Reflect.apply(callback, receiver, [value, name, this]);
      }
    }
    *entries() {
      for (const [name, value] of pairsOf.get(this)) yield [name, value];
    }
    *keys() {
      for (const pair of pairsOf.get(this)) yield pair[0];
    }
    *values() {
      for (const pair of pairsOf.get(this)) yield pair[1];
    }
    [Symbol.iterator]() {
      return this.entries();
    }
  }

  /** Append a pair, in place of all of its name if `isOnly`: it then stands where the first stood. */
  function addPair(holder, name, value, isOnly) {
    const pairs = pairsOf.get(holder);
    const at = isOnly ? pairs.findIndex((pair) => pair[0] === name) : -1;
    if (at < 0) {
      pairs.push([name, value]);
      return;
    }
    pairs[at] = [name, value];
    pairsOf.set(holder, pairs.filter((pair, i) => i <= at || pair[0] !== name));
  }

  function dropPairs(holder, isDropped) {
    pairsOf.set(holder, pairsOf.get(holder).filter((pair) => !isDropped(pair)));
  }

  class URLSearchParams extends Pairs {
    #changed = () => {};
    constructor(init = "", secret, changed) {
      super();
      if (secret === SECRET) this.#changed = changed;
      if (typeof init === "object" && init !== null) {
        const pairs = typeof init[Symbol.iterator] === "function" ? [...init] : Object.entries(init);
        pairsOf.set(this, pairs.map((pair) => {
          const [name, value, ...more] = [...pair];
          if (more.length > 0 || value === undefined) {
            throw new TypeError("Each query pair must be an iterable [name, value] tuple");
          }
          return [String(name), String(value)];
        }));
      } else {
        resetParams(this, String(init));
      }
    }
    get size() { return pairsOf.get(this).length; }
    append(name, value) {
      addPair(this, String(name), String(value), false);
      this.#changed(this.toString());
    }
    set(name, value) {
      addPair(this, String(name), String(value), true);
      this.#changed(this.toString());
    }
    delete(name, value) {
      dropPairs(this, matches(name, value));
      this.#changed(this.toString());
    }
    has(name, value) {
      return pairsOf.get(this).some(matches(name, value));
    }
    sort() {
      pairsOf.get(this).sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0));
      this.#changed(this.toString());
    }
    toString() {
      return pairsOf.get(this).map(([k, v]) => `${escapeForm(k)}=${escapeForm(v)}`).join("&");
    }
    inspect() {
      return `URLSearchParams { ${this.toString()} }`;
    }
  }

  const matches = (name, value) => (pair) =>
    pair[0] === String(name) && (value === undefined || pair[1] === String(value));

  function resetParams(params, text) {
    const query = text.startsWith("?") ? text.slice(1) : text;
    pairsOf.set(params, query.split("&").filter(Boolean).map((pair) => {
      const at = pair.indexOf("=");
      return at < 0 ? [unescapeForm(pair), ""]
        : [unescapeForm(pair.slice(0, at)), unescapeForm(pair.slice(at + 1))];
    }));
  }

  function unescapeForm(text) {
    const spaced = text.replaceAll("+", " ");
    if (!spaced.includes("%")) return spaced;
    const bytes = [];
    for (const byte of new TextEncoder().encode(spaced)) bytes.push(byte);
    const out = [];
    for (let i = 0; i < bytes.length; i++) {
      const hex = bytes[i] === 37 ? String.fromCharCode(bytes[i + 1] ?? 0, bytes[i + 2] ?? 0) : "";
      if (/^[0-9a-fA-F]{2}$/.test(hex)) {
        out.push(parseInt(hex, 16));
        i += 2;
      } else out.push(bytes[i]);
    }
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(new Uint8Array(out));
  }

  function escapeForm(text) {
    let out = "";
    for (const byte of new TextEncoder().encode(text)) {
      const character = String.fromCharCode(byte);
      if (/[A-Za-z0-9*\-._]/.test(character)) out += character;
      else if (byte === 32) out += "+";
      else out += `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
    }
    return out;
  }

  class URL {
    #parts;
    #params = null;
    constructor(url, base) {
      const parts = urlParts(String(url), base === undefined ? undefined : String(base));
      if (parts === "") throw new TypeError(`Invalid URL: '${url}'`);
      this.#parts = JSON.parse(parts);
    }
    static canParse(url, base) {
      return urlParts(String(url), base === undefined ? undefined : String(base)) !== "";
    }
    static parse(url, base) {
      return URL.canParse(url, base) ? new URL(url, base) : null;
    }
    static part(url, name) {
      return url.#parts[name];
    }
    static change(url, name, value, keepsParams) {
      const parts = urlParts(url.#parts.href, undefined, name, String(value));
      if (parts === "") {
        if (name === "href") throw new TypeError(`Invalid URL: '${value}'`);
        return;
      }
      url.#parts = JSON.parse(parts);
      if (url.#params !== null && !keepsParams) resetParams(url.#params, url.#parts.search);
    }
    get searchParams() {
      this.#params ??= new URLSearchParams(this.#parts.search, SECRET, (query) => {
        changeUrl(this, "search", query, true);
      });
      return this.#params;
    }
    toString() {
      return this.#parts.href;
    }
    toJSON() {
      return this.#parts.href;
    }
    inspect() {
      return `URL { ${this.#parts.href} }`;
    }
  }
  const { part: partOf, change: changeUrl } = URL;
  delete URL.part;
  delete URL.change;
  for (const name of ["href", "origin", "protocol", "username", "password", "host", "hostname",
    "port", "pathname", "search", "hash"]) {
    Object.defineProperty(URL.prototype, name, {
      configurable: true,
      enumerable: true,
      get() {
        return partOf(this, name);
      },
      set: name === "origin" ? undefined : function (value) {
        changeUrl(this, name, value, false);
      },
    });
  }

  // ------------------------------------------------------------------------------ headers and bodies

  class Headers {
    #map = new Map();
    constructor(init) {
      if (init === undefined || init === null) return;
      const pairs = typeof init[Symbol.iterator] === "function" ? init : Object.entries(init);
      for (const [name, value] of pairs) this.append(name, value);
    }
    #name(name) {
      const text = String(name).toLowerCase();
      if (!/^[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(text)) {
        throw new TypeError(`Invalid header name: '${name}'`);
      }
      return text;
    }
    #value(value) {
      const text = String(value).replace(/^[\t\n\r ]+|[\t\n\r ]+$/g, "");
      if (/[\0\r\n]/.test(text)) throw new TypeError(`Invalid header value: '${value}'`);
      return text;
    }
    append(name, value) {
      const key = this.#name(name);
      const list = this.#map.get(key) ?? [];
      list.push(this.#value(value));
      this.#map.set(key, list);
    }
    delete(name) {
      this.#map.delete(this.#name(name));
    }
    get(name) {
      return this.#map.get(this.#name(name))?.join(", ") ?? null;
    }
    getSetCookie() {
      return [...(this.#map.get("set-cookie") ?? [])];
    }
    has(name) {
      return this.#map.has(this.#name(name));
    }
    set(name, value) {
      this.#map.set(this.#name(name), [this.#value(value)]);
    }
    forEach(callback, receiver) {
      for (const [name, value] of this) Reflect.apply(callback, receiver, [value, name, this]);
    }
    *entries() {
      for (const name of [...this.#map.keys()].sort()) {
        if (name === "set-cookie") {
          for (const cookie of this.#map.get(name)) yield [name, cookie];
        } else yield [name, this.#map.get(name).join(", ")];
      }
    }
    *keys() {
      for (const [name] of this.entries()) yield name;
    }
    *values() {
      for (const [, value] of this.entries()) yield value;
    }
    [Symbol.iterator]() {
      return this.entries();
    }
  }

  class Blob {
    #bytes;
    #type;
    constructor(parts = [], { type = "" } = {}) {
      const pieces = [...parts].map((part) => {
        if (part instanceof Blob) return part.#bytes;
        if (part instanceof ArrayBuffer || ArrayBuffer.isView(part)) return viewOf(part);
        return new TextEncoder().encode(String(part));
      });
      this.#bytes = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
      let at = 0;
      for (const piece of pieces) {
        this.#bytes.set(piece, at);
        at += piece.length;
      }
      this.#type = /^[\x20-\x7e]*$/.test(String(type)) ? String(type).toLowerCase() : "";
    }
    get size() { return this.#bytes.length; }
    get type() { return this.#type; }
    async arrayBuffer() {
      return this.#bytes.slice().buffer;
    }
    async bytes() {
      return this.#bytes.slice();
    }
    async text() {
      return new TextDecoder().decode(this.#bytes);
    }
    slice(from = 0, to = this.size, type = "") {
      return new Blob([this.#bytes.slice(from, to)], { type });
    }
    stream() {
      const bytes = this.#bytes;
      return new (part("streams").ReadableStream)({
        type: "bytes",
        pull(controller) {
          if (bytes.length > 0) controller.enqueue(bytes);
          controller.close();
        },
      });
    }
  }

  class File extends Blob {
    #name;
    #lastModified;
    constructor(parts, name, options = {}) {
      super(parts, options);
      this.#name = String(name);
      this.#lastModified = options.lastModified ?? environment.now();
    }
    get name() { return this.#name; }
    get lastModified() { return this.#lastModified; }
  }

  class FormData extends Pairs {
    append(name, value, filename) {
      addPair(this, String(name), entryOf(value, filename), false);
    }
    set(name, value, filename) {
      addPair(this, String(name), entryOf(value, filename), true);
    }
    delete(name) {
      dropPairs(this, (pair) => pair[0] === String(name));
    }
    has(name) {
      return pairsOf.get(this).some((pair) => pair[0] === String(name));
    }
  }

  function entryOf(value, filename) {
    if (!(value instanceof Blob)) return String(value);
    if (value instanceof File && filename === undefined) return value;
    return new File([value], filename ?? "blob", { type: value.type });
  }

  class Body {
    #source; // a blob, a stream, or null
    #used = false;
    constructor(body) {
      this.#source = body === null || body === undefined ? null : bodyOf(body);
    }
    get bodyUsed() {
      return this.#used || (isStream(this.#source) && part("streams").isDisturbed(this.#source));
    }
    get body() {
      if (this.#source instanceof Blob) {
        this.#source = this.#used ? new Blob().stream() : this.#source.stream();
      }
      return this.#source;
    }
    async #take() {
      if (this.bodyUsed || this.#source?.locked) throw new TypeError("Body already consumed");
      this.#used = this.#source !== null;
      if (!isStream(this.#source)) return this.#source ?? new Blob();
      const chunks = [];
      for await (const chunk of this.#source) {
        if (!(chunk instanceof Uint8Array)) throw new TypeError("A body is a stream of bytes.");
        chunks.push(chunk);
      }
      return new Blob(chunks);
    }
    static copy(from) {
      if (from.bodyUsed || from.#source?.locked) throw new TypeError("Body already consumed");
      if (!isStream(from.#source)) return from.#source;
      const [kept, given] = from.#source.tee();
      from.#source = kept;
      return given;
    }
    async text() {
      return await (await this.#take()).text();
    }
    async json() {
      return JSON.parse(await this.text());
    }
    async arrayBuffer() {
      return await (await this.#take()).arrayBuffer();
    }
    async bytes() {
      return await (await this.#take()).bytes();
    }
    async blob() {
      const type = this.headers.get("content-type") ?? "";
      return new Blob([await (await this.#take()).arrayBuffer()], { type });
    }
    async formData() {
      throw new Error(
        "Can't use formData() in queries and mutations. Please consider using an action. " +
          "See https://docs.convex.dev/functions/actions for more details.",
      );
    }
  }
  const copyBody = Body.copy;
  delete Body.copy;

  /** Whether streams are in use at all, and this is one. */
  const isStream = (body) =>
    parts.streams !== undefined && body instanceof parts.streams.ReadableStream;

  function bodyOf(body) {
    if (body instanceof Blob || isStream(body)) return body;
    if (body instanceof URLSearchParams) {
      return new Blob([body.toString()], { type: "application/x-www-form-urlencoded;charset=utf-8" });
    }
    if (body instanceof FormData) throw missing("a multipart body");
    if (body instanceof ArrayBuffer || ArrayBuffer.isView(body)) return new Blob([body]);
    return new Blob([String(body)], { type: "text/plain;charset=utf-8" });
  }

  function withType(headers, body) {
    if (body === null || body === undefined || headers.has("content-type")) return;
    const { type } = bodyOf(body); // none of a stream
    if (type) headers.set("content-type", type.replace("charset=utf-8", "charset=UTF-8"));
  }

  const METHODS = ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"];

  class Request extends Body {
    #url;
    #method;
    #headers;
    #signal;
    constructor(input, options = {}) {
      const other = input instanceof Request ? input : null;
      const url = new URL(other === null ? input : other.url);
      if (!/^https?:$/.test(url.protocol)) {
        throw new TypeError(`Requests are http: or https:, not ${url.protocol}`);
      }
      const method = String(options.method ?? other?.method ?? "GET");
      const upper = METHODS.includes(method.toUpperCase()) ? method.toUpperCase() : method;
      const body = options.body ?? (other === null ? null : copyBody(other));
      if (body !== null && (upper === "GET" || upper === "HEAD")) {
        throw new TypeError("Request with GET/HEAD method cannot have body.");
      }
      super(body);
      this.#url = url.href;
      this.#method = upper;
      this.#headers = new Headers(options.headers ?? other?.headers);
      this.#signal = options.signal ?? other?.signal ?? new AbortController().signal;
      withType(this.#headers, body);
    }
    get url() { return this.#url; }
    get method() { return this.#method; }
    get headers() { return this.#headers; }
    get signal() { return this.#signal; }
    clone() {
      return new Request(this);
    }
  }

  class Response extends Body {
    #status;
    #statusText;
    #headers;
    #kind = "default";
    constructor(body = null, { status = 200, statusText = "", headers } = {}) {
      if (!Number.isInteger(status) || status < 200 || status > 599) {
        throw new RangeError(`The status provided (${status}) is outside the range [200, 599].`);
      }
      super(body);
      this.#status = status;
      this.#statusText = String(statusText);
      this.#headers = new Headers(headers);
      withType(this.#headers, body);
    }
    get status() { return this.#status; }
    get statusText() { return this.#statusText; }
    get headers() { return this.#headers; }
    get ok() { return this.#status >= 200 && this.#status < 300; }
    get redirected() { return false; }
    get type() { return this.#kind; }
    get url() { return ""; }
    clone() {
      return new Response(copyBody(this), {
        status: this.#status, statusText: this.#statusText, headers: this.#headers,
      });
    }
    static json(data, init = {}) {
      const headers = new Headers(init.headers);
      if (!headers.has("content-type")) headers.set("content-type", "application/json");
      return new Response(JSON.stringify(data), { ...init, headers });
    }
    static redirect(url, status = 302) {
      if (![301, 302, 303, 307, 308].includes(status)) {
        throw new RangeError(`${status} is no status of a redirection.`);
      }
      return new Response(null, { status, headers: { location: new URL(url).href } });
    }
    static error() {
      const response = new Response(null);
      response.#status = 0;
      response.#kind = "error";
      return response;
    }
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

  // ------------------------------------------------------------------------------------- performance

  class PerformanceEntry {
    constructor(secret, name, kind, startTime, duration, detail) {
      if (secret !== SECRET) throw new TypeError("Illegal constructor");
      this.name = name;
      this.entryType = kind;
      this.startTime = startTime;
      this.duration = duration;
      this.detail = detail;
    }
    toJSON() {
      return { ...this };
    }
  }

  class PerformanceMark extends PerformanceEntry {
    constructor(name, { startTime = performanceNow(), detail = null } = {}) {
      super(SECRET, String(name), "mark", Number(startTime), 0, structuredClone(detail));
    }
  }

  class PerformanceMeasure extends PerformanceEntry {}

  // Clocks stand still: what is measured takes no time.
  const performanceNow = () => environment.now() - environment.clock.importedMs;

  class Performance extends EventTarget {
    #entries = [];
    constructor(secret) {
      if (secret !== SECRET) throw new TypeError("Illegal constructor");
      super();
    }
    get timeOrigin() { return environment.clock.importedMs; }
    now() {
      return performanceNow();
    }
    mark(name, options) {
      return this.#keep(new PerformanceMark(name, options));
    }
    measure(name, start, end) {
      const options = typeof start === "object" && start !== null ? start : { start, end };
      const [from, to] = [this.#time(options.start, 0), this.#time(options.end, performanceNow())];
      const detail = structuredClone(options.detail ?? null);
      return this.#keep(
        new PerformanceMeasure(SECRET, String(name), "measure", from, to - from, detail),
      );
    }
    #time(mark, otherwise) {
      if (mark === undefined) return otherwise;
      if (typeof mark === "number") return mark;
      const found = this.#entries.findLast((each) => each.entryType === "mark" && each.name === mark);
      if (found === undefined) throw new DOMException(`There is no mark "${mark}".`, "SyntaxError");
      return found.startTime;
    }
    #keep(entry) {
      this.#entries.push(entry);
      return entry;
    }
    getEntries() {
      return [...this.#entries];
    }
    getEntriesByName(name, kind) {
      return this.#entries.filter(
        (each) => each.name === name && (kind === undefined || each.entryType === kind),
      );
    }
    getEntriesByType(kind) {
      return this.#entries.filter((each) => each.entryType === kind);
    }
    clearMarks(name) {
      this.#clear("mark", name);
    }
    clearMeasures(name) {
      this.#clear("measure", name);
    }
    #clear(kind, name) {
      this.#entries = this.#entries.filter(
        (each) => each.entryType !== kind || (name !== undefined && each.name !== name),
      );
    }
    toJSON() {
      return { timeOrigin: this.timeOrigin };
    }
  }

  const shared = {
    DOMException, AbortController, TextEncoder, TextDecoder, SECRET, missing, viewOf, btoa, atob,
  };
  /** What is large and seldom used, in files of its own; `isDisturbed` is for here. */
  const part = (name) => {
    if (parts[name] === undefined) {
      const { crypto, isDisturbed, ...classes } = loadPart(name)(host, environment, shared);
      parts[name] = { ...tagged(classes), crypto, isDisturbed };
    }
    return parts[name];
  };
  const found = {
    ...tagged({
      DOMException, Event, CustomEvent, EventTarget, AbortSignal, AbortController, TextEncoder,
      TextDecoder, URLSearchParams, URL, Headers, Blob, File, FormData, Request, Response,
      Performance, PerformanceEntry, PerformanceMark, PerformanceMeasure, AsyncLocalStorage,
      AsyncResource,
    }),
    atob,
    btoa,
    structuredClone,
    performance: new Performance(SECRET),
  };
  const PARTS = {
    crypto: ["CryptoKey", "SubtleCrypto", "Crypto", "crypto"],
    streams: [
      "ReadableStream", "ReadableStreamDefaultReader", "ReadableStreamBYOBReader", "WritableStream",
      "WritableStreamDefaultWriter", "TransformStream", "TextEncoderStream", "TextDecoderStream",
    ],
  };
  for (const [name, members] of Object.entries(PARTS)) {
    for (const member of members) {
      Object.defineProperty(found, member, { get: () => part(name)[member], enumerable: true });
    }
  }
  return found;
})
