import { v, ConvexError } from "convex/values";
import { queryGeneric as query, mutationGeneric as mutation, internalQueryGeneric as internalQuery,
  paginationOptsValidator, anyApi } from "convex/server";

const importedAt = Date.now();
const importedRandom = Math.random();
let counter = 0;

export const list = query({
  args: { channel: v.string() },
  handler: async (ctx, { channel }) =>
    await ctx.db.query("messages").withIndex("by_channel", (q) => q.eq("channel", channel))
      .order("desc").take(50),
});

export const all = query({
  args: {},
  handler: async (ctx) => (await ctx.db.query("messages").collect()).map((m) => m.body),
});

export const send = mutation({
  args: { channel: v.string(), body: v.string() },
  returns: v.id("messages"),
  handler: async (ctx, { channel, body }) => await ctx.db.insert("messages", { channel, body }),
});

export const matching = query({
  args: { body: v.string() },
  handler: async (ctx, { body }) =>
    await ctx.db.query("messages").filter((q) => q.eq(q.field("body"), body)).first(),
});

export const page = query({
  args: { paginationOpts: paginationOptsValidator },
  handler: async (ctx, { paginationOpts }) => await ctx.db.query("messages").paginate(paginationOpts),
});

export const twoPages = query({
  args: {},
  handler: async (ctx) => {
    const options = { numItems: 1, cursor: null };
    await ctx.db.query("messages").paginate(options);
    await ctx.db.query("messages").paginate(options);
  },
});

export const get = query({
  args: { id: v.string() },
  handler: async (ctx, { id }) => await ctx.db.get(id as any),
});

export const getFrom = query({
  args: { table: v.string(), id: v.string() },
  handler: async (ctx, { table, id }) => await (ctx.db as any).get(table, id),
});

export const normalize = query({
  args: { table: v.string(), id: v.string() },
  handler: async (ctx, { table, id }) => ctx.db.normalizeId(table, id),
});

export const edit = mutation({
  args: { id: v.id("messages") },
  handler: async (ctx, { id }) => {
    const seen: any[] = [];
    await ctx.db.patch(id, { body: "patched", extra: 1n });
    seen.push(await ctx.db.get(id));
    await ctx.db.patch(id, { extra: undefined });
    seen.push(await ctx.db.get(id));
    await ctx.db.replace(id, { channel: "other", body: "replaced" });
    seen.push(await ctx.db.get(id));
    seen.push((await ctx.db.query("messages").withIndex("by_channel", (q) => q.eq("channel", "other"))
      .collect()).length);
    await ctx.db.delete(id);
    seen.push(await ctx.db.get(id));
    return seen;
  },
});

export const patchSame = mutation({
  args: { id: v.id("messages"), body: v.string() },
  handler: async (ctx, { id, body }) => {
    await ctx.db.patch(id, { body });
  },
});

export const count = query({
  args: {},
  handler: async (ctx) => await (ctx.db.query("messages") as any).count(),
});

export const fail = query({
  args: {},
  handler: async () => {
    throw new Error("boom");
  },
});

export const failWithData = mutation({
  args: {},
  handler: async (ctx) => {
    await ctx.db.insert("messages", { channel: "lost", body: "lost" });
    throw new ConvexError({ code: 7n, text: "bad" });
  },
});

export const secret = internalQuery({ args: {}, handler: async () => "secret" });

export const whoAmI = query({
  args: {},
  handler: async (ctx) => (await ctx.auth.getUserIdentity())?.subject ?? null,
});

export const callsQuery = query({
  args: {},
  handler: async (ctx) => [await ctx.runQuery(anyApi.messages.secret, {}),
    await ctx.runQuery(anyApi.messages.count, {})],
});

export const sendThenCatch = mutation({
  args: {},
  handler: async (ctx) => {
    await ctx.runMutation(anyApi.messages.send, { channel: "kept", body: "kept" });
    try {
      await ctx.runMutation(anyApi.messages.failWithData, {});
    } catch (error) {
      const isConvexError = error instanceof ConvexError;
      return { isConvexError, data: isConvexError ? error.data : null,
        bodies: (await ctx.db.query("messages").collect()).map((m) => m.body) };
    }
  },
});

