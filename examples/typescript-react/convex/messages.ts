import { paginationOptsValidator } from "convex/server";
import { ConvexError, v } from "convex/values";
import { mutation, query } from "./_generated/server";

const BODY_LENGTH_MAX = 280;

/** The newest message first, a page at a time. */
export const page = query({
  args: { paginationOpts: paginationOptsValidator },
  handler: async (ctx, { paginationOpts }) =>
    await ctx.db.query("messages").order("desc").paginate(paginationOpts),
});

/** Who wrote among the last fifty messages, without repetition. */
export const authors = query({
  args: {},
  returns: v.array(v.string()),
  handler: async (ctx) => {
    const recent = await ctx.db.query("messages").order("desc").take(50);
    return [...new Set(recent.map((message) => message.author))].sort();
  },
});

export const send = mutation({
  args: { author: v.string(), body: v.string() },
  returns: v.id("messages"),
  handler: async (ctx, { author, body }) => {
    if (body.length > BODY_LENGTH_MAX) {
      throw new ConvexError({ code: "TooLong", most: BODY_LENGTH_MAX });
    }
    return await ctx.db.insert("messages", { author, body });
  },
});
