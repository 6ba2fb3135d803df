// What a query that was made up on the spot imports as `convex:/_system/repl/wrappers.js`: `query`,
// whose handler gets a `ctx` that reads. The deployment's own package is bundled into its modules,
// where nobody else finds it; so this speaks to the engine itself.

const undefinedJson = { $undefined: null };

function base64(bytes) {
  return btoa(String.fromCharCode(...bytes));
}

function bytesOf(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

function toJson(value) {
  if (value === null || typeof value === "string" || typeof value === "boolean") return value;
  if (value === undefined) return undefinedJson;
  const view = new DataView(new ArrayBuffer(8));
  if (typeof value === "bigint") {
    view.setBigInt64(0, value, true);
    return { $integer: base64(new Uint8Array(view.buffer)) };
  }
  if (typeof value === "number") {
    if (Number.isFinite(value) && !Object.is(value, -0)) return value;
    view.setFloat64(0, value, true);
    return { $float: base64(new Uint8Array(view.buffer)) };
  }
  if (value instanceof ArrayBuffer) return { $bytes: base64(new Uint8Array(value)) };
  if (Array.isArray(value)) return value.map(toJson);
  if (typeof value !== "object" || value[Symbol.toStringTag] !== undefined) {
    throw new Error(`A ${typeof value} is no value that can be sent.`);
  }
  const entries = Object.entries(value).filter(([, item]) => item !== undefined);
  return Object.fromEntries(entries.map(([name, item]) => [name, toJson(item)]));
}

function fromJson(json) {
  if (json === null || typeof json !== "object") return json;
  if (Array.isArray(json)) return json.map(fromJson);
  const names = Object.keys(json);
  if (names.length === 1) {
    const text = json[names[0]];
    if (names[0] === "$integer") return new DataView(bytesOf(text).buffer).getBigInt64(0, true);
    if (names[0] === "$float") return new DataView(bytesOf(text).buffer).getFloat64(0, true);
    if (names[0] === "$bytes") return bytesOf(text).buffer;
  }
  return Object.fromEntries(names.map((name) => [name, fromJson(json[name])]));
}

const now = (op, args) => JSON.parse(Convex.syscall(op, JSON.stringify(args)));
const later = async (op, args) => JSON.parse(await Convex.asyncSyscall(op, JSON.stringify(args)));

// ---------------------------------------------------------------------------------------- queries

class Expression {
  constructor(json) {
    this.json = json;
  }
}

const expressionOf = (value) =>
  value instanceof Expression ? value.json : { $literal: toJson(value) };

const operators = { field: (path) => new Expression({ $field: path }) };
for (const name of ["eq", "neq", "lt", "lte", "gt", "gte", "add", "sub", "mul", "div", "mod"]) {
  operators[name] = (left, right) =>
    new Expression({ [`$${name}`]: [expressionOf(left), expressionOf(right)] });
}
for (const name of ["neg", "not"]) {
  operators[name] = (operand) => new Expression({ [`$${name}`]: expressionOf(operand) });
}
for (const name of ["and", "or"]) {
  operators[name] = (...operands) => new Expression({ [`$${name}`]: operands.map(expressionOf) });
}

function rangeOf(build) {
  const range = [];
  const builder = {};
  for (const name of ["eq", "gt", "gte", "lt", "lte"]) {
    builder[name] = (fieldPath, value) => {
      const type = name[0].toUpperCase() + name.slice(1);
      range.push({ type, fieldPath, value: toJson(value) });
      return builder;
    };
  }
  build?.(builder);
  return range;
}

class Query {
  constructor(source, steps = []) {
    this.source = source;
    this.steps = steps;
  }

  withIndex(name, build) {
    const table = this.source.tableName;
    const indexName = `${table}.${name}`;
    return new Query({ type: "IndexRange", indexName, range: rangeOf(build), order: null });
  }

  fullTableScan() {
    return this;
  }

  order(order) {
    return new Query({ ...this.source, order }, this.steps);
  }

  filter(build) {
    return new Query(this.source, [...this.steps, { filter: expressionOf(build(operators)) }]);
  }

  limit(limit) {
    return new Query(this.source, [...this.steps, { limit }]);
  }

  async *[Symbol.asyncIterator]() {
    const { queryId } = now("1.0/queryStream", { query: this.json });
    try {
      for (;;) {
        const { value, done } = await later("1.0/queryStreamNext", { queryId });
        if (done) return;
        yield fromJson(value);
      }
    } finally {
      now("1.0/queryCleanup", { queryId });
    }
  }

  async collect() {
    const found = [];
    for await (const document of this) found.push(document);
    return found;
  }

  async take(count) {
    return await this.limit(count).collect();
  }

  async first() {
    return (await this.take(1))[0] ?? null;
  }

  async unique() {
    const found = await this.take(2);
    if (found.length > 1) throw new Error("The query has more than one result.");
    return found[0] ?? null;
  }

  async paginate({ cursor, numItems, endCursor = null, maximumRowsRead = null }) {
    const page = { cursor, endCursor, pageSize: numItems, maximumRowsRead, version: "repl" };
    const found = await later("1.0/queryPage", { query: this.json, ...page });
    return { ...found, page: found.page.map(fromJson) };
  }

  get json() {
    return { source: this.source, operators: this.steps };
  }
}

// ---------------------------------------------------------------------------------------- the ctx

function reader(isSystem) {
  return {
    get: async (...given) => {
      const id = given.at(-1);
      return fromJson(await later("1.0/get", { id, isSystem, version: "repl" }));
    },
    query: (tableName) => new Query({ type: "FullTableScan", tableName, order: null }),
    normalizeId: (table, idString) => now("1.0/db/normalizeId", { table, idString }).id,
  };
}

function addressOf(reference) {
  if (typeof reference === "string") return { name: reference };
  const name = reference[Symbol.for("functionName")];
  if (name === undefined) throw new Error("This is no reference to a function.");
  return { name };
}

const context = {
  db: { ...reader(false), system: reader(true) },
  auth: { getUserIdentity: () => later("1.0/getUserIdentity", { requestId: "" }) },
  runQuery: async (reference, args = {}) => {
    const call = { udfType: "query", args: toJson(args), ...addressOf(reference) };
    return fromJson(await later("1.0/runUdf", call));
  },
};

function register(visibility) {
  return (definition) => {
    const handler = typeof definition === "function" ? definition : definition.handler;
    return Object.assign(() => {}, {
      isQuery: true,
      [visibility]: true,
      exportArgs: () => '{"type":"any"}',
      exportReturns: () => "null",
      invokeQuery: async (args) => {
        const result = await handler(context, ...JSON.parse(args).map(fromJson));
        return JSON.stringify(result === undefined ? null : toJson(result));
      },
      _handler: handler,
    });
  };
}

export const query = register("isPublic");
export const internalQuery = register("isInternal");
