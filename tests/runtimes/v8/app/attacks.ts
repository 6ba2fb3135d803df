import { queryGeneric as query, mutationGeneric as mutation } from "convex/server";

export const loop = query({
  args: {},
  handler: async () => {
    for (;;);
  },
});

export const microtasks = query({
  args: {},
  handler: async () => {
    for (;;) await null;
  },
});

export const regex = query({
  args: {},
  handler: async () => /^(a+)+$/.test("a".repeat(40) + "b"),
});

export const recursion = query({
  args: {},
  handler: async () => {
    const deeper = (n: number): number => deeper(n + 1) + 1;
    return deeper(0);
  },
});

export const heap = query({
  args: {},
  handler: async () => {
    const kept: any[] = [];
    for (let i = 0;; i++) kept.push(new Array(1000).fill(i));
  },
});

export const buffers = query({
  args: {},
  handler: async () => {
    const kept: any[] = [];
    for (;;) {
      const bytes = new Uint8Array(64 << 20);
      for (let i = 0; i < bytes.length; i += 4096) bytes[i] = 1;
      kept.push(bytes);
    }
  },
});

export const hugeResult = query({ args: {}, handler: async () => "x".repeat(17 << 20) });

export const hugeLog = query({
  args: {},
  handler: async () => {
    for (let i = 0; i < 300; i++) console.log("x".repeat(1 << 20));
    return "done";
  },
});

export const syscalls = query({
  args: {},
  handler: async (ctx) => {
    for (;;) await ctx.db.query("messages").first();
  },
});

export const unawaitedFlood = mutation({
  args: {},
  handler: async (ctx) => {
    for (;;) void ctx.db.insert("messages", { channel: "flood", body: "x" });
  },
});

export const pollution = query({
  args: {},
  handler: async () => {
    const evil = () => {
      throw new Error("polluted");
    };
    for (const prototype of [Object.prototype, Array.prototype, String.prototype, Function.prototype,
      Promise.prototype, Map.prototype] as any[]) {
      for (const name of Object.getOwnPropertyNames(prototype)) {
        try {
          prototype[name] = evil;
        } catch {
          // accessors
        }
      }
    }
    (JSON as any).parse = (JSON as any).stringify = evil;
    return "unreachable, most likely";
  },
});

export const escape = query({
  args: {},
  handler: async () => {
    const found: string[] = [];
    const visit = (name: string, attempt: () => any) => {
      try {
        const got = attempt();
        if (got !== undefined) found.push(`${name}: ${String(got)}`);
      } catch {
        // refused, as it should be
      }
    };
    const g = globalThis as any;
    for (const name of ["Deno", "require", "module", "Buffer", "global", "window", "__bootstrap"]) {
      visit(name, () => g[name]);
    }
    for (const object of [g, g.Convex, g.Convex.syscall, g.console.log, g.process.env, g.URL,
      g.crypto, g.fetch, g.setTimeout] as any[]) {
      visit("constructor", () => object.constructor.constructor("return Deno")());
    }
    visit("caller", () => (function f() { return (f as any).caller; })());
    visit("prepareStackTrace", () => {
      (Error as any).prepareStackTrace = (_: any, sites: any[]) =>
        sites.map((site) => site.getThis?.() ?? site.getFunction?.()).filter(
          (each) => each && each.constructor?.constructor !== Function && each !== globalThis);
      const stack = new Error().stack as any;
      delete (Error as any).prepareStackTrace;
      return Array.isArray(stack) && stack.length > 0 ? "objects of another realm" : undefined;
    });
    visit("thenable", () => {
      let leaked: any;
      const deeper = (): any => {
        try {
          deeper();
        } catch (error: any) {
          if (!(error instanceof Error)) leaked = error;
          throw error;
        }
      };
      try {
        const flood = (): any => {
          g.Convex.syscall("1.0/queryCleanup", '{"queryId":0}');
          flood();
        };
        flood();
      } catch (error: any) {
        if (!(error instanceof Error)) leaked = error;
      }
      return leaked === undefined ? undefined : "an error of another realm";
    });
    return found;
  },
});
