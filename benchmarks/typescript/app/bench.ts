import { v } from "convex/values";
import { actionGeneric as action, mutationGeneric as mutation, queryGeneric as query } from "convex/server";

export const nothing = query({ args: { n: v.number() }, handler: async () => null });

export const add = mutation({
  args: { body: v.string() },
  handler: async (ctx, { body }) => await ctx.db.insert("items", { body }),
});

export const gets = query({
  args: { id: v.id("items"), times: v.number(), n: v.number() },
  handler: async (ctx, { id, times }) => {
    for (let i = 0; i < times; i++) await ctx.db.get(id);
  },
});

export const collect = query({
  args: { n: v.number() },
  handler: async (ctx) => (await ctx.db.query("items").collect()).length,
});

export const act = action({ args: { n: v.number() }, handler: async () => null });

export const loop = query({
  args: {},
  handler: async () => {
    for (;;);
  },
});
