import { queryGeneric as query } from "convex/server";

const hex = (buffer: ArrayBuffer) =>
  [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, "0")).join("");

const throws = (name: string, attempt: () => any) => {
  try {
    attempt();
    return `no ${name}`;
  } catch (error: any) {
    return error.name === name || `${error.name}: ${error.message}`;
  }
};

const same = (a: any, b: any) => JSON.stringify(a) === JSON.stringify(b) || JSON.stringify(a);

const checks: Record<string, () => any> = {
  url: () => {
    const url = new URL("../b?x=1#h", "https://user@example.com:8080/a/c");
    url.searchParams.append("y", "a b");
    url.pathname = "/p q";
    return same(url.href, "https://user@example.com:8080/p%20q?x=1&y=a+b#h");
  },
  urlParts: () => {
    const url = new URL("https://example.com/a");
    url.host = "other.com:81";
    url.search = "?z=1";
    return same([url.host, url.port, url.searchParams.get("z"), url.origin],
      ["other.com:81", "81", "1", "https://other.com:81"]);
  },
  badUrl: () => throws("TypeError", () => new URL("nonsense")),
  params: () => {
    const params = new URLSearchParams({ a: "1", b: "ü&" });
    params.set("a", "2");
    params.append("a", "3");
    params.sort();
    return same([params.toString(), params.getAll("a"), [...params].length, params.size],
      ["a=2&a=3&b=%C3%BC%26", ["2", "3"], 3, 3]);
  },
  parsedParams: () => same([...new URLSearchParams("?q=%E2%82%AC+1&r")], [["q", "€ 1"], ["r", ""]]),
  text: () => {
    const bytes = new TextEncoder().encode("aü€😀\ud800");
    return same([[...bytes].length, new TextDecoder().decode(bytes)], [13, "aü€😀\ufffd"]);
  },
  textStream: () => {
    const bytes = new TextEncoder().encode("€€");
    const decoder = new TextDecoder();
    return same(decoder.decode(bytes.subarray(0, 4), { stream: true }) +
      decoder.decode(bytes.subarray(4)), "€€");
  },
  fatal: () => throws("TypeError",
    () => new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array([255]))),
  encodings: () => same(new TextDecoder("latin1").encoding, "windows-1252"),
  base64: () => same([btoa("hi"), atob("aGk=")], ["aGk=", "hi"]),
  badBase64: () => throws("InvalidCharacterError", () => atob("*")),
  digest: async () => same(hex(await crypto.subtle.digest("SHA-256", new TextEncoder().encode("abc"))),
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
  hmac: async () => {
    const data = new TextEncoder().encode("what do ya want for nothing?");
    const key = await crypto.subtle.importKey("raw", new TextEncoder().encode("Jefe"),
      { name: "HMAC", hash: "SHA-256" }, false, ["sign", "verify"]);
    const signature = await crypto.subtle.sign("HMAC", key, data);
    return same([hex(signature), await crypto.subtle.verify("HMAC", key, signature, data)],
      ["5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843", true]);
  },
  clone: () => {
    const value: any = { date: new Date(0), map: new Map([[1, new Set([2])]]), list: [1, , 3] };
    value.self = value;
    const copy = structuredClone(value);
    return copy !== value && copy.self === copy && copy.date.getTime() === 0 &&
      copy.map.get(1).has(2) && !(1 in copy.list);
  },
  noClone: () => throws("DataCloneError", () => structuredClone(() => 1)),
  headers: () => {
    const headers = new Headers({ "Content-Type": "text/plain" });
    headers.append("x-a", "1");
    headers.append("X-A", " 2 ");
    return same([...headers], [["content-type", "text/plain"], ["x-a", "1, 2"]]);
  },
  badHeader: () => throws("TypeError", () => new Headers({ "a b": "1" })),
  request: async () => {
    const request = new Request("https://example.com", { method: "post", body: "{\"a\":1}" });
    return same([request.method, request.headers.get("content-type"), await request.json()],
      ["POST", "text/plain;charset=UTF-8", { a: 1 }]);
  },
  response: async () => {
    const response = Response.json({ a: 1 }, { status: 201 });
    const copy = response.clone();
    return same([response.status, response.ok, await response.json(), await copy.text()],
      [201, true, { a: 1 }, '{"a":1}']);
  },
  badStatus: () => throws("RangeError", () => new Response("", { status: 99 })),
  blob: async () => {
    const blob = new Blob(["ab", new Uint8Array([99])], { type: "text/plain" });
    return same([blob.size, blob.type, await blob.text(), await blob.slice(1, 2).text()],
      [3, "text/plain", "abc", "b"]);
  },
  form: () => {
    const form = new FormData();
    form.append("a", "1");
    form.append("f", new Blob(["x"]), "f.txt");
    return same([form.get("a"), (form.get("f") as any).name], ["1", "f.txt"]);
  },
  abort: () => {
    const controller = new AbortController();
    let heard = 0;
    controller.signal.addEventListener("abort", () => heard++);
    controller.abort();
    controller.abort();
    return same([heard, controller.signal.aborted, controller.signal.reason.name],
      [1, true, "AbortError"]);
  },
  events: () => {
    const target = new EventTarget();
    const heard: string[] = [];
    target.addEventListener("a", (event) => heard.push(event.type), { once: true });
    target.dispatchEvent(new Event("a"));
    target.dispatchEvent(new Event("a"));
    return same(heard, ["a"]);
  },
  domException: () => {
    const error = new DOMException("m", "AbortError");
    return error instanceof Error && error.code === 20 && error.name === "AbortError";
  },
  weakRef: () => new WeakRef({ a: 1 }).deref() !== undefined,
  waits: () => throws("TypeError",
    () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)),
  absent: () => ["window", "global", "Buffer", "require", "navigator", "Deno", "localStorage",
    "setImmediate", "XMLHttpRequest"].filter((name) => name in globalThis).join() || true,
  asyncStorage: async () => {
    const storage = new (globalThis as any).AsyncLocalStorage();
    const seen = await storage.run("a", async () => {
      await null;
      const inner = storage.run("b", () => storage.getStore());
      await new Promise<void>((resolve) => resolve());
      return [storage.getStore(), inner];
    });
    return same([...seen, storage.getStore() ?? "none"], ["a", "b", "none"]);
  },
  streams: () => throws("Error", () => new ReadableStream()),
  self: () => self === globalThis,
};

export const apis = query({
  args: {},
  handler: async () => {
    const outcomes: Record<string, any> = {};
    for (const [name, check] of Object.entries(checks)) {
      try {
        outcomes[name] = await check();
      } catch (error) {
        outcomes[name] = String(error);
      }
    }
    return outcomes;
  },
});
