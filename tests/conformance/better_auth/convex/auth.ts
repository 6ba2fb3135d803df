import { type AuthFunctions, createClient, type GenericCtx } from "@convex-dev/better-auth";
import { convex, crossDomain } from "@convex-dev/better-auth/plugins";
import { betterAuth } from "better-auth/minimal";
import { components, internal } from "./_generated/api";
import type { DataModel } from "./_generated/dataModel";
import { internalAction } from "./_generated/server";
import authConfig from "./auth.config";

const siteUrl = process.env.SITE_URL!;

const authFunctions: AuthFunctions = internal.auth;

export const authComponent = createClient<DataModel>(components.betterAuth, {
  authFunctions,
  triggers: {
    user: {
      onCreate: async (ctx, user) => {
        await ctx.db.insert("profiles", { user: user._id, name: user.name });
      },
      onUpdate: async (ctx, user) => {
        const profile = await ctx.db
          .query("profiles")
          .withIndex("by_user", (q) => q.eq("user", user._id))
          .unique();
        await ctx.db.patch(profile!._id, { name: user.name });
      },
    },
  },
});
export const { onCreate, onUpdate, onDelete } = authComponent.triggersApi();

export const createAuth = (ctx: GenericCtx<DataModel>) =>
  betterAuth({
    baseURL: process.env.CONVEX_SITE_URL,
    trustedOrigins: [siteUrl],
    database: authComponent.adapter(ctx),
    emailAndPassword: { enabled: true, requireEmailVerification: false },
    plugins: [crossDomain({ siteUrl }), convex({ authConfig, jwks: process.env.JWKS })],
  });

/** The key that signs tokens, for a deployment that does not fetch its own keys. */
export const latestKeys = internalAction({
  args: {},
  handler: async (ctx): Promise<string> =>
    JSON.stringify(await createAuth(ctx).api.getLatestJwks()),
});

/** Throws the keys away and makes another. */
export const rotateKeys = internalAction({
  args: {},
  handler: async (ctx): Promise<string> => JSON.stringify(await createAuth(ctx).api.rotateKeys()),
});
