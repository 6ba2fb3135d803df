// Fresh V8 contexts: the environment that pushed code sees, and the modules it is made of.
//
// A context has a queue of microtasks of its own, drained by running any script in it; so a nested
// call can run to its end while its caller waits inside a syscall.

import vm from "node:vm";

const { getPromiseDetails, getAsyncContext, setAsyncContext } = Deno[Deno.internal].core;

const PENDING = 0;
const FULFILLED = 1;

/** Something that the pushed code did wrong, already in words: {message, stack, data}. */
export class Told extends Error {
  constructor(told) {
    super(told.message);
    this.told = told;
  }
}

/** An error of this realm in words: of compiling and linking, never thrown by pushed code. */
function tellOurs(error) {
  return { message: `Uncaught ${error}`, stack: String(error?.stack ?? "") };
}

/** The modules and variables of one push. */
export class Bundle {
  #resolved = new Map();

  constructor({ modules, environment, environments, seed, now }) {
    this.sources = new Map(modules);
    this.environment = JSON.stringify(environment);
    this.environments = environments ?? {}; // of components, by path
    this.seed = seed;
    this.now = now;
  }

  resolve(specifier, referrer) {
    const key = `${referrer}\n${specifier}`;
    let path = this.#resolved.get(key);
    if (path === undefined) {
      path = this.#lookUp(specifier, referrer);
      this.#resolved.set(key, path);
    }
    return path;
  }

  #lookUp(specifier, referrer) {
    let url;
    try {
      if (!/^(\.{0,2}\/|[a-z]+:)/.test(specifier)) throw new TypeError("a bare name");
      url = new URL(specifier, `convex:/${referrer}`);
    } catch {
      throw new Told({
        message: `Uncaught Error: Relative import path "${specifier}" not prefixed with / or ./ ` +
          `or ../, imported from "${referrer}"`,
        stack: "",
      });
    }
    let path = decodeURIComponent(url.pathname).replace(/^\//, "");
    if (url.protocol === "convex:" && !this.sources.has(path)) path = `${path}.js`;
    if (url.protocol !== "convex:" || !this.sources.has(path)) {
      throw new Told({
        message: `Uncaught Error: Couldn't find module "${specifier}", imported from ` +
          `"${referrer}"`,
        stack: "",
      });
    }
    return path;
  }
}

function emptyContext() {
  return vm.createContext(vm.constants.DONT_CONTEXTIFY, {
    microtaskMode: "afterEvaluate",
    codeGeneration: { strings: false, wasm: true },
  });
}

export class Contexts {
  #scripts;
  #drain = new vm.Script("0", { filename: "cupola:drain" });
  #host;
  #webNames;

  /** `sources`: of environment, console, abi and web. `host`: functions over primitives only. */
  constructor(sources, webNames, host) {
    this.#scripts = Object.fromEntries(
      Object.entries(sources).map(([name, source]) => [
        name,
        new vm.Script(source, { filename: `cupola:${name}` }),
      ]),
    );
    this.#webNames = webNames;
    this.#host = host;
  }

  /** A context without modules, in the import phase of `bundle`. `options`: see `abi.js`. */
  create(bundle, options = {}) {
    const context = emptyContext();
    const host = {
      ...this.#host,
      environment: bundle.environment,
      webNames: this.#webNames,
      loadTemporal: (now) => this.#scripts.temporal.runInContext(emptyContext())(now),
      ...options,
    };
    const install = (name) => this.#scripts[name].runInContext(context);
    const environment = install("environment")(host);
    install("console")(host, environment);
    let web = null;
    const loadWeb = () => (web ??= install("web")(host, environment, install));
    const abi = install("abi")(host, environment, loadWeb);
    const describe = install("failures")();
    environment.begin(bundle.seed, bundle.now, false);
    return new Context(context, { environment, abi, describe, install }, bundle, this.#drain);
  }
}

class Context {
  #context;
  #describe;
  #drain;
  #install;
  #modules = new Map();
  #evaluated = new Map(); // path -> namespace

  constructor(context, { environment, abi, describe, install }, bundle, drain) {
    this.#describe = describe;
    this.#install = install;
    this.#context = context;
    this.#drain = drain;
    this.environment = environment;
    this.abi = abi;
    this.bundle = bundle;
  }

  /** The modules that were loaded so far, those that they import included. */
  get modulePaths() {
    return [...this.#modules.keys()];
  }

  /** Run microtasks until there are none. */
  drain() {
    this.#drain.runInContext(this.#context);
  }

  /** The namespace of a module, evaluated once with all that it imports. */
  evaluate(path) {
    const evaluated = this.#evaluated.get(path);
    if (evaluated !== undefined) return evaluated;
    let module = this.#modules.get(path);
    if (module === undefined || module.status === "unlinked") module = this.#load(path);
    if (module.status === "linked" || module.status === "unlinked") {
      try {
        if (module.status === "unlinked") module.instantiate();
      } catch (error) {
        throw new Told(tellOurs(error));
      }
      module.evaluate();
      this.drain();
    }
    if (module.status === "errored") throw new Told(this.tell(module.error));
    const [state] = getPromiseDetails(module.evaluate());
    if (state === PENDING) {
      throw new Told({
        message: `Uncaught Error: \`${path}\` uses top-level await, which is not supported.`,
        stack: "",
      });
    }
    const { namespace } = module;
    this.#evaluated.set(path, namespace);
    return namespace;
  }

  #load(path) {
    const known = this.#modules.get(path);
    if (known !== undefined) return known;
    let module;
    // Without a callback `import()` rejects with a TypeError of the context, as it should; one that
    // is given is kept by Deno for ever, and the context with it.
    try {
      module = new vm.SourceTextModule(this.bundle.sources.get(path), {
        identifier: `convex:/${path}`,
        context: this.#context,
      });
    } catch (error) {
      throw new Told(tellOurs(error));
    }
    this.#modules.set(path, module);
    const imported = module.moduleRequests.map(({ specifier }) =>
      this.#load(this.bundle.resolve(specifier, path))
    );
    module.linkRequests(imported);
    return module;
  }

  /** Call an exported function. Returns its result's text, or throws what was told of its failure. */
  call(request) {
    const outer = getAsyncContext(); // of the call around this one, or ours
    setAsyncContext(undefined);
    try {
      return this.#call(request);
    } finally {
      setAsyncContext(outer);
    }
  }

  #call({ path, name, kind, args, seed, now, run, bringsDocuments }) {
    const namespace = this.evaluate(path);
    this.environment.begin(seed, now, true);
    this.abi.execute(bringsDocuments ? run : null);
    const promise = this.abi.launch(namespace, path, name, kind, args);
    this.drain();
    this.abi.tellWhatWasRead();
    const [state, value] = getPromiseDetails(promise);
    if (state === FULFILLED) return value;
    if (state !== PENDING) throw new Told(this.tell(value));
    throw new Told({
      message: "Uncaught Error: Function execution produced a promise that will never resolve; " +
        "is every promise that it awaits settled by a database call?",
      stack: "",
    });
  }

  /** What exports say of themselves, as JSON; see `exports.js`. */
  look(what, namespace, path) {
    const look = this.#install("exports")();
    let found;
    try {
      found = look(what, namespace, path);
    } catch (error) {
      throw new Told(this.tell(error));
    }
    this.drain();
    return found;
  }

  /** What code of the context threw, in words. */
  tell(thrown) {
    return JSON.parse(this.#describe(thrown));
  }
}
