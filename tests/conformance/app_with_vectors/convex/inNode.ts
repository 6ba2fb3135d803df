"use node";
import { v } from "convex/values";
import { action } from "./_generated/server";

export const count = action({
  args: { plot: v.array(v.float64()) },
  handler: async (ctx, { plot }): Promise<number> =>
    (await ctx.vectorSearch("movies", "by_plot", { vector: plot, limit: 256 })).length,
});
