// `console`, and how values look in its lines: as the npm package object-inspect shows them.
(function (host, environment) {
  "use strict";
  const { log } = host;
  const DEPTH_MAX = 5;
  const STRING_MAX = 32768;
  const LINE_MAX = 33000; // the engine cuts at the documented bound, and says so
  const LINES_MAX = 257; // one more than a call may keep, so that the overflow shows
  let lines = 0;

  const toText = Object.prototype.toString;
  const hasOwn = Object.prototype.hasOwnProperty;
  const ESCAPES = { 8: "b", 9: "t", 10: "n", 12: "f", 13: "r" };

  function quote(text) {
    if (text.length > STRING_MAX) {
      const more = text.length - STRING_MAX;
      const cut = quote(text.slice(0, STRING_MAX));
      return `${cut}... ${more} more character${more > 1 ? "s" : ""}`;
    }
    const escaped = text.replace(/(['\\])/g, "\\$1").replace(/[\x00-\x1f]/g, (character) => {
      const code = character.charCodeAt(0);
      return "\\" + (ESCAPES[code] ?? `x${code < 16 ? "0" : ""}${code.toString(16).toUpperCase()}`);
    });
    return `'${escaped}'`;
  }

  function inspect(value, depth = 0, seen = []) {
    switch (typeof value) {
      case "undefined": return "undefined";
      case "boolean": return value ? "true" : "false";
      case "string": return quote(value);
      case "number": return value === 0 ? (Object.is(value, -0) ? "-0" : "0") : String(value);
      case "bigint": return `${value}n`;
      case "symbol": return Symbol.prototype.toString.call(value);
    }
    if (value === null) return "null";
    if (depth >= DEPTH_MAX && typeof value === "object") {
      return Array.isArray(value) ? "[Array]" : "[Object]";
    }
    if (seen.includes(value)) return "[Circular]";
    const inside = [...seen, value];
    const show = (item) => inspect(item, depth + 1, inside);
    if (typeof value === "function") return inspectFunction(value, show);
    if (typeof value.inspect === "function") {
      const shown = value.inspect(DEPTH_MAX - depth);
      return typeof shown === "string" ? shown : show(shown);
    }
    return inspectObject(value, depth, show);
  }

  function inspectFunction(value, show) {
    const parts = properties(value, show);
    const name = value.name ? `: ${value.name}` : " (anonymous)";
    return `[Function${name}]` + (parts.length > 0 ? ` { ${parts.join(", ")} }` : "");
  }

  function inspectObject(value, depth, show) {
    if (Array.isArray(value)) {
      const items = properties(value, show);
      if (items.length === 0) return "[]";
      const isFlat = items.every((item) => !item.includes("\n"));
      return isFlat ? `[ ${items.join(", ")} ]` : `[${indented(items, depth)}]`;
    }
    const kind = toText.call(value).slice(8, -1);
    if (kind === "Error" || value instanceof Error) return inspectError(value, show);
    switch (kind) {
      case "Map":
        return collection("Map", value.size, depth,
          [...Map.prototype.entries.call(value)].map(([k, v]) => `${show(k)} => ${show(v)}`));
      case "Set":
        return collection("Set", value.size, depth, [...Set.prototype.values.call(value)].map(show));
      case "WeakMap": case "WeakSet": case "WeakRef": return `${kind} { ? }`;
      case "Number": case "String": case "Boolean": case "BigInt": case "Symbol":
        if (!(Symbol.toStringTag in value) || kind === "BigInt" || kind === "Symbol") {
          return `Object(${show(value.valueOf())})`;
        }
        break;
      case "Date": case "RegExp": return String(value);
    }
    const parts = properties(value, show);
    const tag = tagOf(value, kind);
    return parts.length === 0 ? `${tag}{}` : `${tag}{${indented(parts, depth)}}`;
  }

  function inspectError(value, show) {
    const parts = properties(value, show);
    if ("cause" in value && !Object.prototype.propertyIsEnumerable.call(value, "cause")) {
      parts.unshift(`[cause]: ${show(value.cause)}`);
    }
    return parts.length === 0 ? `[${value}]` : `{ [${value}] ${parts.join(", ")} }`;
  }

  function collection(kind, size, depth, items) {
    return `${kind} (${size}) {${items.length === 0 ? "" : indented(items, depth)}}`;
  }

  function tagOf(value, kind) {
    const prototype = Object.getPrototypeOf(value);
    const isPlain = prototype === Object.prototype || value.constructor === Object;
    const noPrototype = value instanceof Object ? "" : "null prototype";
    const tagged = !isPlain && Symbol.toStringTag in value;
    const label = tagged ? kind : noPrototype ? "Object" : "";
    const maker = isPlain || typeof value.constructor !== "function" ? "" : value.constructor.name;
    const text = [label, noPrototype].filter(Boolean).join(": ");
    return (maker ? `${maker} ` : "") + (text ? `[${text}] ` : "");
  }

  function properties(value, show) {
    const shown = [];
    const isArray = Array.isArray(value);
    if (isArray) {
      for (let i = 0; i < value.length; i++) shown.push(hasOwn.call(value, i) ? show(value[i]) : "");
    }
    for (const key of Object.keys(value)) {
      if (isArray && String(Number(key)) === key && key < value.length) continue;
      shown.push(`${/[^\w$]/.test(key) ? quote(key) : key}: ${show(value[key])}`);
    }
    for (const symbol of Object.getOwnPropertySymbols(value)) {
      if (Object.prototype.propertyIsEnumerable.call(value, symbol)) {
        shown.push(`[${String(symbol)}]: ${show(value[symbol])}`);
      }
    }
    return shown;
  }

  function indented(items, depth) {
    const outer = "\n" + "  ".repeat(depth);
    const inner = outer + "  ";
    return inner + items.join("," + inner) + outer;
  }

  function write(level, messages) {
    if (lines >= LINES_MAX) return;
    lines++;
    const text = messages.join(" ");
    log(level, text.length > LINE_MAX ? text.slice(0, LINE_MAX) : text);
  }

  function texts(values) {
    return lines >= LINES_MAX ? [] : values.map((value) => inspect(value));
  }

  const timers = new Map();
  const elapsed = (since) => `${Math.floor(environment.monotonicMs() - since)}ms`;

  const methods = {
    debug: (...values) => write("DEBUG", texts(values)),
    error: (...values) => write("ERROR", texts(values)),
    info: (...values) => write("INFO", texts(values)),
    log: (...values) => write("LOG", texts(values)),
    warn: (...values) => write("WARN", texts(values)),
    trace: (...values) => {
      const stack = new Error().stack.split("\n").slice(2).join("\n");
      write("LOG", [...texts(values), stack]);
    },
    time: (label = "default") => {
      if (timers.has(String(label))) return write("WARN", [`Timer '${label}' already exists`]);
      timers.set(String(label), environment.monotonicMs());
    },
    timeLog: (label = "default", ...values) => {
      const since = timers.get(String(label));
      if (since === undefined) return write("WARN", [`Timer '${label}' does not exist`]);
      write("INFO", [`${label}: ${elapsed(since)}`, ...texts(values)]);
    },
    timeEnd: (label = "default") => {
      const since = timers.get(String(label));
      if (since === undefined) return write("WARN", [`Timer '${label}' does not exist`]);
      write("INFO", [`${label}: ${elapsed(since)}`]);
      timers.delete(String(label));
    },
  };
  for (const name of Object.keys(methods)) {
    Object.defineProperty(methods[name], "name", { value: name });
  }
  Object.defineProperty(globalThis, "console", {
    value: methods, writable: true, configurable: true, enumerable: false,
  });
})
