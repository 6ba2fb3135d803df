import { defineSchema, defineTable } from "convex/server";
import { v } from "convex/values";

export default defineSchema({
  profiles: defineTable({ user: v.string(), name: v.string() }).index("by_user", ["user"]),
});
