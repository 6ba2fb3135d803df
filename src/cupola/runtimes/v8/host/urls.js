// URLs of queries and mutations; Deno takes them apart. `Pairs` is for FormData, too.
(function (host, environment, web) {
  "use strict";
  const { urlParts } = host;
  const { SECRET, TextDecoder, TextEncoder } = web;

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

  return { classes: { URL, URLSearchParams }, Pairs, pairsOf, addPair, dropPairs };
})
