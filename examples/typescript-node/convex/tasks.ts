import { ConvexError, v } from "convex/values";
import { api } from "./_generated/api";
import { action, mutation, query } from "./_generated/server";

/** What is left to do, oldest first. */
export const open = query({
  args: {},
  returns: v.array(v.object({ id: v.id("tasks"), text: v.string() })),
  handler: async (ctx) => {
    const tasks = await ctx.db
      .query("tasks")
      .withIndex("by_done", (q) => q.eq("done", false))
      .collect();
    return tasks.map(({ _id, text }) => ({ id: _id, text }));
  },
});

export const add = mutation({
  args: { text: v.string() },
  returns: v.id("tasks"),
  handler: async (ctx, { text }) => {
    if (text.trim() === "") throw new ConvexError("A task needs a text.");
    console.log("adding", text);
    return await ctx.db.insert("tasks", { text, done: false });
  },
});

export const finish = mutation({
  args: { id: v.id("tasks") },
  returns: v.null(),
  handler: async (ctx, { id }) => {
    await ctx.db.patch(id, { done: true });
    return null;
  },
});

/** Adds each line of a text as a task. An action: it may also ask the outside world. */
export const addLines = action({
  args: { text: v.string() },
  returns: v.number(),
  handler: async (ctx, { text }): Promise<number> => {
    const lines = text.split("\n").filter((line) => line.trim() !== "");
    for (const line of lines) await ctx.runMutation(api.tasks.add, { text: line });
    return lines.length;
  },
});
