import { jsonToConvex } from "convex/values";
import { queryGeneric as query, mutationGeneric as mutation } from "convex/server";

declare const Convex: { asyncSyscall(op: string, args: string): Promise<string> };

async function figureOf(query: any, figure: string, more: object = {}): Promise<any> {
  const args = JSON.stringify({ query: query.state.query, figure, ...more });
  return jsonToConvex(JSON.parse(await Convex.asyncSyscall("cupola/aggregate", args)));
}

const byWeight = (ctx: any, from: number) =>
  ctx.db.query("messages").withIndex("by_weight", (q: any) => q.gte("weight", from));

export const add = mutation(async (ctx, { weight, code }: any) => {
  const id = await ctx.db.insert("messages", { weight, ...(code === undefined ? {} : { code }) });
  return { id, count: await figureOf(byWeight(ctx, 0), "count") };
});

export const all = query(async (ctx, { from, id }: any) => {
  const found = byWeight(ctx, from);
  const nth = await figureOf(byWeight(ctx, from).order("desc"), "nth", { position: 0 });
  return [
    await figureOf(found, "count"),
    await figureOf(found, "sum", { field: "weight" }),
    await figureOf(found, "min", { field: "weight" }),
    await figureOf(found, "max", { field: "weight" }),
    nth === null ? null : nth.weight,
    id === undefined ? null : await figureOf(found, "rank", { id }),
  ];
});

export const wrong = query(async (ctx, { figure }: any) =>
  figureOf(ctx.db.query("messages").withIndex("by_channel"), figure));
