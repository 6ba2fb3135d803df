// Functions that follow references from document to document.
import { anyApi, mutationGeneric as mutation, queryGeneric as query } from "convex/server";
import { v } from "convex/values";

export const post = mutation({
  args: { count: v.number(), authors: v.number() },
  handler: async (ctx, { count, authors }) => {
    const ids = [];
    for (let i = 0; i < authors; i++) {
      ids.push(await ctx.db.insert("messages", { channel: "authors", body: `author ${i}` }));
    }
    for (let i = 0; i < count; i++) {
      await ctx.db.insert("messages", { channel: "posts", author: ids[i % authors], body: `${i}` });
    }
    return ids;
  },
});

const posts = (ctx: any) =>
  ctx.db.query("messages").withIndex("by_channel", (q: any) => q.eq("channel", "posts"));

export const authors = query({
  args: {},
  handler: async (ctx) => {
    const names = [];
    for (const each of await posts(ctx).collect()) {
      names.push((await ctx.db.get(each.author))?.body);
    }
    return names;
  },
});

/** Only the first of the documents that come along is read. */
export const firstOf = query({
  args: { ids: v.array(v.id("messages")), count: v.number() },
  handler: async (ctx, { ids, count }) => {
    const found = [];
    for (const id of ids.slice(0, count)) found.push((await ctx.db.get(id))?.body ?? null);
    const metrics = JSON.parse(await (globalThis as any).Convex.asyncSyscall("1.0/getTransactionMetrics", "{}"));
    return { found, read: metrics.documentsRead.used };
  },
});

export const again = query({
  args: { id: v.id("messages"), times: v.number() },
  handler: async (ctx, { id, times }) => {
    for (let i = 0; i < times; i++) await ctx.db.get(id);
    return times;
  },
});

/** The second document comes along with the first, and is then changed in every way there is. */
export const changed = mutation({
  args: { ids: v.array(v.id("messages")) },
  handler: async (ctx, { ids: [first, second, third] }) => {
    await ctx.db.get(first);
    await ctx.db.patch(second, { body: "patched" });
    const seen = [(await ctx.db.get(second))?.body];
    await ctx.db.delete(third);
    seen.push((await ctx.db.get(third))?.body ?? "deleted");
    await ctx.db.get(first);
    await ctx.runMutation(anyApi.following.patch, { id: second });
    seen.push((await ctx.db.get(second))?.body);
    return seen;
  },
});

export const patch = mutation({
  args: { id: v.id("messages") },
  handler: async (ctx, { id }) => await ctx.db.patch(id, { body: "patched within" }),
});

export const fromOther = query({
  args: { ids: v.array(v.id("messages")) },
  handler: async (ctx, { ids: [first, second] }) => {
    await ctx.db.get(first);
    try {
      return await (ctx.db as any).get("others", second);
    } catch (error: any) {
      return error.message;
    }
  },
});

/** Others are called with the ids before this function looks at the documents itself. */
export const afterOthers = query({
  args: { ids: v.array(v.id("messages")) },
  handler: async (ctx, { ids }) => {
    const ignored = await ctx.runQuery(anyApi.following.ignoring, { ids });
    const { found } = await ctx.runQuery(anyApi.following.firstOf, { ids, count: 2 });
    return [ignored, ...found, (await ctx.db.get(ids[2]))?.body];
  },
});

export const ignoring = query({
  args: { ids: v.array(v.id("messages")) },
  handler: async (_, { ids }) => ids.length,
});
