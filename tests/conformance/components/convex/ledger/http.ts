import { httpRouter } from "convex/server";
import { internal } from "./_generated/api";
import { httpAction } from "./_generated/server";

const http = httpRouter();
http.route({
  path: "/balance",
  method: "GET",
  handler: httpAction(async (_ctx, request) => {
    return new Response(`balance of ${new URL(request.url).searchParams.get("account")}`);
  }),
});

export default http;
void internal;
