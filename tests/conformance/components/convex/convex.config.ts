import actionCache from "@convex-dev/action-cache/convex.config.js";
import aggregate from "@convex-dev/aggregate/convex.config.js";
import crons from "@convex-dev/crons/convex.config.js";
import migrations from "@convex-dev/migrations/convex.config.js";
import presence from "@convex-dev/presence/convex.config.js";
import rateLimiter from "@convex-dev/rate-limiter/convex.config.js";
import shardedCounter from "@convex-dev/sharded-counter/convex.config.js";
import workpool from "@convex-dev/workpool/convex.config.js";
import { defineApp } from "convex/server";
import { v } from "convex/values";
import ledger from "./ledger/convex.config";

const app = defineApp({ env: { CURRENCY: v.optional(v.string()) } });
app.use(ledger, { name: "savings", httpPrefix: "/savings/", env: { CURRENCY: app.env.CURRENCY } });
app.use(ledger, { name: "spending", env: { CURRENCY: "gold" } });
app.use(actionCache);
app.use(aggregate);
app.use(crons);
app.use(migrations);
app.use(presence);
app.use(rateLimiter);
app.use(shardedCounter);
app.use(workpool);

export default app;
