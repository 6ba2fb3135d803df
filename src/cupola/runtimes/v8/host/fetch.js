// Headers, files, requests and responses of queries and mutations, which send none of them.
(function (host, environment, web) {
  "use strict";
  const { AbortController, TextDecoder, TextEncoder, part, viewOf } = web;
  const { URL, URLSearchParams, Pairs, pairsOf, addPair, dropPairs } = part("urls");

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
      this.#source = body;
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
      const type = (this.headers.get("content-type") ?? "").split(";")[0].trim().toLowerCase();
      if (type === "multipart/form-data") {
        throw new Error(
          "Can't use formData() in queries and mutations. Please consider using an action. " +
            "See https://docs.convex.dev/functions/actions for more details.",
        );
      }
      if (type !== "application/x-www-form-urlencoded") {
        throw new TypeError(`A body of the type '${type}' is no form.`);
      }
      const form = new FormData();
      for (const [name, value] of new URLSearchParams(await this.text())) form.append(name, value);
      return form;
    }
  }
  const copyBody = Body.copy;
  delete Body.copy;

  /** Whether streams are in use at all, and this is one. */
  const isStream = (body) =>
    web.parts.streams !== undefined && body instanceof web.parts.streams.ReadableStream;

  /** A blob or a stream; null of nothing. */
  function sourceOf(body) {
    if (body === null || body === undefined) return null;
    if (body instanceof Blob || isStream(body)) return body;
    if (body instanceof URLSearchParams) {
      return new Blob([body.toString()], { type: "application/x-www-form-urlencoded;charset=utf-8" });
    }
    if (body instanceof FormData) return multipart(body);
    if (body instanceof ArrayBuffer || ArrayBuffer.isView(body)) return new Blob([body]);
    return new Blob([String(body)], { type: "text/plain;charset=utf-8" });
  }

  /** A form as it is sent (RFC 7578). The boundary is random, as the call's own randomness goes. */
  function multipart(form) {
    let boundary = "----formdata-";
    for (let i = 0; i < 16; i++) boundary += (environment.randomByte() % 36).toString(36);
    const quoted = (text) =>
      text.replace(/\r?\n|\r/g, "%0D%0A").replaceAll('"', "%22");
    const parts = [];
    for (const [name, value] of pairsOf.get(form)) {
      parts.push(`--${boundary}\r\nContent-Disposition: form-data; name="${quoted(name)}"`);
      if (value instanceof Blob) {
        const type = value.type || "application/octet-stream";
        parts.push(`; filename="${quoted(value.name)}"\r\nContent-Type: ${type}\r\n\r\n`, value);
      } else {
        parts.push("\r\n\r\n", value.replace(/\r?\n|\r/g, "\r\n"));
      }
      parts.push("\r\n");
    }
    parts.push(`--${boundary}--`);
    return new Blob(parts, { type: `multipart/form-data; boundary=${boundary}` });
  }

  function withType(headers, body) {
    if (body === null || headers.has("content-type")) return;
    const { type } = body; // none of a stream
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
      const body = sourceOf(options.body ?? (other === null ? null : copyBody(other)));
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
    constructor(init = null, { status = 200, statusText = "", headers } = {}) {
      if (!Number.isInteger(status) || status < 200 || status > 599) {
        throw new RangeError(`The status provided (${status}) is outside the range [200, 599].`);
      }
      const body = sourceOf(init);
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

  return { classes: { Headers, Blob, File, FormData, Request, Response } };
})
