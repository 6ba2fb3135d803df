import { defineApp } from "convex/server";
import { v } from "convex/values";
import ledger from "./ledger/convex.config";

const app = defineApp({ env: { CURRENCY: v.optional(v.string()) } });
app.use(ledger, { name: "savings", httpPrefix: "/savings/", env: { CURRENCY: app.env.CURRENCY } });
app.use(ledger, { name: "spending", env: { CURRENCY: "gold" } });

export default app;
