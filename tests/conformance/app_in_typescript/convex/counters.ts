// A counter shows how often a mutation took effect.
import { v } from "convex/values";
import { mutation, query, type QueryCtx } from "./_generated/server";

const find = async (ctx: QueryCtx, name: string) =>
  await ctx.db
    .query("counters")
    .withIndex("by_name", (q) => q.eq("name", name))
    .unique();

export const get = query({
  args: { name: v.string() },
  returns: v.number(),
  handler: async (ctx, { name }) => (await find(ctx, name))?.value ?? 0,
});

/** The counter's new value. */
export const increment = mutation({
  args: { name: v.string() },
  returns: v.number(),
  handler: async (ctx, { name }) => {
    const counter = await find(ctx, name);
    if (counter === null) {
      await ctx.db.insert("counters", { name, value: 1 });
      return 1;
    }
    await ctx.db.patch(counter._id, { value: counter.value + 1 });
    return counter.value + 1;
  },
});
