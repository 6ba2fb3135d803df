import { v } from "convex/values";
import { actionGeneric as action, mutationGeneric as mutation, queryGeneric as query } from "convex/server";

export const roundTrip = action({
  args: { size: v.number() },
  handler: async (ctx, { size }) => {
    const bytes = new Uint8Array(size).map((_, at) => at % 251);
    const id = await ctx.storage.store(new Blob([bytes], { type: "a/b" }));
    const blob = await ctx.storage.get(id);
    const back = new Uint8Array(await blob!.arrayBuffer());
    return {
      id, type: blob!.type, same: back.length === size && back.every((each, at) => each === at % 251),
      url: await ctx.storage.getUrl(id), about: await ctx.storage.getMetadata(id),
    };
  },
});

export const withDigest = action({
  args: { sha256: v.string() },
  handler: async (ctx, { sha256 }) => await ctx.storage.store(new Blob(["hello"]), { sha256 }),
});

export const leavesOpen = action({
  args: {},
  handler: async (ctx) => {
    void ctx.storage.store(new Blob([new Uint8Array(3_000_000)]));
    return null;
  },
});

export const leavesOpenAndFails = action({
  args: {},
  handler: async (ctx) => {
    void ctx.storage.store(new Blob([new Uint8Array(3_000_000)]));
    await new Promise((resolve) => setTimeout(resolve, 10));
    throw new Error("left");
  },
});

export const removeInAction = action({
  args: { id: v.id("_storage") },
  handler: async (ctx, { id }) => {
    await ctx.storage.delete(id);
    return await ctx.storage.get(id);
  },
});

export const uploadUrl = mutation({ args: {}, handler: async (ctx) => await ctx.storage.generateUploadUrl() });
export const url = query({
  args: { id: v.id("_storage") },
  handler: async (ctx, { id }) => await ctx.storage.getUrl(id),
});
export const about = query({
  args: { id: v.id("_storage") },
  handler: async (ctx, { id }) => ({
    metadata: await ctx.storage.getMetadata(id), document: await ctx.db.system.get(id),
  }),
});
export const all = query({ args: {}, handler: async (ctx) => await ctx.db.system.query("_storage").collect() });
export const remove = mutation({
  args: { id: v.id("_storage") },
  handler: async (ctx, { id }) => {
    await ctx.storage.delete(id);
    return await ctx.storage.getUrl(id);
  },
});
