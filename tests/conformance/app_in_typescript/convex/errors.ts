// Functions that fail, as an app says it should and as a bug does.
import { ConvexError, v } from "convex/values";
import { action, mutation, query } from "./_generated/server";

const DATA = { code: "RoomFull", limit: 20, who: ["ada", null] };

export const application = query({
  args: {},
  returns: v.null(),
  handler: async () => {
    throw new ConvexError(DATA);
  },
});

export const plain = query({
  args: {},
  returns: v.null(),
  handler: async () => {
    console.log("about to fail");
    throw new Error("boom");
  },
});

/** Writes first: the failure takes that back. */
export const application_mutation = mutation({
  args: { channel: v.string() },
  returns: v.null(),
  handler: async (ctx, { channel }) => {
    await ctx.db.insert("messages", { channel, author: "nobody", body: "never there" });
    throw new ConvexError(DATA);
  },
});

export const plain_mutation = mutation({
  args: {},
  returns: v.null(),
  handler: async () => {
    throw new Error("boom");
  },
});

export const application_action = action({
  args: {},
  returns: v.null(),
  handler: async () => {
    throw new ConvexError("just text");
  },
});

export const returns_wrong = query({
  args: {},
  returns: v.number(),
  handler: async () => "no number" as unknown as number,
});
