import { v } from "convex/values";
import { actionGeneric as action, mutationGeneric as mutation, queryGeneric as query } from "convex/server";

export const nothing = query({ args: { n: v.number() }, handler: async () => null });

export const add = mutation({
  args: { body: v.string() },
  handler: async (ctx, { body }) => await ctx.db.insert("items", { body }),
});

export const gets = query({
  args: { ids: v.array(v.id("items")), n: v.number() },
  handler: async (ctx, { ids }) => {
    for (const id of ids) await ctx.db.get(id);
  },
});

/** The same, of ids that nobody recognizes before they are asked for. */
export const surprises = query({
  args: { disguised: v.array(v.string()), n: v.number() },
  handler: async (ctx, { disguised }) => {
    for (const each of disguised) await ctx.db.get(each.slice(1) as any);
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
