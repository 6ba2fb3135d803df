// What app/functions/alike.py is, in TypeScript: a client must not be able to tell.
import { ConvexError, v } from "convex/values";
import { api } from "./_generated/api";
import type { Id } from "./_generated/dataModel";
import { action, mutation, query } from "./_generated/server";

export const lines = query({
  args: { text: v.string(), number: v.number() },
  returns: v.null(),
  handler: async (_ctx, { text, number }) => {
    console.log(text);
    console.log("two", "words", number);
    console.log("several\nlines");
    console.log("");
    return null;
  },
});

export const values_in_lines = query({
  args: {},
  returns: v.null(),
  handler: async () => {
    console.log(2, true, null, [1.5], { a: 1 });
    return null;
  },
});

export const levels = query({
  args: {},
  returns: v.null(),
  handler: async () => {
    console.debug("debug");
    console.info("info");
    console.warn("warning");
    console.error("error");
    return null;
  },
});

/** Lines of a nested call stand where it was made. */
export const nested_lines = mutation({
  args: {},
  returns: v.string(),
  handler: async (ctx): Promise<string> => {
    console.log("before");
    const value = await ctx.runQuery(api.alike.typed, { text: "nested", choice: "a" });
    const message = { channel: "alike lines", author: "n", body: "b" };
    await ctx.runMutation(api.messages.send, message);
    console.log("after");
    return value.text;
  },
});

export const action_lines = action({
  args: {},
  returns: v.null(),
  handler: async (ctx) => {
    console.log("in the action");
    const message = { channel: "alike lines", author: "n", body: "b" };
    await ctx.runMutation(api.messages.send, message);
    return null;
  },
});

/** Its arguments, to see each refusal. */
export const typed = query({
  args: {
    text: v.string(),
    choice: v.union(v.literal("a"), v.literal("b")),
    large: v.optional(v.int64()),
    maybe: v.optional(v.union(v.string(), v.null())),
    items: v.optional(v.array(v.number())),
    id: v.optional(v.id("messages")),
    raw: v.optional(v.bytes()),
  },
  handler: async (_ctx, { text, choice }) => ({ text, choice }),
});

/** What a nested call wrote before it failed is taken back; what the caller wrote stays. */
export const caught = mutation({
  args: {},
  returns: v.array(v.string()),
  handler: async (ctx) => {
    await ctx.db.insert("messages", { channel: "alike caught", author: "a", body: "kept" });
    let found = "";
    try {
      await ctx.runMutation(api.errors.application_mutation, { channel: "alike caught" });
    } catch (error) {
      if (error instanceof ConvexError) found = error.data.code;
    }
    const all = await ctx.db
      .query("messages")
      .withIndex("by_channel", (q) => q.eq("channel", "alike caught"))
      .collect();
    return [found, ...all.map((message) => message.body)];
  },
});

/** The data of a nested failure reaches the client. */
export const uncaught = mutation({
  args: {},
  returns: v.null(),
  handler: async (ctx): Promise<null> =>
    await ctx.runMutation(api.errors.application_mutation, { channel: "alike uncaught" }),
});

/** The database refuses; the text is what the function can catch. */
export const misuse = mutation({
  args: { how: v.string() },
  returns: v.any(),
  handler: async (ctx, { how }) => {
    const message = { channel: "alike misuse", author: "a", body: "b" };
    const id = await ctx.db.insert("messages", message);
    const counter = await ctx.db.insert("counters", { name: "alike misuse", value: 1 });
    const anyDb = ctx.db as any;
    switch (how) {
      case "delete twice":
        await ctx.db.delete(id);
        await ctx.db.delete(id);
        break;
      case "patch deleted":
        await ctx.db.delete(id);
        await ctx.db.patch(id, { body: "c" });
        break;
      case "replace deleted":
        await ctx.db.delete(id);
        await ctx.db.replace(id, { channel: "c", author: "a", body: "b" });
        break;
      case "wrong field":
        await anyDb.insert("messages", { channel: "c", author: "a", body: 7 });
        break;
      case "missing field":
        await anyDb.insert("messages", { channel: "c", author: "a" });
        break;
      case "extra field":
        await anyDb.patch(id, { extra: 1 });
        break;
      case "not unique":
        await ctx.db.insert("counters", { name: "alike misuse", value: 1 });
        await ctx.db
          .query("counters")
          .withIndex("by_name", (q) => q.eq("name", "alike misuse"))
          .unique();
        break;
      case "no index":
        await anyDb
          .query("messages")
          .withIndex("by_nothing", (q: any) => q.eq("channel", "c"))
          .collect();
        break;
      case "no table":
        return await anyDb.query("nowhere").collect();
      case "bad id":
        return await ctx.db.get("no id at all" as Id<"messages">);
      case "id of another table":
        return ctx.db.normalizeId("messages", counter);
      case "not a function":
        await ctx.runQuery((api as any).alike.nowhere, {});
        break;
      case "wrong kind":
        await ctx.runQuery(api.counters.increment as any, { name: "a" });
        break;
      case "bad argument":
        await ctx.runQuery(api.counters.get, { name: 7 as unknown as string });
        break;
    }
    return "allowed";
  },
});

/** What a function can catch of a failure in another one. */
export const catch_misuse = mutation({
  args: { how: v.string() },
  returns: v.string(),
  handler: async (ctx, { how }): Promise<string> => {
    try {
      await ctx.runMutation(api.alike.misuse, { how });
    } catch {
      return "caught";
    }
    return "nothing to catch";
  },
});

export const seed = mutation({
  args: {},
  returns: v.null(),
  handler: async (ctx) => {
    for (let value = 0; value < 6; value++) {
      await ctx.db.insert("counters", { name: value % 2 ? "alike" : "alike too", value });
    }
    return null;
  },
});

export const ranges = query({
  args: {},
  handler: async (ctx) => {
    const named = (name: string) =>
      ctx.db.query("counters").withIndex("by_name", (q) => q.eq("name", name));
    const values = (counters: { value: number }[]) => counters.map((counter) => counter.value);
    const between = ctx.db
      .query("counters")
      .withIndex("by_name", (q) => q.gte("name", "alike").lt("name", "alike tp"));
    return {
      equal: values(await named("alike").collect()),
      descending: values(await named("alike").order("desc").take(2)),
      between: values(await between.collect()),
      filtered: values(await named("alike").filter((q) => q.gt(q.field("value"), 1)).collect()),
      first: (await named("alike").first())!.value,
      nobody: await named("alike nobody").first(),
      absent: ctx.db.normalizeId("counters", "nonsense"),
    };
  },
});

/** Both are the same throughout a call. */
export const random_and_time = query({
  args: {},
  returns: v.array(v.boolean()),
  handler: async () => [Date.now() === Date.now(), Date.now() > 1_700_000_000_000],
});

export const fails_with = query({
  args: { data: v.any() },
  returns: v.null(),
  handler: async (_ctx, { data }) => {
    throw new ConvexError(data);
  },
});
