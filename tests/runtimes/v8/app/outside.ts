import { v, ConvexError } from "convex/values";
import { actionGeneric as action, internalActionGeneric as internalAction, anyApi } from "convex/server";

let counter = 0;

export const sendAndRead = action({
  args: { body: v.string() },
  handler: async (ctx, { body }) => {
    await ctx.runMutation(anyApi.messages.send, { channel: "action", body });
    return (await ctx.runQuery(anyApi.messages.list, { channel: "action" })).map((m: any) => m.body);
  },
});

export const fetches = action({
  args: { url: v.string() },
  handler: async (_, { url }) => {
    const response = await fetch(url, { method: "POST", body: JSON.stringify({ a: 1 }) });
    const bytes = await response.arrayBuffer();
    return { status: response.status, text: new TextDecoder().decode(bytes), bytes };
  },
});

export const nested = action({
  args: {},
  handler: async (ctx) => await ctx.runAction(anyApi.outside.hidden, {}),
});
export const hidden = internalAction({ args: {}, handler: async () => "hidden" });

export const fails = action({
  args: {},
  handler: async () => {
    throw new Error("boom");
  },
});

export const catches = action({
  args: {},
  handler: async (ctx) => {
    try {
      await ctx.runMutation(anyApi.messages.failWithData, {});
    } catch (error) {
      if (!(error instanceof ConvexError)) throw error;
      return error.data;
    }
  },
});

export const meets = action({
  args: { others: v.number() },
  handler: async (ctx, { others }) => {
    await ctx.runMutation(anyApi.messages.send, { channel: "meeting", body: "here" });
    while ((await ctx.runQuery(anyApi.messages.count, {})) < others) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  },
});

export const counted = action({
  args: {},
  handler: async () => {
    const before = (globalThis as any).left ?? null;
    (globalThis as any).left = true;
    return [++counter, before];
  },
});

export const whoAmI = action({
  args: {},
  handler: async (ctx) => (await ctx.auth.getUserIdentity())?.subject ?? null,
});

export const logs = action({
  args: {},
  handler: async () => {
    console.log("one", { a: 1 });
    await new Promise((resolve) => setTimeout(resolve, 1));
    console.error("two");
  },
});

export const environment = action({
  args: {},
  handler: async () => [process.env.GREETING ?? null, process.env.ABSENT ?? null,
    Object.keys(process.env).length],
});

export const unawaited = action({
  args: {},
  handler: async (ctx) => {
    void ctx.runQuery(anyApi.messages.all, {});
    return "done";
  },
});

export const rejects = action({
  args: {},
  handler: async () => {
    void Promise.reject(new Error("nobody listens"));
    await new Promise((resolve) => setTimeout(resolve, 5));
    return "done";
  },
});

export const imports = action({
  args: {},
  handler: async () => typeof (await import("./nested/other")).default,
});

export const reaches = action({
  args: {},
  handler: async () => {
    const found = ["Deno", "Worker", "require", "Buffer", "postMessage", "close", "global",
      "importScripts", "caches"].filter((name) => (globalThis as any)[name] !== undefined);
    for (const name of ["node:fs", "fs", "file:///etc/passwd", "data:text/javascript,export default 1"]) {
      try {
        await import(name);
        found.push(name);
      } catch {
        // refused, as it should be
      }
    }
    try {
      (globalThis.constructor as any).constructor("return 1")();
      found.push("code from text");
    } catch {
      // refused, as it should be
    }
    return found;
  },
});

export const web = action({
  args: {},
  handler: async () => {
    const stream = new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode("a"));
        controller.enqueue(new TextEncoder().encode("b"));
        controller.close();
      },
    });
    const form = new FormData();
    form.append("a", "1");
    const echoed = await new Response(form).formData();
    const key = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, true, ["encrypt"]);
    const storage = new (globalThis as any).AsyncLocalStorage();
    await storage.run("a", async () => {
      await null;
      if (storage.getStore() !== "a") throw new Error("lost");
    });
    return [await new Response(stream).text(), echoed.get("a"), (key as any).algorithm.name,
      new Date().getTime() > 1_700_000_000_000];
  },
});

export const spins = action({
  args: {},
  handler: async () => {
    for (;;);
  },
});

export const bomb = action({
  args: {},
  handler: async () => {
    const kept: any[] = [];
    for (let i = 0;; i++) kept.push(new Array(1000).fill(i));
  },
});

const halfACharacter = "😀".slice(0, 1);

export const printsHalfACharacter = action({
  args: {},
  handler: async () => {
    console.log(`cut ${halfACharacter}`);
    return 1;
  },
});

export const throwsHalfACharacter = action({
  args: {},
  handler: async () => {
    throw new Error(`cut ${halfACharacter}`);
  },
});
