// Audit logs, as the published package writes them.
import {
  actionGeneric as action, anyApi, log, mutationGeneric as mutation, queryGeneric as query,
} from "convex/server";
import { v } from "convex/values";

const entry = (action: string) => ({
  action,
  source: { ip: log.vars.ip, agent: log.vars.userAgent, request: log.vars.requestId },
  at: [log.vars.now],
  admin: log.vars.convexActor,
});

export const views = query({
  args: {},
  handler: async (ctx) => {
    await log.audit(entry("viewed"));
    return (await ctx.db.query("messages").collect()).length;
  },
});

export const changes = mutation({
  args: { fails: v.boolean() },
  handler: async (ctx, { fails }) => {
    await log.audit(entry("changed"));
    await ctx.db.insert("messages", { channel: "audits", body: "b" });
    if (fails) throw new Error("refused");
  },
});

export const acts = action({
  args: {},
  handler: async (ctx) => {
    await log.audit(entry("acted"));
    await ctx.runQuery(anyApi.audits.views, {});
  },
});

export const tooMuch = mutation({
  args: {},
  handler: async () => {
    await log.audit({ action: "x".repeat(5 * 2 ** 20) });
  },
});