export const endless = mutation({
  args: {},
  handler: async (ctx): Promise<any> => await ctx.runMutation(anyApi.messages.endless, {}),
});

export const logs = query({
  args: {},
  handler: async () => {
    console.log("a", { b: 1 }, [1, 2, ["x"]], -0, 5n, undefined, null);
    console.warn(new Error("boom"), new Map([[1, { a: 2 }]]), new Set(["s"]), () => 1);
    console.error([{ a: 1 }], "it's\n", class A {}, Symbol("s"));
    console.time("t");
  },
});

export const manyLogs = query({
  args: {},
  handler: async () => {
    for (let i = 0; i < 1000; i++) console.log(i);
  },
});

export const clock = query({
  args: {},
  handler: async () => ({
    same: Date.now() === new Date().getTime() && Date.now() === Date.now(),
    now: Date.now(),
    intl: new Intl.DateTimeFormat("en-US", { dateStyle: "long", timeStyle: "long" }).format() ===
      new Intl.DateTimeFormat("en-US", { dateStyle: "long", timeStyle: "long" }).format(Date.now()),
    parts: JSON.stringify(new Intl.DateTimeFormat().formatToParts()) ===
      JSON.stringify(new Intl.DateTimeFormat().formatToParts(Date.now())),
    temporal: (globalThis as any).Temporal.Now.instant().epochMilliseconds === Date.now(),
    zone: Intl.DateTimeFormat().resolvedOptions().timeZone,
    offset: new Date().getTimezoneOffset(),
    text: typeof (Date as any)(),
    subclass: new (class extends Date {})().getTime() === Date.now(),
    performance: performance.now() + performance.timeOrigin === Date.now(),
    importedAt,
  }),
});

export const random = query({
  args: {},
  handler: async () => ({
    a: Math.random(), b: Math.random(), uuid: crypto.randomUUID(),
    bytes: [...crypto.getRandomValues(new Uint8Array(4))], imported: importedRandom,
  }),
});

export const counted = query({ args: {}, handler: async () => ++counter });

/** What calls before this one left behind in globals; leaves some itself. */
async function leaveTraces() {
  const before = [(globalThis as any).left, ({} as any).polluted, (URL.prototype as any).left];
  (globalThis as any).left = true;
  (Object.prototype as any).polluted = true;
  (URL.prototype as any).left = true;
  return before.map((each) => each ?? null);
}

export const global = query({ args: {}, handler: leaveTraces });

export const timer = query({
  args: {},
  handler: async () => {
    try {
      setTimeout(() => {}, 1);
    } catch {
      // not this way
    }
    return "went on";
  },
});

export const fetches = query({
  args: {},
  handler: async () => {
    try {
      await fetch("https://example.com");
    } catch (error: any) {
      return error.message;
    }
  },
});

export const generatesKey = query({
  args: {},
  handler: async () => {
    await crypto.subtle.generateKey({ name: "HMAC", hash: "SHA-256" }, true, ["sign"]);
  },
});

export const never = query({ args: {}, handler: async () => await new Promise(() => {}) });

export const rejects = query({
  args: {},
  handler: async () => {
    void Promise.reject(new Error("nobody listens"));
    return 1;
  },
});

export const unawaited = mutation({
  args: { fails: v.boolean() },
  handler: async (ctx, { fails }) => {
    void ctx.db.insert("messages", { channel: "unawaited", body: "unawaited" });
    if (fails) throw new Error("no");
  },
});

export const environment = query({
  args: {},
  handler: async () => [process.env.GREETING ?? null, process.env.ABSENT ?? null,
    Object.keys(process.env).length, "GREETING" in process.env],
});

export const wrongResult = query({
  args: {}, returns: v.number(), handler: async () => "text" as any,
});

export const values = query({
  args: { value: v.any() },
  handler: async (_, { value }) => ({ value, big: 5n, bytes: new Uint8Array([1, 2, 3]).buffer,
    inf: Infinity, nan: NaN, zero: -0 }),
});

