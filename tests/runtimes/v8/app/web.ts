import { queryGeneric as query, mutationGeneric as mutation, actionGeneric as action }
  from "convex/server";

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

const unhex = (text: string) =>
  Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
const base64Url = (bytes: Uint8Array) =>
  btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

async function all(stream: ReadableStream): Promise<any[]> {
  const seen: any[] = [];
  for await (const each of stream as any) seen.push(each);
  return seen;
}

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
  pbkdf2: async () => {
    const key = await crypto.subtle.importKey("raw", new TextEncoder().encode("password"), "PBKDF2",
      false, ["deriveBits"]);
    const bits = await crypto.subtle.deriveBits({ name: "PBKDF2", hash: "SHA-256", iterations: 4096,
      salt: new TextEncoder().encode("salt") }, key, 256);
    return same(hex(bits), "c5e478d59288c841aa530db6845c4c8d962893a001ce4e11a4963873aa98134a");
  },
  hkdf: async () => {
    const key = await crypto.subtle.importKey("raw", new Uint8Array(22).fill(11), "HKDF", false,
      ["deriveBits"]);
    const salt = Uint8Array.from({ length: 13 }, (_, i) => i);
    const info = Uint8Array.from({ length: 10 }, (_, i) => 0xf0 + i);
    const bits = await crypto.subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt, info }, key, 336);
    return same(hex(bits), "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf" +
      "34007208d5b887185865");
  },
  keysHaveOnePurpose: async () => {
    const key = await crypto.subtle.importKey("raw", new Uint8Array(8), "HKDF", false, ["deriveBits"]);
    try {
      await crypto.subtle.sign("HMAC", key, new Uint8Array(1));
    } catch (error: any) {
      return same(error.name, "InvalidAccessError");
    }
    return false;
  },
  noRsaKey: async () => {
    try {
      await crypto.subtle.importKey("pkcs8", new Uint8Array(9),
        { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" }, false, ["sign"]);
    } catch (error: any) {
      return same(error.name, "DataError");
    }
    return false;
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
  formBody: async () => { // RFC 7578
    const form = new FormData();
    form.append("a", "1\n2");
    form.append('q"', new File(["xyz"], "f.txt", { type: "text/plain" }));
    form.append("b", new Blob(["z"]));
    const request = new Request("https://a.b", { method: "POST", body: form });
    const type = request.headers.get("content-type") ?? "";
    const boundary = type.split("boundary=")[1];
    const [twice, text] = [request.clone().headers.get("content-type"), await request.text()];
    return same([type.split(";")[0], twice === type, text.replaceAll(boundary, "B").split("\r\n")], [
      "multipart/form-data", true, [
        "--B", 'Content-Disposition: form-data; name="a"', "", "1", "2",
        "--B", 'Content-Disposition: form-data; name="q%22"; filename="f.txt"',
        "Content-Type: text/plain", "", "xyz",
        "--B", 'Content-Disposition: form-data; name="b"; filename="blob"',
        "Content-Type: application/octet-stream", "", "z", "--B--",
      ],
    ]);
  },
  formInResponse: async () => {
    const form = new FormData();
    form.set("a", "1");
    const response = new Response(form);
    const boundary = (response.headers.get("content-type") ?? "").split("boundary=")[1];
    return (await response.text()).startsWith(`--${boundary}\r\n`);
  },
  urlEncodedForm: async () => {
    const body = new URLSearchParams([["a", "1 &"], ["a", "2"], ["é", ""]]);
    const form = await new Request("https://a.b", { method: "POST", body }).formData();
    const sent = { "content-type": "application/x-www-form-urlencoded" };
    const other = await new Response("x=%41+b", { headers: sent }).formData();
    return same([[...form], [...other]], [[["a", "1 &"], ["a", "2"], ["é", ""]], [["x", "A b"]]]);
  },
  noForm: async () => {
    const attempt = new Response("{}", { headers: { "content-type": "application/json" } }).formData();
    return await attempt.then(() => "read", (error: any) => same(error.name, "TypeError"));
  },
  wrapKey: async () => { // RFC 3394, 4.1 and 4.6
    const outcomes = [];
    for (const [kek, data] of [
      ["000102030405060708090A0B0C0D0E0F", "00112233445566778899AABBCCDDEEFF"],
      ["000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F",
        "00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F"],
    ]) {
      const key = await crypto.subtle.importKey("raw", unhex(kek), "AES-KW", false,
        ["wrapKey", "unwrapKey"]);
      const inner = await crypto.subtle.importKey("raw", unhex(data), "AES-GCM", true, ["encrypt"]);
      const wrapped = await crypto.subtle.wrapKey("raw", inner, key, "AES-KW");
      const back = await crypto.subtle.unwrapKey("raw", wrapped, key, "AES-KW", "AES-GCM", true,
        ["encrypt"]);
      const isSame = hex(await crypto.subtle.exportKey("raw", back)) === data.toLowerCase();
      const broken = new Uint8Array(wrapped.slice(0)).fill(1, 0, 1);
      const refused = await crypto.subtle.unwrapKey("raw", broken, key, "AES-KW", "AES-GCM", true,
        ["encrypt"]).catch((error) => error.name);
      outcomes.push(hex(wrapped), isSame, refused);
    }
    return same(outcomes, [
      "1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5", true, "OperationError",
      "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21", true,
      "OperationError",
    ]);
  },
  wrapsJwk: async () => {
    const algorithm = { name: "AES-GCM", iv: new Uint8Array(12) };
    const key = await crypto.subtle.importKey("raw", new Uint8Array(32), "AES-GCM", false,
      ["wrapKey", "unwrapKey"]);
    const hmac = { name: "HMAC", hash: "SHA-256" };
    const inner = await crypto.subtle.importKey("raw", new Uint8Array([1, 2, 3]), hmac, true, ["sign"]);
    const wrapped = await crypto.subtle.wrapKey("jwk", inner, key, algorithm);
    const back = await crypto.subtle.unwrapKey("jwk", wrapped, key, algorithm, hmac, true, ["sign"]);
    const hidden = await crypto.subtle.importKey("raw", new Uint8Array(3), hmac, false, ["sign"]);
    const refused = await crypto.subtle.wrapKey("raw", hidden, key, algorithm).catch((e) => e.name);
    const wrong = await crypto.subtle.encrypt(algorithm, key, new Uint8Array(1)).catch((e) => e.name);
    return same([hex(await crypto.subtle.exportKey("raw", back)), refused, wrong],
      ["010203", "InvalidAccessError", "InvalidAccessError"]);
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
  streamIsRead: async () => {
    const stream = new ReadableStream({
      start: (controller) => controller.enqueue("a"),
      pull(controller) {
        controller.enqueue("b");
        controller.close();
      },
    });
    const reader = new ReadableStreamDefaultReader(stream);
    const seen = [await reader.read(), await reader.read(), await reader.read()];
    await reader.closed;
    return same([seen, stream.locked], [[{ value: "a", done: false }, { value: "b", done: false },
      { done: true }], true]);
  },
  streamFails: async () => {
    const stream = new ReadableStream({ pull() { throw new RangeError("x"); } });
    return same(await stream.getReader().read().catch((error) => error.name), "RangeError");
  },
  streamIsCanceled: async () => {
    let reason = "";
    const stream = new ReadableStream({ cancel(why) { reason = why; } });
    await stream.cancel("enough");
    return same([reason, (await stream.getReader().read()).done], ["enough", true]);
  },
  streamIsIterated: async () => {
    const seen: any[] = [];
    for await (const each of (ReadableStream as any).from([1, 2, 3])) {
      seen.push(each);
      if (each === 2) break;
    }
    return same(seen, [1, 2]);
  },
  streamIsSplit: async () => {
    const [one, two] = (ReadableStream as any).from(["a", "b"]).tee();
    return same([await all(one), await all(two)], [["a", "b"], ["a", "b"]]);
  },
  bytesIntoAView: async () => {
    const stream = new ReadableStream({
      type: "bytes",
      start(controller) {
        controller.enqueue(new Uint8Array([1, 2, 3]));
        controller.close();
      },
    } as any);
    const reader = new ReadableStreamBYOBReader(stream);
    const one = await reader.read(new Uint8Array(2));
    const two = await reader.read(new Uint8Array(2));
    const three = await reader.read(new Uint8Array(2));
    return same([[...one.value!], [...two.value!], three.done], [[1, 2], [3], true]);
  },
  streamIsWritten: async () => {
    const seen: any[] = [];
    const stream = new WritableStream({
      async write(chunk) {
        await null;
        seen.push(chunk);
      },
      close() { seen.push("closed"); },
    });
    const writer = new WritableStreamDefaultWriter(stream);
    void writer.write("a");
    const full = writer.desiredSize;
    await writer.ready;
    await writer.write("b");
    await writer.close();
    await writer.closed;
    return same([seen, full], [["a", "b", "closed"], 0]);
  },
  writingFails: async () => {
    const stream = new WritableStream({ write() { throw new RangeError("x"); } });
    const writer = stream.getWriter();
    const failed = await writer.write("a").catch((error) => error.name);
    return same([failed, await writer.closed.catch((error) => error.name)], ["RangeError", "RangeError"]);
  },
  streamsArePiped: async () => {
    const upper = new TransformStream({
      transform(chunk: string, controller) { controller.enqueue(chunk.toUpperCase()); },
      flush(controller) { controller.enqueue("!"); },
    });
    const seen = await all((ReadableStream as any).from(["a", "b"]).pipeThrough(upper));
    return same(seen, ["A", "B", "!"]);
  },
  pipesEnd: async () => {
    const aborted: any[] = [];
    const failing = new ReadableStream({ pull() { throw new RangeError("x"); } });
    const sink = new WritableStream({ abort(reason) { aborted.push(reason.name); } });
    const outcome = await failing.pipeTo(sink).catch((error) => error.name);
    return same([outcome, aborted], ["RangeError", ["RangeError"]]);
  },
  textStreams: async () => {
    const bytes = (ReadableStream as any).from(["a\ud83d", "\ude00"]).pipeThrough(new TextEncoderStream());
    const text = await all(bytes.pipeThrough(new TextDecoderStream()));
    return same(text.join(""), "a\ud83d\ude00");
  },
  bodiesAreStreams: async () => {
    const chunks = (ReadableStream as any).from(["a", "b"]).pipeThrough(new TextEncoderStream());
    const response = new Response(chunks);
    const copy = response.clone();
    const read = await new Response((copy as any).body).text();
    return same([await response.text(), response.bodyUsed, read,
      await new Response(new Blob(["c"]).stream()).text()], ["ab", true, "ab", "c"]);
  },
  aBodyIsReadOnce: async () => {
    const response = new Response("a");
    await response.text();
    return same(await response.text().catch((error) => error.name), "TypeError");
  },
  aes: async () => {
    const key = await crypto.subtle.importKey("raw", new Uint8Array(16), "AES-GCM", true,
      ["encrypt", "decrypt"]);
    const algorithm = { name: "AES-GCM", iv: new Uint8Array(12) };
    const sealed = await crypto.subtle.encrypt(algorithm, key, new Uint8Array(16));
    const open = await crypto.subtle.decrypt(algorithm, key, sealed);
    const broken = new Uint8Array(sealed.slice(0)).fill(1, 0, 1);
    const refused = await crypto.subtle.decrypt(algorithm, key, broken).catch((error) => error.name);
    return same([hex(sealed), hex(open), refused],
      ["0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf", "00".repeat(16),
        "OperationError"]);
  },
  aesModes: async () => {
    const outcomes = [];
    for (const algorithm of [{ name: "AES-CBC", iv: new Uint8Array(16) },
      { name: "AES-CTR", counter: new Uint8Array(16), length: 64 }]) {
      const key = await crypto.subtle.importKey("raw", new Uint8Array(32), algorithm.name, false,
        ["encrypt", "decrypt"]);
      const sealed = await crypto.subtle.encrypt(algorithm, key, new TextEncoder().encode("hello"));
      outcomes.push(new TextDecoder().decode(await crypto.subtle.decrypt(algorithm, key, sealed)));
    }
    return same(outcomes, ["hello", "hello"]);
  },
  ed25519: async () => { // RFC 8032, 7.1, test 2
    const d = unhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
    const x = unhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
    const jwk = { kty: "OKP", crv: "Ed25519", d: base64Url(d), x: base64Url(x) };
    const key = await crypto.subtle.importKey("jwk", jwk, "Ed25519", true, ["sign"]);
    const signature = await crypto.subtle.sign("Ed25519", key, new Uint8Array([0x72]));
    const open = await crypto.subtle.importKey("raw", x, "Ed25519", true, ["verify"]);
    const right = await crypto.subtle.verify("Ed25519", open, signature, new Uint8Array([0x72]));
    const wrong = await crypto.subtle.verify("Ed25519", open, signature, new Uint8Array([0x73]));
    return same([hex(signature).slice(0, 32), right, wrong, hex(await crypto.subtle.exportKey("raw", open))],
      ["92a009a9f0d4cab8720e820b5f642540", true, false, hex(x.buffer as ArrayBuffer)]);
  },
  ecdsaIsVerified: async () => { // RFC 6979, A.2.5, SHA-256 of "sample"
    const x = unhex("60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6");
    const y = unhex("7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299");
    const algorithm = { name: "ECDSA", namedCurve: "P-256" };
    const point = new Uint8Array([4, ...x, ...y]);
    const key = await crypto.subtle.importKey("raw", point, algorithm, true, ["verify"]);
    const signature = unhex("EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716" +
      "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8");
    const data = new TextEncoder().encode("sample");
    const ok = await crypto.subtle.verify({ name: "ECDSA", hash: "SHA-256" }, key, signature, data);
    const jwk = await crypto.subtle.exportKey("jwk", key);
    return same([ok, jwk.crv, key.type], [true, "P-256", "public"]);
  },
  x25519: async () => { // as PyCA cryptography computes it
    const mine = await crypto.subtle.importKey("jwk", { kty: "OKP", crv: "X25519",
      d: base64Url(unhex("77076d0a7318a57d3c16c17251b26645df4c0f87ebc0992ab177fba51db92c2a")),
      x: base64Url(unhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")) },
    "X25519", false, ["deriveBits"]);
    const other = await crypto.subtle.importKey("raw",
      unhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"), "X25519", true, []);
    const bits = await crypto.subtle.deriveBits({ name: "X25519", public: other } as any, mine, 256);
    return same(hex(bits), "264ee48f0ce6c284599cff10fd4b5c512bd9a9e7864076e7f1ed2d0cb8be2f23");
  },
  deriveKey: async () => {
    const secret = await crypto.subtle.importKey("raw", new Uint8Array(8), "HKDF", false, ["deriveKey"]);
    const key = await crypto.subtle.deriveKey({ name: "HKDF", hash: "SHA-256", salt: new Uint8Array(0),
      info: new Uint8Array(0) }, secret, { name: "AES-CBC", length: 256 }, true, ["encrypt"]);
    return same([(key.algorithm as any).length, (await crypto.subtle.exportKey("raw", key)).byteLength],
      [256, 32]);
  },
  jwkOfASecret: async () => {
    const jwk = { kty: "oct", k: "SmVmZQ" };
    const key = await crypto.subtle.importKey("jwk", jwk, { name: "HMAC", hash: "SHA-256" }, true, ["sign"]);
    return same((await crypto.subtle.exportKey("jwk", key)).k, "SmVmZQ");
  },
  secretsStay: async () => {
    const key = await crypto.subtle.importKey("raw", new Uint8Array(16), "AES-CBC", false, ["encrypt"]);
    return same(await crypto.subtle.exportKey("raw", key).catch((error) => error.name), "InvalidAccessError");
  },
  unknownAlgorithm: async () => same(await crypto.subtle.digest("MD5", new Uint8Array(1))
    .catch((error) => error.name), "NotSupportedError"),
  randomValues: () => {
    const bytes = crypto.getRandomValues(new Uint8Array(32));
    return bytes.some((byte) => byte !== 0) && crypto.randomUUID().length === 36 &&
      throws("QuotaExceededError", () => crypto.getRandomValues(new Uint8Array(65537)));
  },
  measures: () => {
    performance.mark("a");
    performance.mark("b");
    const measure = performance.measure("ab", "a", "b");
    const counted = performance.getEntriesByType("mark").length;
    performance.clearMarks();
    return measure.entryType === "measure" && counted === 2 && performance.getEntriesByType("mark").length === 0
      && Math.abs(performance.timeOrigin + performance.now() - Date.now()) < 1000;
  },
  responseError: () => same([Response.error().type, Response.error().status], ["error", 0]),
  redirect: () => same(Response.redirect("https://a.b/c", 303).headers.get("location"), "https://a.b/c"),
  file: async () => {
    const file = new File(["abc"], "a.txt", { type: "text/plain", lastModified: 5 });
    return same([file.name, file.lastModified, file.size, await file.text()], ["a.txt", 5, 3, "abc"]);
  },
  customEvents: () => same(new CustomEvent("a", { detail: { b: 1 } }).detail, { b: 1 }),
  anySignal: () => {
    const controller = new AbortController();
    const joined = (AbortSignal as any).any([controller.signal, new AbortController().signal]);
    controller.abort("why");
    return same([joined.aborted, joined.reason], [true, "why"]);
  },
  self: () => self === globalThis,
};

/** Where there is time, so that what never ends is told; in a query that is an error itself. */
const seconds = (count: number) => new Promise((resolve) => {
  if (inAction) setTimeout(resolve, 1000 * count);
});
let inAction = false;

async function run() {
  const outcomes: Record<string, any> = {};
  for (const [name, check] of Object.entries(checks)) {
    try {
      const late = new Promise((resolve) => seconds(5).then(() => resolve("it never ends")));
      outcomes[name] = await Promise.race([check(), late]);
    } catch (error) {
      outcomes[name] = String(error);
    }
  }
  return outcomes;
}

export const apis = query({ args: {}, handler: run });
export const apisInMutation = mutation({ args: {}, handler: run });
export const apisInAction = action({
  args: {},
  handler: async () => {
    inAction = true;
    return await run();
  },
});

const absentOf = async (_: any, { names }: any) =>
  names.filter((name: string) => (globalThis as any)[name] === undefined);
export const absent = query({ handler: absentOf });
export const absentInMutation = mutation({ handler: absentOf });
export const absentInAction = action({ handler: absentOf });

/** A multipart form, sent and read; only actions may read it. */
const formOf = async () => {
  const form = new FormData();
  form.append("a", "1");
  form.append("f", new File(["xyz"], "f.txt", { type: "text/plain" }));
  const read = await new Request("https://a.b", { method: "POST", body: form }).formData();
  const file = read.get("f") as File;
  return [read.get("a"), file.name, file.type, await file.text()];
};
export const form = query({ handler: formOf });
export const formInMutation = mutation({ handler: formOf });
export const formInAction = action({ handler: formOf });
