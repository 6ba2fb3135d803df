// What whoever uses a ledger may call: `components.savings.entries.add`, ...
import { v } from "convex/values";
import { components, internal } from "./_generated/api";
import { action, env, internalMutation, mutation, query } from "./_generated/server";

export const add = mutation({
  args: { account: v.string(), amount: v.number() },
  returns: v.string(),
  handler: async (ctx, args) => {
    const id = await ctx.db.insert("entries", args);
    await ctx.runMutation(components.audit.log.note, { text: `${args.account} ${args.amount}` });
    if (args.amount < 0) throw new Error("An entry cannot be negative.");
    return id;
  },
});

export const reverse = mutation({
  args: { entry: v.id("entries") },
  returns: v.null(),
  handler: async (ctx, { entry }) => {
    const found = await ctx.db.get(entry);
    if (found === null) throw new Error("There is no such entry.");
    const { account, amount } = found;
    await ctx.db.insert("entries", { account, amount: -amount, reverses: entry });
  },
});

export const total = query({
  args: { account: v.string() },
  returns: v.object({ total: v.number(), currency: v.union(v.string(), v.null()) }),
  handler: async (ctx, { account }) => {
    const entries = await ctx.db
      .query("entries")
      .withIndex("by_account", (q) => q.eq("account", account))
      .collect();
    const total = entries.reduce((sum, { amount }) => sum + amount, 0);
    return { total, currency: env.CURRENCY ?? null };
  },
});

export const look = query({
  args: { table: v.string(), id: v.optional(v.string()) },
  returns: v.any(),
  handler: async (ctx, { table, id }) => ({
    rows: (await ctx.db.query(table as "entries").collect()).length,
    document: id === undefined ? null : await ctx.db.get(id as never),
    secret: (globalThis as any).process.env.SECRET ?? null,
    site: (globalThis as any).process.env.CONVEX_SITE_URL ?? null,
    user: await ctx.auth.getUserIdentity(),
    jobs: await ctx.db.system.query("_scheduled_functions").collect(),
    notes: await ctx.runQuery(components.audit.log.count, {}),
  }),
});

export const addLater = mutation({
  args: { account: v.string(), amount: v.number(), then: v.string() },
  returns: v.string(),
  handler: async (ctx, args): Promise<string> =>
    await ctx.scheduler.runAfter(0, internal.entries.addAndTell, args),
});

export const addAndTell = internalMutation({
  args: { account: v.string(), amount: v.number(), then: v.string() },
  returns: v.null(),
  handler: async (ctx, { then, ...entry }) => {
    await ctx.db.insert("entries", entry);
    await ctx.runMutation(then as never, { text: `added ${entry.amount}` } as never);
  },
});

export const addInAction = action({
  args: { account: v.string(), amount: v.number(), then: v.string() },
  returns: v.any(),
  handler: async (ctx, args) => {
    await ctx.runMutation(internal.entries.addAndTell, args);
    await ctx.scheduler.runAfter(0, internal.entries.addAndTell, args);
    return { currency: env.CURRENCY ?? null, user: await ctx.auth.getUserIdentity() };
  },
});

export const receipt = action({
  args: { text: v.string() },
  returns: v.any(),
  handler: async (ctx, { text }) => {
    const id = await ctx.storage.store(new Blob([text], { type: "text/plain" }));
    const url = await ctx.storage.getUrl(id);
    const again = await (await ctx.storage.get(id))?.text();
    return { id, url, again, uploadUrl: await ctx.storage.generateUploadUrl() };
  },
});

export const receipts = query({
  args: { id: v.string() },
  returns: v.any(),
  handler: async (ctx, { id }) => ({
    url: await ctx.storage.getUrl(id as never),
    files: (await ctx.db.system.query("_storage").collect()).map((file) => file._id),
  }),
});