export const compiled = query({
  args: {},
  handler: async () => {
    const bytes = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 7, 1, 96, 2, 127, 127, 1, 127, 3,
      2, 1, 0, 7, 7, 1, 3, 97, 100, 100, 0, 0, 10, 9, 1, 7, 0, 32, 0, 32, 1, 106, 11]);
    const { instance } = await WebAssembly.instantiate(bytes);
    return (instance.exports as any).add(2, 3);
  },
});

export const codeFromText = query({
  args: {},
  handler: async () => {
    const tried: string[] = [];
    for (const attempt of [() => eval("1"), () => new Function("return 1")()]) {
      try {
        attempt();
        tried.push("ran");
      } catch (error: any) {
        tried.push(error.name);
      }
    }
    return tried;
  },
});

export const imports = query({
  args: {},
  handler: async () => {
    try {
      await import("./" + "other.js");
    } catch (error: any) {
      return [error instanceof TypeError, error.name];
    }
  },
});

export const clear = mutation({
  args: {},
  handler: async (ctx) => {
    for (const message of await ctx.db.query("messages").collect()) await ctx.db.delete(message._id);
  },
});

export const sendNumbered = mutation({
  args: { channel: v.string() },
  handler: async (ctx, { channel }) => {
    const known = await ctx.db.query("messages").withIndex("by_channel", (q) => q.eq("channel", channel))
      .collect();
    await ctx.db.insert("messages", { channel, body: String(known.length) });
  },
});

export const callsPython = query({
  args: { n: v.number() },
  handler: async (ctx, { n }) => await ctx.runQuery("snakes:double" as any, { n }),
});

export const randomMutation = mutation({
  args: {}, handler: async () => [Math.random(), crypto.randomUUID(), importedRandom] });
export const countedMutation = mutation({ args: {}, handler: async () => ++counter });
export const globalMutation = mutation({ args: {}, handler: leaveTraces });

export const gets = query({
  args: { id: v.string(), times: v.number() },
  handler: async (ctx, { id, times }) => {
    for (let i = 0; i < times; i++) await ctx.db.get(id as any);
  },
});
export const nothing = query({ args: {}, handler: async () => null });

export const writesWhileReading = mutation({
  args: {},
  handler: async (ctx) => {
    const seen: string[] = [];
    for await (const message of ctx.db.query("messages")) {
      seen.push(message.body);
      if (message.body !== "0") continue;
      for (const later of await ctx.db.query("messages").collect()) {
        if (later.body === "2") await ctx.db.delete(later._id);
        if (later.body === "3") await ctx.db.patch(later._id, { body: "patched" });
      }
      await ctx.db.insert("messages", { channel: "late", body: "late" });
    }
    return seen;
  },
});

export const many = mutation({
  args: { count: v.number() },
  handler: async (ctx, { count }) => {
    for (let i = 0; i < count; i++) await ctx.db.insert("messages", { channel: "many", body: String(i) });
  },
});

export const firstOfMany = query({
  args: {},
  handler: async (ctx) => {
    const seen: string[] = [];
    for await (const message of ctx.db.query("messages").filter((q) => q.neq(q.field("body"), "1"))) {
      seen.push(message.body);
      if (seen.length === 3) break;
    }
    return [seen, (await ctx.db.query("messages").take(40)).length,
      (await ctx.db.query("messages").take(0)).length];
  },
});

export const failsUntilThree = query({
  args: {},
  handler: async (ctx) => {
    const messages = await ctx.db.query("messages").collect();
    if (messages.length < 3) throw new Error("too few");
    return messages.length;
  },
});

export const looksBack = mutation({
  args: {},
  handler: async (ctx) => {
    await ctx.db.insert("messages", { channel: "a", body: "new" });
    const before = await ctx.runQuery(anyApi.messages.all, {}, { useStaleSnapshot: true } as any);
    return [before, await ctx.runQuery(anyApi.messages.all, {})];
  },
});

export const uuid = internalQuery({ args: {}, handler: async () => crypto.randomUUID() });
export const twoUuids = mutation({
  args: {},
  handler: async (ctx) => [await ctx.runQuery(anyApi.messages.uuid, {}),
    await ctx.runQuery(anyApi.messages.uuid, {}), crypto.randomUUID()],
});

