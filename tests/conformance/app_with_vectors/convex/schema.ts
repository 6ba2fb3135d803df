import { defineSchema, defineTable } from "convex/server";
import { v } from "convex/values";

export default defineSchema({
  movies: defineTable({
    title: v.string(),
    genre: v.string(),
    year: v.optional(v.number()),
    plot: v.optional(v.array(v.float64())),
  })
    .vectorIndex("by_plot", {
      vectorField: "plot",
      dimensions: 3,
      filterFields: ["genre", "year"],
    })
    .vectorIndex("later", {
      vectorField: "plot",
      dimensions: 3,
      filterFields: [],
      staged: true,
    }),
});
