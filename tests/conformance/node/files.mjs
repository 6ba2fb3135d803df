// Stored files through the published client and plain HTTP: `files.mjs URL MODULE`.
import { createHash } from "node:crypto";
import { anyApi } from "convex/server";
import { connect, drive, last, watch } from "./driver.mjs";

const api = anyApi[process.argv[3]];

drive(async () => {
  const client = connect();
  const all = watch(client, api.all);
  await all.until((seen) => seen.length);
  const before = last(all.seen).length;
  const data = new Uint8Array(3_000_000).map((_, place) => place % 251);
  const target = await client.mutation(api.uploadUrl, {});
  const headers = { "Content-Type": "image/png" };
  const posted = await fetch(target, { method: "POST", headers, body: data });
  const { storageId: id } = await posted.json();
  await all.until((seen) => last(seen).length === before + 1);
  const known = last(all.seen).find((file) => file._id === id);

  const from = await client.query(api.url, { id });
  const whole = await fetch(from);
  const bytes = new Uint8Array(await whole.arrayBuffer());
  const part = await fetch(from, { headers: { Range: "bytes=250-253" } });
  const head = await fetch(from, { method: "HEAD" });
  const copy = await client.action(api.copy, { id });
  const copied = await fetch(await client.query(api.url, { id: copy }));
  const sameEtag = { "If-None-Match": whole.headers.get("etag") };
  const unchanged = await fetch(from, { headers: sameEtag });
  await client.mutation(api.remove, { id });
  await all.until((seen) => !last(seen).some((file) => file._id === id));
  const gone = await fetch(from);
  return {
    known,
    digest: createHash("sha256").update(data).digest("base64"),
    same: Buffer.compare(bytes, data) === 0,
    type: whole.headers.get("content-type"),
    part: [part.status, [...new Uint8Array(await part.arrayBuffer())]],
    head: [head.status, head.headers.get("content-length"), (await head.text()).length],
    copied: [copied.headers.get("content-type"), (await copied.arrayBuffer()).byteLength],
    unchanged: unchanged.status,
    gone: gone.status,
    url: await client.query(api.url, { id }),
  };
});
