import { v } from "convex/values";
import { internalMutation } from "./_generated/server";

export const close = internalMutation({
  args: {},
  returns: v.null(),
  handler: async (ctx) => {
    await ctx.db.insert("entries", { account: "books", amount: 1 });
  },
});