export const stamp = mutation({
  args: { body: v.string() },
  handler: async (ctx, { body }) => {
    const { commitTs } = (ctx.db as any).vars;
    const id = await ctx.db.insert("messages", { body: "", at: commitTs });
    await ctx.db.patch(id, { body, list: [commitTs] });
    const found: any = await ctx.db.get(id);
    const above = await ctx.db.query("messages").withIndex("by_time", (q) => q.gte("at", commitTs)).collect();
    const nested = await ctx.runQuery(anyApi.messages.echoStamp, { at: commitTs });
    return { same: found.at === commitTs && nested === commitTs, text: `${found.at}`, above: above.length, at: commitTs };
  },
});

export const echoStamp = query({ args: { at: v.int64() }, handler: async (_ctx, { at }) => at });

export const stampedAfter = query({
  args: { at: v.int64() },
  handler: async (ctx, { at }) =>
    (await ctx.db.query("messages").withIndex("by_time", (q) => q.gt("at", at)).take(10))
      .map(({ at, body }) => ({ at, body })),
});

export const snapshotTs = query({ args: {}, handler: async (ctx) => (ctx as any).meta.getSnapshotTs() });

export const stampAsNumber = mutation({ args: {}, handler: async (ctx) => Number((ctx.db as any).vars.commitTs) });

export const stampLater = mutation({
  args: {},
  handler: async (ctx) => {
    await ctx.scheduler.runAfter(0, anyApi.messages.echoStamp, { at: (ctx.db as any).vars.commitTs });
  },
});

export const callsWhileReading = query({
  args: {},
  handler: async (ctx) => {
    const seen: [string, number][] = [];
    for await (const message of ctx.db.query("messages")) {
      seen.push([message.body, await ctx.runQuery("messages:count" as any, {})]);
    }
    return seen;
  },
});

export const callsPythonThatFails = query({
  args: { isCaught: v.boolean() },
  handler: async (ctx, { isCaught }) => {
    try {
      return await ctx.runQuery("snakes:fail" as any, {});
    } catch (error: any) {
      if (!isCaught) throw error;
      return error.message.split("\n");
    }
  },
});

export const hop = query({
  args: { hops: v.number() },
  handler: async (ctx, { hops }): Promise<any> => {
    const before = (await ctx.db.query("messages").collect()).length;
    if (hops === 0) return [before];
    return [before, ...await ctx.runQuery("snakes:hop" as any, { hops: hops - 1 })];
  },
});

export const hopAndCatch = mutation({
  args: { path: v.string() },
  handler: async (ctx, { path }) => {
    try {
      return await ctx.runMutation("snakes:hop_and_catch" as any, { path });
    } catch (error: any) {
      return error.message;
    }
  },
});

export const loopsForEver = mutation({ args: {}, handler: async () => { for (;;); } });

export const patchesWhileReading = mutation({
  args: {},
  handler: async (ctx) => {
    let count = 0;
    for await (const message of ctx.db.query("messages")) {
      await ctx.db.patch(message._id, { body: `${message.body}!` });
      count++;
    }
    return count;
  },
});

export const addsAtTheEnd = mutation({
  args: {},
  handler: async (ctx) => {
    const seen: string[] = [];
    for await (const message of ctx.db.query("messages")) {
      seen.push(message.body);
      if (message.body === "2") await ctx.db.insert("messages", { channel: "late", body: "late" });
    }
    return seen;
  },
});

export const cancelsWhileReading = mutation({
  args: {},
  handler: async (ctx) => {
    const jobs = [];
    for (let i = 0; i < 3; i++) jobs.push(await ctx.scheduler.runAfter(3_600_000, "messages:clear" as any, {}));
    const seen: string[] = [];
    for await (const job of ctx.db.system.query("_scheduled_functions").order("desc")) {
      if (!jobs.includes(job._id)) break;
      seen.push(job.state.kind);
      for (const each of jobs) await ctx.scheduler.cancel(each);
    }
    return seen;
  },
});

export const throwsHalfACharacter = query({
  args: {},
  handler: async () => {
    throw new Error(`cut ${"😀".slice(0, 1)}`);
  },
});
