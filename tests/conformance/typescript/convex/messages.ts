import { ConvexError, v } from "convex/values";
import { api, internal } from "./_generated/api";
import { action, internalQuery, mutation, query } from "./_generated/server";
import { shout } from "./lib/text";

declare const process: { env: Record<string, string | undefined> };

export const list = query({
  args: { channel: v.string() },
  handler: async (ctx, { channel }) => {
    const messages = await ctx.db
      .query("messages")
      .withIndex("by_channel", (q) => q.eq("channel", channel))
      .order("desc")
      .take(50);
    return messages.map((message) => message.body);
  },
});

export const send = mutation({
  args: { channel: v.string(), author: v.string(), body: v.string() },
  returns: v.id("messages"),
  handler: async (ctx, args) => {
    console.log("sending", args.body);
    if (args.body === "") throw new ConvexError({ code: "Empty" });
    return await ctx.db.insert("messages", args);
  },
});

export const sendLoudly = action({
  args: { channel: v.string(), body: v.string() },
  handler: async (ctx, { channel, body }): Promise<number> => {
    await ctx.runMutation(api.messages.send, { channel, author: "action", body: shout(body) });
    return await ctx.runQuery(internal.messages.count, { channel });
  },
});

export const count = internalQuery({
  args: { channel: v.string() },
  returns: v.number(),
  handler: async (ctx, { channel }) => {
    const all = ctx.db.query("messages").withIndex("by_channel", (q) => q.eq("channel", channel));
    return (await all.collect()).length;
  },
});

export const setting = query({
  args: {},
  handler: async () => process.env.COLOUR ?? "none",
});
