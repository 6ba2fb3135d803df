import { authComponent, createAuth } from "./auth";
import { mutation, query } from "./_generated/server";

/** What the token says. */
export const identity = query({
  args: {},
  handler: async (ctx) => {
    const found = await ctx.auth.getUserIdentity();
    return found && { subject: found.subject, email: found.email, issuer: found.issuer };
  },
});

/** What the component's tables say, by the session of the token. */
export const me = query({
  args: {},
  handler: async (ctx) => (await authComponent.safeGetAuthUser(ctx))?.email ?? null,
});

/** Better Auth's own API inside a mutation. */
export const rename = mutation({
  handler: async (ctx, { name }: { name: string }) => {
    const { auth, headers } = await authComponent.getAuth(createAuth, ctx);
    await auth.api.updateUser({ body: { name }, headers });
    return (await authComponent.getAuthUser(ctx)).name;
  },
});

/** What the app wrote down of users, in the transactions that made and changed them. */
export const profiles = query({
  args: {},
  handler: async (ctx) => (await ctx.db.query("profiles").collect()).map((one) => one.name),
});
