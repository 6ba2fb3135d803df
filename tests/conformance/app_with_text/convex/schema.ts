import { defineSchema, defineTable } from "convex/server";
import { v } from "convex/values";

export default defineSchema({
  notes: defineTable({
    body: v.string(),
    author: v.string(),
    pinned: v.optional(v.boolean()),
  })
    .searchIndex("search_body", { searchField: "body", filterFields: ["author", "pinned"] })
    .searchIndex("later", { searchField: "author", staged: true }),
});
