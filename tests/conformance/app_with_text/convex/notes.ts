import { paginationOptsValidator } from "convex/server";
import { v } from "convex/values";
import { Doc } from "./_generated/dataModel";
import { mutation, query } from "./_generated/server";

const bodies = (notes: Doc<"notes">[]) => notes.map((note) => note.body);

export const add = mutation({
  args: { body: v.string(), author: v.optional(v.string()), pinned: v.optional(v.boolean()) },
  handler: async (ctx, { body, author, pinned }) =>
    await ctx.db.insert("notes", { body, author: author ?? "ada", pinned }),
});

export const addMany = mutation({
  args: { count: v.number() },
  handler: async (ctx, { count }) => {
    for (let n = 0; n < count; n++) await ctx.db.insert("notes", { body: `many ${n}`, author: "bob" });
  },
});

export const edit = mutation({
  args: { id: v.id("notes"), body: v.string() },
  handler: async (ctx, { id, body }) => await ctx.db.patch(id, { body }),
});

export const remove = mutation({
  args: { id: v.id("notes") },
  handler: async (ctx, { id }) => await ctx.db.delete(id),
});

export const search = query({
  args: {
    text: v.string(),
    author: v.optional(v.string()),
    unpinned: v.optional(v.boolean()),
    take: v.optional(v.number()),
  },
  handler: async (ctx, { text, author, unpinned, take }) => {
    const found = ctx.db.query("notes").withSearchIndex("search_body", (q) => {
      const words = q.search("body", text);
      const theirs = author === undefined ? words : words.eq("author", author);
      return unpinned ? theirs.eq("pinned", undefined) : theirs;
    });
    return bodies(take === undefined ? await found.collect() : await found.take(take));
  },
});

export const first = query({
  args: { text: v.string() },
  handler: async (ctx, { text }) => {
    const found = ctx.db.query("notes").withSearchIndex("search_body", (q) => q.search("body", text));
    return (await found.first())?.body ?? null;
  },
});

export const longer = query({
  args: { text: v.string(), than: v.string() },
  handler: async (ctx, { text, than }) => {
    const found = ctx.db.query("notes").withSearchIndex("search_body", (q) => q.search("body", text));
    return bodies(await found.filter((q) => q.gt(q.field("body"), than)).collect());
  },
});

export const page = query({
  args: { text: v.string(), paginationOpts: paginationOptsValidator },
  handler: async (ctx, { text, paginationOpts }) =>
    await ctx.db
      .query("notes")
      .withSearchIndex("search_body", (q) => q.search("body", text))
      .paginate(paginationOpts),
});

// A mutation finds what it has written, also while it reads what it has found.
export const tagAll = mutation({
  args: { text: v.string() },
  handler: async (ctx, { text }) => {
    const seen: string[] = [];
    const found = ctx.db.query("notes").withSearchIndex("search_body", (q) => q.search("body", text));
    for await (const note of found) {
      seen.push(note.body);
      await ctx.db.patch(note._id, { body: `${note.body} tagged` });
      if (seen.length === 1) await ctx.db.insert("notes", { body: `${text} new`, author: "eve" });
    }
    const tagged = await ctx.db
      .query("notes")
      .withSearchIndex("search_body", (q) => q.search("body", "tagged"))
      .collect();
    return { seen, tagged: bodies(tagged).sort() };
  },
});

// What types forbid, one way or the other.
export const misused = query({
  args: { how: v.string() },
  handler: async (ctx, { how }) => {
    const notes = ctx.db.query("notes") as any;
    const find = (build: (q: any) => any, index = "search_body") =>
      notes.withSearchIndex(index, build).collect();
    try {
      switch (how) {
        case "index": return await find((q) => q.search("body", "a"), "search_boby");
        case "staged": return await find((q) => q.search("author", "a"), "later");
        case "field": return await find((q) => q.search("author", "a"));
        case "filter": return await find((q) => q.search("body", "a").eq("body", "a"));
        case "nothing": return await find((q) => q);
        case "twice": return await find((q) => q.search("body", "a").search("body", "b"));
        case "number": return await find((q) => q.search("body", 7));
        case "many":
          return await find((q) => {
            let words = q.search("body", "a");
            for (let n = 0; n < 9; n++) words = words.eq("author", "a");
            return words;
          });
        case "order":
          return await notes
            .withSearchIndex("search_body", (q: any) => q.search("body", "a"))
            .order("desc")
            .collect();
      }
    } catch (error) {
      return (error as Error).message;
    }
  },
});
