// Calls that come near a limit; `functions.py.txt` has the same in Python.
import {
  actionGeneric as action, anyApi, mutationGeneric as mutation, queryGeneric as query,
} from "convex/server";
import { v } from "convex/values";

export const reads = query({
  args: { count: v.number() },
  handler: async (ctx, { count }) => (await ctx.db.query("messages").take(count)).length,
});

export const writes = mutation({
  args: { count: v.number() },
  handler: async (ctx, { count }) => {
    for (let i = 0; i < count; i++) await ctx.db.insert("messages", { channel: "l", body: "b" });
  },
});

export const schedules = mutation({
  args: { count: v.number() },
  handler: async (ctx, { count }) => {
    for (let i = 0; i < count; i++) {
      await ctx.scheduler.runAfter(3_600_000, anyApi.limits.writes, { count: 0 });
    }
  },
});

export const echoes = query({
  args: { text: v.string() },
  handler: async (_, { text }) => text,
});

export const echoesOutside = action({
  args: { text: v.string() },
  handler: async (_, { text }) => text,
});

export const spins = query({
  args: { times: v.number() },
  handler: async (_, { times }) => {
    let sum = 0;
    for (let i = 0; i < times; i++) sum += Math.sqrt(i) % 3;
    return sum > 0;
  },
});

export const schedulesLarge = mutation({
  args: { size: v.number() },
  handler: async (ctx, { size }) =>
    await ctx.scheduler.runAfter(3_600_000, anyApi.limits.echoesOutside, { text: "x".repeat(size) }),
});
