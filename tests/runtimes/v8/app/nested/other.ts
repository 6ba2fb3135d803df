import { queryGeneric as query } from "convex/server";
export default query({ args: {}, handler: async () => "default of nested/other" });
