import { defineSchema, defineTable } from "convex/server";
import { v } from "convex/values";

export default defineSchema({
  notes: defineTable({ text: v.string() }),
  scores: defineTable({ player: v.string(), score: v.number(), level: v.optional(v.number()) }),
});
