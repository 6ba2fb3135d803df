// The app's own functions, which use two ledgers.
import { createFunctionHandle } from "convex/server";
import { v } from "convex/values";
import { api, components, internal } from "./_generated/api";
import { action, internalMutation, mutation, query } from "./_generated/server";

export const save = mutation({
  args: { account: v.string(), amount: v.number() },
  handler: async (ctx, args): Promise<string> =>
    await ctx.runMutation(components.savings.entries.add, args),
});

export const spend = mutation({
  args: { account: v.string(), amount: v.number() },
  handler: async (ctx, args): Promise<string | null> => {
    try {
      return await ctx.runMutation(components.spending.entries.add, args);
    } catch {
      await ctx.db.insert("notes", { text: `could not spend ${args.amount}` });
      return null;
    }
  },
});

export const undo = mutation({
  args: { entry: v.string() },
  handler: async (ctx, { entry }) => {
    await ctx.runMutation(components.savings.entries.reverse, { entry });
  },
});

export const totals = query({
  args: { account: v.string() },
  handler: async (ctx, args) => ({
    savings: await ctx.runQuery(components.savings.entries.total, args),
    spending: await ctx.runQuery(components.spending.entries.total, args),
  }),
});

export const look = query({
  args: { table: v.string(), id: v.optional(v.string()) },
  handler: async (ctx, args): Promise<any> =>
    await ctx.runQuery(components.savings.entries.look, args),
});

export const lookFromOutside = query({
  args: { table: v.string(), id: v.optional(v.string()) },
  handler: async (ctx, { table, id }) => ({
    rows: (await ctx.db.query(table as "notes").collect()).length,
    document: id === undefined ? null : await ctx.db.get(id as never),
    jobs: (await ctx.db.system.query("_scheduled_functions").collect()).length,
  }),
});

export const note = internalMutation({
  args: { text: v.string() },
  handler: async (ctx, { text }) => {
    const user = (await ctx.auth.getUserIdentity())?.subject ?? "nobody";
    await ctx.db.insert("notes", { text: `${user}: ${text}` });
  },
});

export const notes = query({
  args: {},
  handler: async (ctx) => (await ctx.db.query("notes").collect()).map(({ text }) => text),
});

export const saveLater = mutation({
  args: { account: v.string(), amount: v.number() },
  handler: async (ctx, args): Promise<string> => {
    const then = await createFunctionHandle(internal.money.note);
    return await ctx.runMutation(components.savings.entries.addLater, { ...args, then });
  },
});

export const saveInAction = action({
  args: { account: v.string(), amount: v.number() },
  handler: async (ctx, args): Promise<any> => {
    const then = await createFunctionHandle(internal.money.note);
    return {
      handle: then,
      inside: await ctx.runAction(components.savings.entries.addInAction, { ...args, then }),
      totals: await ctx.runQuery(api.money.totals, { account: args.account }),
    };
  },
});

export const scheduleInside = mutation({
  args: { account: v.string(), amount: v.number() },
  handler: async (ctx, args) => {
    await ctx.scheduler.runAfter(0, components.spending.entries.add, args);
  },
});

export const receipt = action({
  args: { text: v.string() },
  handler: async (ctx, { text }): Promise<any> => ({
    mine: await ctx.storage.store(new Blob([text])),
    inside: await ctx.runAction(components.savings.entries.receipt, { text }),
  }),
});

export const receipts = query({
  args: { id: v.string() },
  handler: async (ctx, { id }): Promise<any> => ({
    url: await ctx.storage.getUrl(id as never),
    files: (await ctx.db.system.query("_storage").collect()).map((file) => file._id),
    inSavings: await ctx.runQuery(components.savings.entries.receipts, { id }),
    inSpending: await ctx.runQuery(components.spending.entries.receipts, { id }),
  }),
});
