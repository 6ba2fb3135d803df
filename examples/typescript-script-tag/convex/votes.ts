import { v } from "convex/values";
import { mutation, query } from "./_generated/server";

export const tally = query({
  args: {},
  returns: v.record(v.string(), v.number()),
  handler: async (ctx) => {
    const votes = await ctx.db.query("votes").collect();
    return Object.fromEntries(votes.map(({ choice, count }) => [choice, count]));
  },
});

/** Counts one more. Two at the same time are two: a mutation is a transaction. */
export const cast = mutation({
  args: { choice: v.union(v.literal("tea"), v.literal("coffee")) },
  returns: v.null(),
  handler: async (ctx, { choice }) => {
    const vote = await ctx.db
      .query("votes")
      .withIndex("by_choice", (q) => q.eq("choice", choice))
      .unique();
    if (vote === null) await ctx.db.insert("votes", { choice, count: 1 });
    else await ctx.db.patch(vote._id, { count: vote.count + 1 });
    return null;
  },
});
