import { httpRouter, httpActionGeneric as httpAction, anyApi } from "convex/server";
import { answerOf } from "./raw";

const http = httpRouter();

http.route({
  path: "/hello",
  method: "GET",
  handler: httpAction(async (_, request) => {
    const url = new URL(request.url);
    return new Response(`hello ${url.searchParams.get("name")} of ${url.host}${url.pathname}`, {
      status: 201,
      headers: { "x-seen": request.headers.get("x-sent") ?? "nothing", "content-type": "text/fancy" },
    });
  }),
});

http.route({
  pathPrefix: "/send/",
  method: "POST",
  handler: httpAction(async (ctx, request) => {
    const body = await request.text();
    const channel = new URL(request.url).pathname.slice("/send/".length);
    await ctx.runMutation(anyApi.messages.send, { channel, body });
    return Response.json(await ctx.runQuery(anyApi.messages.list, { channel }));
  }),
});

http.route({
  path: "/bytes",
  method: "POST",
  handler: httpAction(async (_, request) => new Response(await request.arrayBuffer())),
});

http.route({
  path: "/drip",
  method: "GET",
  handler: httpAction(async (ctx) => {
    const body = new ReadableStream({
      async start(controller) {
        controller.enqueue(new TextEncoder().encode("first"));
        while ((await ctx.runQuery(anyApi.messages.count, {})) === 0) {
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
        controller.enqueue(new TextEncoder().encode("second"));
        controller.close();
      },
    });
    return new Response(body);
  }),
});

http.route({
  path: "/form",
  method: "POST",
  handler: httpAction(async (ctx, request) => {
    const form = await request.formData();
    const file = form.get("file") as File;
    const id = await ctx.storage.store(file);
    const kept = await ctx.storage.get(id);
    return Response.json([form.get("text"), file.name, file.type, await kept?.text()]);
  }),
});

http.route({
  path: "/fail",
  method: "GET",
  handler: httpAction(async () => {
    throw new Error("boom");
  }),
});

http.route({
  path: "/who",
  method: "GET",
  handler: httpAction(async (ctx) => {
    try {
      return Response.json(await ctx.auth.getUserIdentity());
    } catch (error: any) {
      return new Response(error.message, { status: 401 });
    }
  }),
});

http.route({
  path: "/wait",
  method: "GET",
  handler: httpAction(async (ctx, request) => {
    await ctx.runMutation(anyApi.messages.send, { channel: "wait", body: "waiting" });
    // The client may have left before the mutation was answered: then the event is over.
    if (!request.signal.aborted) {
      await new Promise((resolve) => request.signal.addEventListener("abort", resolve));
    }
    await ctx.runMutation(anyApi.messages.send, { channel: "wait", body: "gone" });
    return new Response(null);
  }),
});

http.route({
  path: "/empty",
  method: "DELETE",
  handler: httpAction(async () => new Response(null, { status: 204 })),
});

http.route({
  path: "/count",
  method: "POST",
  handler: httpAction(async (_, request) => {
    let size = 0;
    for await (const chunk of request.body!) size += chunk.length;
    return new Response(String(size));
  }),
});

http.route({
  pathPrefix: "/files/",
  method: "GET",
  handler: httpAction(async (_, request) => new Response("below " + new URL(request.url).pathname)),
});

http.route({
  path: "/upload",
  method: "POST",
  handler: httpAction(async (ctx, request) => {
    const id = await ctx.storage.store(await request.blob());
    return Response.json({ id, url: await ctx.storage.getUrl(id) });
  }),
});

http.route({
  path: "/large",
  method: "GET",
  handler: httpAction(async () => {
    let left = 30;
    return new Response(new ReadableStream({
      pull: (controller) => left-- > 0 ? controller.enqueue(new Uint8Array(1 << 20)) : controller.close(),
    }));
  }),
});

http.route({
  path: "/nothing",
  method: "GET",
  handler: httpAction(async () => 7 as any),
});

http.route({
  path: "/raw",
  method: "POST",
  handler: httpAction(async (_, request) => {
    const { op, args, isSync } = await request.json();
    return Response.json(await answerOf(op, args, isSync));
  }),
});

export default http;
