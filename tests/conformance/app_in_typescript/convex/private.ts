// What only an administrator may call.
import { v } from "convex/values";
import { internalQuery, query } from "./_generated/server";

export const secret = internalQuery({
  args: {},
  returns: v.string(),
  handler: async () => "hidden",
});

/** The caller's name, if it has one. */
export const identity = query({
  args: {},
  returns: v.union(v.string(), v.null()),
  handler: async (ctx) => (await ctx.auth.getUserIdentity())?.name ?? null,
});
