// The ABI that the npm package calls (`Convex.syscall`, `Convex.asyncSyscall`, `Convex.jsSyscall`),
// the other globals that are always there, and how a function is started and its failure told.
//
// `host.variables`: "answer" (by default), "refuse", or "insist", where one that is not set is an
// error. `host.pure`: clocks and randomness are refused, too.
(function (host, environment, loadWeb) {
  "use strict";
  const { syscall } = host;
  let isImporting = true;
  const stringify = JSON.stringify;
  const parse = JSON.parse;
  const variables = parse(host.environment);

  function failure(text) {
    const { message, data } = parse(text);
    const error = new Error(message);
    if (data !== undefined) error.data = data;
    return error;
  }

  let isQuery = false; // what runs: nothing changes for it, whatever it calls
  // Rows that the engine has sent ahead, by the arguments that ask for the next one.
  const ahead = new Map();
  const NO_MORE = '{"value":null,"done":true}';
  const WRITES = new Set([
    "1.0/insert", "1.0/shallowMerge", "1.0/replace", "1.0/remove", "1.0/runUdf",
  ]);

  // Documents that came unasked, or with the answer to the last get, by id: what is likely got next.
  let known = new Map();
  let awaited = null; // the run whose documents are on their way, unasked
  let read = []; // ids of those that were read, and the engine does not know it yet
  const READ_MAX = 64;

  function tellWhatWasRead() {
    if (read.length === 0) return;
    const ids = read.join("\n");
    read = [];
    host.documentsRead(ids);
  }

  /** One crossing. The answer begins with what it is: 0 a result, 1 a failure, 2 rows, 3 documents. */
  function cross(op, args) {
    let answer;
    tellWhatWasRead();
    try {
      answer = syscall(op, args);
    } catch {
      throw new Error("The engine could not be reached."); // and not an error of its realm
    }
    if (answer.charCodeAt(0) === 49) throw failure(answer.slice(1));
    return answer;
  }

  function ask(op, args) {
    if (op === "1.0/queryStreamNext") return nextRow(args);
    if (op === "1.0/queryCleanup" && ahead.delete(args)) {
      cross(op, args); // which may know it no longer: all of it has been sent
      return "true";
    }
    if (op === "1.0/get") return get(args);
    if (WRITES.has(op)) {
      if (ahead.size > 0 && !isQuery) rewind();
      if (known.size > 0) known = new Map();
      awaited = null;
    }
    return cross(op, args).slice(1);
  }

  function get(args) {
    if (awaited !== null) {
      const text = host.documentsAhead(awaited);
      awaited = null;
      if (text !== "") remember(text);
    }
    if (known.size > 0) {
      const { id, table, isSystem } = parse(args) ?? {};
      const found = isSystem === true ? undefined : known.get(id);
      if (found !== undefined && (table === undefined || table === found.table)) {
        if (read.push(id) >= READ_MAX) tellWhatWasRead();
        return found.text;
      }
    }
    const answer = cross("1.0/get", args);
    return answer.charCodeAt(0) === 48 ? answer.slice(1) : remember(answer.slice(1));
  }

  /** Documents, each a line with its id and its table. Returns the first. */
  function remember(text) {
    let wanted;
    known = new Map();
    for (const line of text.split("\n")) {
      const first = line.indexOf(" "), second = line.indexOf(" ", first + 1);
      const document = { table: line.slice(first + 1, second), text: line.slice(second + 1) };
      known.set(line.slice(0, first), document);
      wanted ??= document.text;
    }
    return wanted;
  }

  function nextRow(args) {
    let rows = ahead.get(args);
    if (rows !== undefined && rows.at === rows.texts.length) {
      if (rows.isLast) {
        ahead.delete(args);
        return NO_MORE;
      }
      rows = undefined;
    }
    if (rows === undefined) {
      const answer = cross("1.0/queryStreamNext", args);
      if (answer.charCodeAt(0) === 48) return answer.slice(1);
      rows = { texts: answer.slice(2).split("\n"), at: 0, isLast: answer[1] === "D" };
      ahead.set(args, rows);
    }
    return `{"value":${rows.texts[rows.at++]},"done":false}`;
  }

  /** What was sent ahead may be out of date after a write: the engine will send it again. */
  function rewind() {
    for (const [args, { texts, at, isLast }] of ahead) {
      const unread = texts.length - at;
      if (unread === 0 && !isLast) continue;
      cross("cupola/rewind", stringify({ ...parse(args), unread }));
      ahead.delete(args);
    }
  }

  function check(op, args) {
    if (typeof op !== "string" || typeof args !== "string") {
      throw new TypeError("A syscall takes two strings: its name, and its arguments as JSON.");
    }
  }

  globalThis.Convex = {
    syscall(op, args) {
      check(op, args);
      if (isImporting) throw new Error("Can't use database at import time");
      return ask(op, args);
    },
    // The engine answers at once, in the order of the calls, which is what makes it deterministic.
    async asyncSyscall(op, args) {
      check(op, args);
      if (isImporting) throw new Error(`${op} unsupported at import time`);
      return ask(op, args);
    },
    jsSyscall(op, args) {
      if (op === "storage/storeBlob") throw refused("storage.store()");
      if (op === "storage/getBlob") throw refused("storage.get()");
      if (op === "requestFromConvexJson" || op === "convexJsonFromResponse") {
        throw refused("HTTP requests");
      }
      throw new Error(`Unknown JS syscall: ${op}`);
    },
  };

  function refused(what) {
    return new Error(
      `Can't use ${what} in queries and mutations. Please consider using an action. ` +
        "See https://docs.convex.dev/functions/actions for more details.",
    );
  }

  let unset = null;

  function variable(name) {
    if (host.variables === "refuse") {
      throw new Error("Environment variables cannot be read here.");
    }
    if (Object.hasOwn(variables, name)) return variables[name];
    if (host.variables === "insist") {
      unset = name;
      throw new Error(
        `Environment variable ${name} is used in auth config file but its value was not set.`,
      );
    }
    return undefined;
  }

  function define(name, value) {
    Object.defineProperty(globalThis, name, {
      value, writable: true, configurable: true, enumerable: false,
    });
  }

  define("self", globalThis);
  define("process", {
    env: new Proxy({}, {
      get: (_, name) => (typeof name === "string" ? variable(name) : undefined),
      has: () => false,
      ownKeys: () => [],
    }),
  });
  define("fetch", async function fetch() {
    throw isImporting ? new Error("Can't use fetch at import time") : refused("fetch()");
  });
  // The failure is of a promise that nobody holds: the function fails, whatever it catches.
  const timer = (name) => function () {
    void Promise.reject(refused(name));
    return 0;
  };
  define("setTimeout", timer("setTimeout"));
  define("setInterval", timer("setInterval"));
  define("clearTimeout", function clearTimeout() {});
  define("clearInterval", function clearInterval() {});

  for (const name of host.webNames) {
    Object.defineProperty(globalThis, name, {
      configurable: true,
      enumerable: false,
      get() {
        const found = loadWeb()[name];
        define(name, found);
        return found;
      },
      set: (value) => define(name, value),
    });
  }

  if (host.pure) {
    environment.refuse((what) => {
      throw new Error(`${what} cannot be used here: what is exported must always be the same.`);
    });
  }

  // ---------------------------------------------------------------------------- calls and failures

  const INVOKE = { query: "invokeQuery", mutation: "invokeMutation", action: "invokeAction" };

  function find(namespace, path, name, kind) {
    const found = namespace[name];
    if (found === undefined) {
      throw new Error(`Couldn't find \`${name}\` in module \`${path}\`.`);
    }
    const isQuery = found.isQuery === true, isMutation = found.isMutation === true;
    const isAction = found.isAction === true;
    if (isQuery + isMutation + isAction !== 1) {
      throw new Error(
        `Function \`${path}:${name}\` is neither a query nor a mutation; was it wrapped?`,
      );
    }
    const is = isQuery ? "query" : isMutation ? "mutation" : "action";
    if (is !== kind) {
      throw new Error(
        `Function \`${path}:${name}\` is registered as a ${is} but is being run as a ${kind}.`,
      );
    }
    return found;
  }


  async function start(namespace, path, name, kind, args) {
    const found = find(namespace, path, name, kind);
    const result = await found[INVOKE[kind]](args);
    if (typeof result !== "string") {
      throw new Error(`\`${path}:${name}\` did not return its result as a string.`);
    }
    return result;
  }

  const { apply } = Reflect;
  const { then } = Promise.prototype;
  const ignore = () => {};

  /** A call under way. The host looks at its promise itself, which counts as handling it. */
  function launch(namespace, path, name, kind, args) {
    isQuery = kind === "query";
    const promise = start(namespace, path, name, kind, args);
    apply(then, promise, [undefined, ignore]);
    return promise;
  }

  return {
    launch,
    tellWhatWasRead,
    unsetVariable: () => unset,
    /** `run`: the number under which documents come unasked, if any do. */
    execute(run = null) {
      isImporting = false;
      awaited = run;
    },
  };
})
