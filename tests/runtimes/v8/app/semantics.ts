// What the conformance checklist asks for and no other module here has.
import { v } from "convex/values";
import { queryGeneric as query, mutationGeneric as mutation, paginationOptsValidator, anyApi }
  from "convex/server";

const imported = [Date.now(), Math.random()];
const bodies = (found: any[]) => found.map((each) => each.body);

export const ranges = query({
  args: {},
  handler: async (ctx) => {
    const range = (build: any, order: any) =>
      ctx.db.query("messages").withIndex("by_channel", build).order(order).collect();
    return {
      missing: bodies(await range((q: any) => q.eq("channel", undefined), "asc")),
      below: bodies(await range((q: any) => q.lt("channel", "b"), "asc")),
      backwards: bodies(await range((q: any) => q.lte("channel", "a"), "desc")),
    };
  },
});

export const insert = mutation({
  args: { table: v.string(), document: v.any() },
  handler: async (ctx, { table, document }) => await ctx.db.insert(table, document),
});

export const insertMany = mutation({
  args: { count: v.number(), channel: v.string() },
  handler: async (ctx, { count, channel }) => {
    for (let i = 0; i < count; i++) await ctx.db.insert("messages", { channel, body: String(i) });
  },
});

export const remove = mutation({
  args: { id: v.string() },
  handler: async (ctx, { id }) => await ctx.db.delete(id as any),
});

const seen = async () => ({
  imported, now: Date.now(), later: Date.now(), random: Math.random(), uuid: crypto.randomUUID(),
});
export const environment = query({ args: { n: v.number() }, handler: seen });
export const environmentOfMutation = mutation({ args: {}, handler: seen });

export const generatesKey = mutation({
  args: {},
  handler: async () => {
    await crypto.subtle.generateKey({ name: "HMAC", hash: "SHA-256" }, true, ["sign"]);
  },
});

export const schedules = mutation({
  args: { fails: v.boolean() },
  handler: async (ctx, { fails }) => {
    const job = await ctx.scheduler.runAfter(1500, anyApi.messages.clear, {});
    if (fails) throw new Error("not scheduled");
    return { job, now: Date.now() };
  },
});

export const pageByChannel = query({
  args: { paginationOpts: paginationOptsValidator },
  handler: async (ctx, { paginationOpts }) =>
    await ctx.db.query("messages").withIndex("by_channel").paginate(paginationOpts),
});

export const looksAtNobody = query({ args: {}, handler: async () => Math.random() });
export const looksAtCaller = query({
  args: {},
  handler: async (ctx) => [(await ctx.auth.getUserIdentity())?.subject ?? null, Math.random()],
});
export const looksAtTime = query({ args: {}, handler: async () => [Date.now(), Math.random()] });
export const looksAtTimeInside = query({
  args: {},
  handler: async (ctx): Promise<any> => await ctx.runQuery(anyApi.semantics.looksAtTime, {}),
});
export const measures = query({ args: {}, handler: async () => [performance.now(), Math.random()] });

export const readsTooMuch = query({
  args: {},
  handler: async (ctx) => {
    try {
      await ctx.db.query("messages").collect();
      return "read all";
    } catch (error: any) {
      return error.message;
    }
  },
});

export const takesUser = query({ args: { id: v.id("users") }, handler: async () => null });

const caught = async (work: Promise<any>) => {
  try {
    return await work;
  } catch (error: any) {
    return error.message;
  }
};

export const budgets = mutation({
  args: { limits: v.any() },
  handler: async (ctx, { limits }): Promise<any> => {
    const call = (path: any, args: any) =>
      caught((ctx as any).runMutation(path, args, { transactionLimits: limits }));
    await ctx.db.insert("messages", { body: "mine" });
    const inside = await call(anyApi.semantics.insertMany, { count: 3, channel: "budget" });
    for (let i = 0; i < 5; i++) await ctx.db.insert("messages", { body: "after" });
    const read = await caught((ctx as any).runQuery(anyApi.messages.all, {}, { transactionLimits: limits }));
    return { inside, read, all: (await ctx.db.query("messages").collect()).length };
  },
});
