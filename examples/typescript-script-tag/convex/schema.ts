import { defineSchema, defineTable } from "convex/server";
import { v } from "convex/values";

export default defineSchema({
  votes: defineTable({ choice: v.string(), count: v.number() }).index("by_choice", ["choice"]),
});
