// Values that go in and come out: through arguments and results, and through the database.
import { v } from "convex/values";
import { action, mutation, query } from "./_generated/server";

export const echo = query({
  args: { value: v.any() },
  returns: v.any(),
  handler: async (_ctx, { value }) => value,
});

export const echo_from_action = action({
  args: { value: v.any() },
  returns: v.any(),
  handler: async (_ctx, { value }) => value,
});

export const keep = mutation({
  args: { value: v.any() },
  returns: v.id("kept"),
  handler: async (ctx, { value }) => await ctx.db.insert("kept", { value }),
});

export const kept = query({
  args: { id: v.id("kept") },
  returns: v.any(),
  handler: async (ctx, { id }) => (await ctx.db.get(id))!.value,
});

/** A result of about that size. */
export const large = query({
  args: { mebibytes: v.number() },
  returns: v.array(v.string()),
  handler: async (_ctx, { mebibytes }) =>
    Array.from({ length: mebibytes }, (_, i) => String(i).padStart(2, "0") + "x".repeat(2 ** 20 - 2)),
});
