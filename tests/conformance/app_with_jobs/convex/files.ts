import { v } from "convex/values";
import { action, mutation, query } from "./_generated/server";

export const uploadUrl = mutation({ handler: (ctx) => ctx.storage.generateUploadUrl() });

export const url = query({
  args: { id: v.id("_storage") },
  handler: (ctx, { id }) => ctx.storage.getUrl(id),
});

export const all = query({ handler: (ctx) => ctx.db.system.query("_storage").collect() });

export const remove = mutation({
  args: { id: v.id("_storage") },
  handler: (ctx, { id }) => ctx.storage.delete(id),
});

export const copy = action({
  args: { id: v.id("_storage") },
  handler: async (ctx, { id }) => {
    const found = await ctx.storage.get(id);
    return ctx.storage.store(found!);
  },
});
