// What a module's exports say of themselves; evaluated inside the context of the module.
(function () {
  "use strict";
  const KINDS = [["isQuery", "query"], ["isMutation", "mutation"], ["isAction", "action"]];

  function isObject(value) {
    return (typeof value === "object" && value !== null) || typeof value === "function";
  }

  function textOf(value, what) {
    const text = value;
    if (typeof text !== "string") throw new TypeError(`${what} must return a string.`);
    return text;
  }

  function sourceOf(value) {
    const handler = isObject(value) && value._handler !== undefined ? value._handler : value;
    return typeof handler === "function" ? Function.prototype.toString.call(handler) : null;
  }

  function functions(namespace) {
    const found = [];
    for (const name of Object.keys(namespace)) {
      const value = namespace[name];
      if (!isObject(value)) continue;
      const kinds = KINDS.filter(([flag]) => flag in value);
      if (kinds.length !== 1) continue;
      const isPublic = "isPublic" in value;
      const isInternal = "isInternal" in value;
      if (isPublic && isInternal) continue;
      found.push({
        name,
        kind: kinds[0][1],
        visibility: isPublic ? "public" : isInternal ? "internal" : null,
        args: exported(value, "exportArgs", name),
        returns: exported(value, "exportReturns", name),
        source: sourceOf(value),
      });
    }
    return found;
  }

  function exported(value, method, name) {
    if (value[method] === undefined) return null;
    if (typeof value[method] !== "function") {
      throw new TypeError(`\`${name}.${method}\` must be a function.`);
    }
    return textOf(value[method](), `\`${name}.${method}\``);
  }

  function routes(namespace) {
    const router = namespace.default;
    if (router === undefined) {
      throw new Error("`http.js` must have a default export: the router that httpRouter() makes.");
    }
    if (!isObject(router) || router.isRouter !== true || typeof router.getRoutes !== "function") {
      throw new Error("The default export of `http.js` must be a router, made by httpRouter().");
    }
    return [...router.getRoutes()].map((route) => {
      const [path, method, handler] = route;
      if (typeof path !== "string" || typeof method !== "string") {
        throw new TypeError("getRoutes() must return [path, method, handler] of each route.");
      }
      return { path, method, source: sourceOf(handler) };
    });
  }

  function crons(namespace) {
    const table = namespace.default;
    if (table === undefined) {
      throw new Error("`crons.js` must have a default export: what cronJobs() makes.");
    }
    if (!isObject(table) || table.isCrons !== true || typeof table.export !== "function") {
      throw new Error("The default export of `crons.js` must be made by cronJobs().");
    }
    return textOf(table.export(), "`export()` of `crons.js`");
  }

  function schema(namespace) {
    if (namespace.default === undefined) return { problem: "missing" };
    if (!isObject(namespace.default) || typeof namespace.default.export !== "function") {
      return { problem: "invalid" };
    }
    return { text: textOf(namespace.default.export(), "`export()` of the schema") };
  }

  function authConfig(namespace) {
    if (namespace.default === undefined) return { problem: "missing" };
    return { text: JSON.stringify(namespace.default) ?? "null" };
  }

  function definition(namespace) {
    const names = Object.keys(namespace);
    if (names.length !== 1 || names[0] !== "default") return { problem: "missing" };
    if (!isObject(namespace.default) || typeof namespace.default.export !== "function") {
      return { problem: "invalid" };
    }
    const exported = namespace.default.export();
    if (!isObject(exported)) return { problem: "invalid" };
    return { text: JSON.stringify(exported) };
  }

  function moduleOf(namespace, path) {
    return {
      functions: functions(namespace),
      routes: path === "http.js" ? routes(namespace) : null,
      crons: path === "crons.js" ? crons(namespace) : null,
    };
  }

  const LOOKS = { module: moduleOf, schema, authConfig, definition };
  return (look, namespace, path) => JSON.stringify(LOOKS[look](namespace, path));
})
