"use node";
import { createHash } from "node:crypto";
import fs from "fs";
import path from "path";
import { actionGeneric as action, anyApi } from "convex/server";
import { v } from "convex/values";

export const hash = action({
  args: {},
  handler: async (ctx) => {
    const count = await ctx.runQuery(anyApi.messages.count, {});
    return [createHash("sha256").update("abc").digest("hex").slice(0, 8), path.join("a", "..", "b"),
      Buffer.from("hi").toString("base64"), process.env.GREETING, count];
  },
});

export const readsFiles = action({
  args: {},
  handler: async () => {
    try {
      return fs.readFileSync("/etc/passwd", "utf8").length;
    } catch (error: any) {
      return error.name;
    }
  },
});

export const runsPrograms = action({
  args: {},
  handler: async () => {
    try {
      const { execSync } = await import("node:child_process");
      return execSync("id").toString();
    } catch (error: any) {
      return error.name;
    }
  },
});

export const prints = action({
  args: {},
  handler: async () => {
    process.stdout.write("printed\n");
    return "still here";
  },
});

export const exits = action({
  args: { how: v.string() },
  handler: async (_, { how }) => {
    if (how === "later") {
      setTimeout(() => process.exit(0));
      await new Promise(() => {});
    }
    if (how === "Deno.exit") (globalThis as any).Deno.exit(1);
    (process as any)[how](1);
  },
});
