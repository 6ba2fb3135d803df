import { httpActionGeneric as httpAction, httpRouter, anyApi } from "convex/server";

const http = httpRouter();

http.route({ path: "/echo", method: "POST", handler: httpAction(async (_, request) => {
  const text = await request.text();
  return new Response(`${request.method} ${request.url} ${request.headers.get("x-test")} ${text}`, {
    status: 201, headers: { "X-Made-By": "test", "Content-Type": "text/x" },
  });
}) });

http.route({ path: "/count", method: "POST", handler: httpAction(async (_, request) => {
  let size = 0;
  for await (const chunk of request.body!) size += chunk.length;
  return new Response(String(size));
}) });

http.route({ pathPrefix: "/files/", method: "GET", handler: httpAction(async (_, request) =>
  new Response("below " + new URL(request.url).pathname)) });

http.route({ path: "/slowly", method: "GET", handler: httpAction(async (ctx) => {
  const stream = new ReadableStream({
    async start(controller) {
      const encoder = new TextEncoder();
      controller.enqueue(encoder.encode("first\n"));
      while ((await ctx.runQuery(anyApi.messages.all, {})).length === 0) {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      controller.enqueue(encoder.encode("second\n"));
      controller.close();
    },
  });
  return new Response(stream);
}) });

http.route({ path: "/endless", method: "GET", handler: httpAction(async () => {
  const more = new TextEncoder().encode("more\n");
  return new Response(new ReadableStream({ pull: (controller) => controller.enqueue(more) }));
}) });

http.route({ path: "/add", method: "POST", handler: httpAction(async (ctx, request) => {
  await ctx.runMutation(anyApi.messages.send, { channel: "go", body: await request.text() });
  return new Response(null, { status: 204 });
}) });

http.route({ path: "/upload", method: "POST", handler: httpAction(async (ctx, request) => {
  const id = await ctx.storage.store(await request.blob());
  return Response.json({ id, url: await ctx.storage.getUrl(id) });
}) });

http.route({ path: "/broken", method: "GET", handler: httpAction(async () => {
  throw new Error("no idea");
}) });

http.route({ path: "/who", method: "GET", handler: httpAction(async (ctx) => {
  return Response.json((await ctx.auth.getUserIdentity())?.subject ?? null);
}) });

http.route({ path: "/nothing", method: "GET", handler: httpAction(async () => 7 as any) });

export default http;
