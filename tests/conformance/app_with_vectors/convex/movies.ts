import { v } from "convex/values";
import { api } from "./_generated/api";
import { Doc } from "./_generated/dataModel";
import { action, mutation, query } from "./_generated/server";

export const add = mutation({
  args: {
    title: v.string(),
    genre: v.string(),
    year: v.optional(v.number()),
    plot: v.optional(v.array(v.float64())),
  },
  handler: async (ctx, args) => await ctx.db.insert("movies", args),
});

export const remove = mutation({
  args: { id: v.id("movies") },
  handler: async (ctx, { id }) => await ctx.db.delete(id),
});

export const titles = query({
  args: { ids: v.array(v.id("movies")) },
  handler: async (ctx, { ids }): Promise<string[]> => {
    const movies = await Promise.all(ids.map((id) => ctx.db.get(id)));
    return movies.map((movie: Doc<"movies"> | null) => movie?.title ?? "gone");
  },
});

export const nearest = action({
  args: {
    plot: v.array(v.float64()),
    genres: v.optional(v.array(v.string())),
    year: v.optional(v.number()),
    limit: v.optional(v.number()),
  },
  handler: async (ctx, { plot, genres, year, limit }): Promise<[string, number][]> => {
    const found = await ctx.vectorSearch("movies", "by_plot", {
      vector: plot,
      limit,
      filter: genres && ((q) => q.or(...genres.map((genre) => q.eq("genre", genre)),
        ...(year === undefined ? [] : [q.eq("year", year)]))),
    });
    const titles = await ctx.runQuery(api.movies.titles, { ids: found.map((match) => match._id) });
    return found.map((match, n): [string, number] => [titles[n], match._score]);
  },
});

export const withoutYear = action({
  args: {},
  handler: async (ctx): Promise<number> => {
    const filter = { vector: [1, 0, 0], filter: (q: any) => q.eq("year", undefined) };
    return (await ctx.vectorSearch("movies", "by_plot", filter)).length;
  },
});

// What types forbid, one way or the other.
export const misused = action({
  args: { how: v.string() },
  handler: async (ctx, { how }) => {
    const search = ctx.vectorSearch as any;
    const vector = [1, 0, 0];
    try {
      switch (how) {
        case "index": return await search("movies", "by_plt", { vector });
        case "staged": return await search("movies", "later", { vector });
        case "table": return await search("films", "by_plot", { vector });
        case "empty": return await search("movies", "by_plot", { vector: [] });
        case "dimensions": return await search("movies", "by_plot", { vector: [1, 0] });
        case "numbers": return await search("movies", "by_plot", { vector: ["1", 0, 0] });
        case "nan": return await search("movies", "by_plot", { vector: [NaN, 0, 0] });
        case "limit": return await search("movies", "by_plot", { vector, limit: 257 });
        case "field":
          return await search("movies", "by_plot", { vector, filter: (q: any) => q.eq("title", "a") });
        case "many": {
          const many = (q: any) =>
            q.or(...Array.from({ length: 65 }, (_, n) => q.eq("genre", `g${n}`)));
          return await search("movies", "by_plot", { vector, filter: many });
        }
        case "literal": return await search("movies", "by_plot", { vector, filter: () => true });
      }
    } catch (error: any) {
      return error.message;
    }
    return "no error";
  },
});

export const inAQuery = query({
  args: {},
  handler: async (ctx) => await (ctx as any).vectorSearch("movies", "by_plot", { vector: [1, 0, 0] }),
});
