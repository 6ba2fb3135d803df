import { v } from "convex/values";
import { internal } from "./_generated/api";
import type { Id } from "./_generated/dataModel";
import { action, internalMutation, mutation, query } from "./_generated/server";

export const note = internalMutation({
  args: { text: v.string() },
  handler: async (ctx, { text }) => {
    if (text === "bad") throw new Error("a bad note");
    const user = (await ctx.auth.getUserIdentity())?.subject ?? null;
    await ctx.db.insert("notes", { text, user });
  },
});

export const later = mutation({
  args: { text: v.string(), ms: v.number(), fails: v.boolean() },
  handler: async (ctx, { text, ms, fails }): Promise<Id<"_scheduled_functions">> => {
    const id = await ctx.scheduler.runAfter(ms, internal.jobs.note, { text });
    if (fails) throw new Error("nothing of this is kept");
    return id;
  },
});

export const laterInAction = action({
  args: { text: v.string() },
  handler: async (ctx, { text }) => {
    await ctx.scheduler.runAt(Date.now(), internal.jobs.note, { text });
    throw new Error("what was scheduled stays");
  },
});

export const many = mutation({
  args: { count: v.number() },
  handler: async (ctx, { count }) => {
    for (let n = 0; n < count; n++) {
      await ctx.scheduler.runAfter(3_600_000, internal.jobs.note, { text: "many" });
    }
  },
});

export const cancel = mutation({
  args: { id: v.id("_scheduled_functions") },
  handler: (ctx, { id }) => ctx.scheduler.cancel(id),
});

export const job = query({
  args: { id: v.id("_scheduled_functions") },
  handler: (ctx, { id }) => ctx.db.system.get(id),
});

export const texts = query({
  args: {},
  handler: async (ctx) => (await ctx.db.query("notes").collect()).map((each) => each.text),
});

export const users = query({
  args: {},
  handler: async (ctx) => (await ctx.db.query("notes").collect()).map((each) => each.user),
});

export const who = query({
  args: {},
  handler: async (ctx) => (await ctx.auth.getUserIdentity())?.subject ?? null,
});
