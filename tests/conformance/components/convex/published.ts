// What the app does with the published components, as their own documentation shows it.
import { ActionCache } from "@convex-dev/action-cache";
import { TableAggregate } from "@convex-dev/aggregate";
import { Crons } from "@convex-dev/crons";
import { Migrations } from "@convex-dev/migrations";
import { Presence } from "@convex-dev/presence";
import { HOUR, RateLimiter } from "@convex-dev/rate-limiter";
import { ShardedCounter } from "@convex-dev/sharded-counter";
import { Workpool, vOnCompleteArgs } from "@convex-dev/workpool";
import { v } from "convex/values";
import { components, internal } from "./_generated/api";
import type { DataModel } from "./_generated/dataModel";
import {
  action,
  internalAction,
  internalMutation,
  mutation,
  query,
} from "./_generated/server";

// ------------------------------------------------------------------------------- sharded-counter

const counter = new ShardedCounter(components.shardedCounter);

export const count = mutation({
  args: { name: v.string(), by: v.number() },
  handler: async (ctx, { name, by }) => await counter.add(ctx, name, by),
});

export const counted = query({
  args: { name: v.string() },
  handler: async (ctx, { name }) => await counter.count(ctx, name),
});

// ---------------------------------------------------------------------------------- rate-limiter

const rateLimiter = new RateLimiter(components.rateLimiter, {
  send: { kind: "fixed window", rate: 2, period: HOUR },
  later: { kind: "token bucket", rate: 3, period: HOUR, applyUpdates: "asynchronously" },
});

export const limit = mutation({
  args: { name: v.union(v.literal("send"), v.literal("later")), key: v.string() },
  handler: async (ctx, { name, key }) => (await rateLimiter.limit(ctx, name, { key })).ok,
});

export const limited = query({
  args: { name: v.union(v.literal("send"), v.literal("later")), key: v.string() },
  handler: async (ctx, { name, key }) =>
    Math.round((await rateLimiter.getValue(ctx, name, { key })).value),
});

// ------------------------------------------------------------------------------------- aggregate

const byScore = new TableAggregate<{
  Key: [string, number];
  DataModel: DataModel;
  TableName: "scores";
}>(components.aggregate, {
  sortKey: (doc) => [doc.player, doc.score],
  sumValue: (doc) => doc.score,
});

export const addScore = mutation({
  args: { player: v.string(), score: v.number() },
  handler: async (ctx, args) => {
    const id = await ctx.db.insert("scores", args);
    await byScore.insert(ctx, (await ctx.db.get(id))!);
    return id;
  },
});

export const removeScore = mutation({
  args: { id: v.id("scores") },
  handler: async (ctx, { id }) => {
    await byScore.delete(ctx, (await ctx.db.get(id))!);
    await ctx.db.delete(id);
  },
});

export const scores = query({
  args: { player: v.string() },
  handler: async (ctx, { player }) => {
    const bounds = { prefix: [player] as [string] };
    return {
      count: await byScore.count(ctx, { bounds }),
      sum: await byScore.sum(ctx, { bounds }),
      best: (await byScore.max(ctx, { bounds }))?.key[1] ?? null,
      of: await byScore.count(ctx),
    };
  },
});

// ---------------------------------------------------------------------------------- action-cache

const cache = new ActionCache(components.actionCache, { action: internal.published.compute });

export const compute = internalAction({
  args: { n: v.number() },
  handler: async (ctx, { n }): Promise<number> => {
    await ctx.runMutation(internal.published.note, { text: `computed ${n}` });
    return n * n;
  },
});

export const square = action({
  args: { n: v.number() },
  handler: async (ctx, { n }): Promise<number> => await cache.fetch(ctx, { n }),
});

export const note = internalMutation({
  args: { text: v.string() },
  handler: async (ctx, { text }) => {
    await ctx.db.insert("notes", { text });
  },
});

// ----------------------------------------------------------------------------------------- crons

const crons = new Crons(components.crons);

export const register = mutation({
  args: { name: v.string(), ms: v.number() },
  handler: async (ctx, { name, ms }): Promise<string> =>
    await crons.register(
      ctx,
      { kind: "interval", ms },
      internal.published.note,
      { text: `cron ${name}` },
      name,
    ),
});

export const registered = query({
  args: {},
  handler: async (ctx): Promise<(string | undefined)[]> =>
    (await crons.list(ctx)).map(({ name }) => name),
});

export const unregister = mutation({
  args: { name: v.string() },
  handler: async (ctx, { name }) => await crons.delete(ctx, { name }),
});

// ------------------------------------------------------------------------------------ migrations

const migrations = new Migrations<DataModel>(components.migrations);

export const setLevel = migrations.define({
  table: "scores",
  batchSize: 2,
  migrateOne: (_ctx, { score }) => ({ level: Math.floor(score / 10) }),
});

export const migrate = migrations.runner(internal.published.setLevel);

export const migrated = query({
  args: {},
  handler: async (ctx): Promise<any> => {
    const [status] = await migrations.getStatus(ctx, { migrations: [internal.published.setLevel] });
    const levels = (await ctx.db.query("scores").collect()).map(({ level }) => level ?? null);
    return { state: status?.state, processed: status?.processed, levels };
  },
});

// -------------------------------------------------------------------------------------- presence

const presence = new Presence(components.presence);

export const heartbeat = mutation({
  args: { room: v.string(), user: v.string(), session: v.string(), interval: v.number() },
  handler: async (ctx, { room, user, session, interval }) =>
    await presence.heartbeat(ctx, room, user, session, interval),
});

export const present = query({
  args: { token: v.string() },
  handler: async (ctx, { token }) =>
    (await presence.list(ctx, token)).map(({ userId, online }) => ({ userId, online })),
});

export const leave = mutation({
  args: { token: v.string() },
  handler: async (ctx, { token }) => await presence.disconnect(ctx, token),
});

// -------------------------------------------------------------------------------------- workpool

const pool = new Workpool(components.workpool, { maxParallelism: 2, logLevel: "WARN" });

export const enqueue = mutation({
  args: { n: v.number() },
  handler: async (ctx, { n }): Promise<string> =>
    await pool.enqueueAction(ctx, internal.published.work, { n }, {
      onComplete: internal.published.worked,
      context: { n },
      retry: { maxAttempts: 2, initialBackoffMs: 10, base: 2 },
    }),
});

export const work = internalAction({
  args: { n: v.number() },
  handler: async (_ctx, { n }): Promise<number> => {
    if (n < 0) throw new Error("there is no root");
    return Math.sqrt(n);
  },
});

export const worked = internalMutation({
  args: vOnCompleteArgs(v.object({ n: v.number() })),
  handler: async (ctx, { context, result }) => {
    const outcome = result.kind === "success" ? result.returnValue : result.kind;
    await ctx.db.insert("notes", { text: `root of ${context.n}: ${outcome}` });
  },
});
