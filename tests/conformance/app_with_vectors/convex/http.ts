import { httpRouter } from "convex/server";
import { httpAction } from "./_generated/server";

const http = httpRouter();

http.route({
  path: "/nearest",
  method: "POST",
  handler: httpAction(async (ctx, request) => {
    const { plot } = await request.json();
    const found = await ctx.vectorSearch("movies", "by_plot", { vector: plot, limit: 2 });
    return Response.json(found);
  }),
});

export default http;
