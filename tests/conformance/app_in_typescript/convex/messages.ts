// Live lists, pages, and an action that writes.
import { paginationOptsValidator } from "convex/server";
import { v } from "convex/values";
import { api } from "./_generated/api";
import { action, mutation, query, type QueryCtx } from "./_generated/server";

const newestFirst = (ctx: QueryCtx, channel: string) =>
  ctx.db
    .query("messages")
    .withIndex("by_channel", (q) => q.eq("channel", channel))
    .order("desc");

/** The newest fifty of a channel, newest first. */
export const list = query({
  args: { channel: v.string() },
  handler: async (ctx, { channel }) => await newestFirst(ctx, channel).take(50),
});

export const page = query({
  args: { channel: v.string(), paginationOpts: paginationOptsValidator },
  handler: async (ctx, { channel, paginationOpts }) =>
    await newestFirst(ctx, channel).paginate(paginationOpts),
});

export const send = mutation({
  args: { channel: v.string(), author: v.string(), body: v.string() },
  returns: v.id("messages"),
  handler: async (ctx, message) => {
    console.log("sending to", message.channel);
    return await ctx.db.insert("messages", message);
  },
});

export const send_many = mutation({
  args: { channel: v.string(), bodies: v.array(v.string()) },
  returns: v.number(),
  handler: async (ctx, { channel, bodies }) => {
    for (const body of bodies) await ctx.db.insert("messages", { channel, author: "many", body });
    return bodies.length;
  },
});

export const remove = mutation({
  args: { id: v.id("messages") },
  returns: v.null(),
  handler: async (ctx, { id }) => {
    await ctx.db.delete(id);
    return null;
  },
});

/** Sends twice, each in a transaction of its own; returns how many the channel shows then. */
export const announce = action({
  args: { channel: v.string(), body: v.string() },
  returns: v.number(),
  handler: async (ctx, { channel, body }): Promise<number> => {
    for (const number of [1, 2]) {
      const message = { channel, author: "announcer", body: `${body} ${number}` };
      await ctx.runMutation(api.messages.send, message);
    }
    return (await ctx.runQuery(api.messages.list, { channel })).length;
  },
});
