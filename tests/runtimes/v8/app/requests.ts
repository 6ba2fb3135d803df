// What functions may know of the request that they are part of.
import {
  actionGeneric as action, anyApi, internalMutationGeneric as internalMutation,
  mutationGeneric as mutation, queryGeneric as query,
} from "convex/server";

declare const Convex: any;

const shown = async (ctx: any) => await ctx.meta.getRequestMetadata();
export const inMutation = mutation({ args: {}, handler: shown });
export const inAction = action({ args: {}, handler: shown });

export const nested = action({
  args: {},
  handler: async (ctx: any): Promise<any> => [
    await shown(ctx),
    await ctx.runMutation(anyApi.snakes.in_mutation, {}),
    await ctx.runMutation(anyApi.requests.inMutation, {}),
  ],
});

// The package offers it to no query.
export const inQuery = query({
  args: {},
  handler: async () => JSON.parse(await Convex.asyncSyscall("1.0/getRequestMetadata", "{}")),
});

export const note = internalMutation({
  args: {},
  handler: async (ctx) => {
    await ctx.db.insert("notes", { text: "request", who: await shown(ctx) });
  },
});

export const later = mutation({
  args: {},
  handler: async (ctx) => await ctx.scheduler.runAfter(0, anyApi.requests.note, {}),
});

export const noted = query({
  args: {},
  handler: async (ctx) =>
    (await ctx.db.query("notes").collect()).filter((note: any) => note.text === "request")
      .map((note: any) => note.who),
});
