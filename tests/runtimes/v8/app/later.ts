import {
  actionGeneric as action, anyApi, internalActionGeneric as internalAction,
  internalMutationGeneric as internalMutation, mutationGeneric as mutation, queryGeneric as query,
} from "convex/server";
import { v } from "convex/values";

export const write = internalMutation({
  args: { text: v.string() },
  handler: async (ctx, { text }) => {
    await ctx.db.insert("notes", { text, who: await ctx.auth.getUserIdentity() });
  },
});

export const texts = query({
  args: {},
  handler: async (ctx) => (await ctx.db.query("notes").collect()).map((note: any) => note.text),
});

export const job = query({
  args: { id: v.id("_scheduled_functions") },
  handler: async (ctx, { id }) => await ctx.db.system.get(id),
});

export const jobs = query({
  args: {},
  handler: async (ctx) => await ctx.db.system.query("_scheduled_functions").order("desc").take(5),
});

export const after = mutation({
  args: { delay: v.number(), text: v.string() },
  handler: async (ctx, { delay, text }) =>
    await ctx.scheduler.runAfter(delay, anyApi.later.write, { text }),
});

export const at = mutation({
  args: { text: v.string() },
  handler: async (ctx, { text }) =>
    await ctx.scheduler.runAt(new Date(Date.now() - 1000), anyApi.later.write, { text }),
});

export const cancel = mutation({
  args: { id: v.id("_scheduled_functions") },
  handler: async (ctx, { id }) => await ctx.scheduler.cancel(id),
});

export const refuses = mutation({
  args: {},
  handler: async (ctx) => {
    await ctx.scheduler.runAfter(0, anyApi.later.write, { text: "never" });
    throw new Error("no");
  },
});

export const catches = mutation({
  args: {},
  handler: async (ctx) => {
    try {
      await ctx.runMutation(anyApi.later.refuses, {});
    } catch {
      return (await ctx.db.system.query("_scheduled_functions").collect()).length;
    }
  },
});

export const fails = internalMutation({
  args: {},
  handler: async (ctx) => {
    await ctx.db.insert("notes", { text: "half" });
    throw new Error("boom");
  },
});

export const failLater = mutation({
  args: {},
  handler: async (ctx) => await ctx.scheduler.runAfter(0, anyApi.later.fails, {}),
});

export const work = internalAction({
  args: { text: v.string() },
  handler: async (ctx, { text }) => {
    await ctx.scheduler.runAfter(0, anyApi.later.write, { text: `${text} by its action` });
  },
});

export const workLater = mutation({
  args: { text: v.string() },
  handler: async (ctx, { text }) =>
    await ctx.scheduler.runAfter(0, anyApi.later.work, { text }),
});

export const fromAction = action({
  args: {},
  handler: async (ctx) => {
    const id = await ctx.scheduler.runAfter(3_600_000, anyApi.later.write, { text: "late" });
    await ctx.scheduler.cancel(id);
    return id;
  },
});

export const looksAround = mutation({
  args: {},
  handler: async (ctx) => {
    const state = async (id: any) => (await ctx.db.system.get(id) as any).state.kind;
    const count = async () => (await ctx.db.system.query("_scheduled_functions").collect()).length;
    const before = await count();
    const id = await ctx.scheduler.runAfter(60_000, anyApi.later.write, { text: "seen" });
    const states = [await state(id)];
    await ctx.scheduler.cancel(id);
    states.push(await state(id));
    return { states, added: (await count()) - before };
  },
});

/** Before 1.50, the package expects that to have no effect, and a warning in the log. */
export const cancelsItself = internalMutation({
  args: {},
  handler: async (ctx) => {
    const { scheduledFunctionId } = await ctx.meta.getRequestMetadata();
    await ctx.scheduler.cancel(scheduledFunctionId as any);
    await ctx.db.insert("notes", { text: "went on" });
  },
});

export const cancelLater = mutation({
  args: {},
  handler: async (ctx) => await ctx.scheduler.runAfter(0, anyApi.later.cancelsItself, {}),
});
