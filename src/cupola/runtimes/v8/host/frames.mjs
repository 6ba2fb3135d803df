// Frames over standard input and output: four bytes of length (little-endian), then a
// character that says what it is, then text. Reading and writing block.
//
// Ours end with a line feed, which belongs to the length: Deno's standard output holds back what
// follows the last line feed and writes it in a second system call, which wakes the worker twice.

const input = Deno.stdin;
const output = Deno.stdout;
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const LINE_FEED = 10;
const small = new Uint8Array(1 << 16);
const smallHeader = new DataView(small.buffer);
const smallBody = small.subarray(4);
const SMALL_MAX = 20000; // UTF-16 units, each three bytes of UTF-8 at most

let chunk = new Uint8Array(1 << 16);
let start = 0;
let end = 0;

function fill(wanted) {
  if (start + wanted > chunk.length) {
    const larger = wanted > chunk.length ? new Uint8Array(wanted) : chunk;
    larger.set(chunk.subarray(start, end));
    end -= start;
    start = 0;
    chunk = larger;
  }
  while (end - start < wanted) {
    const count = input.readSync(chunk.subarray(end));
    if (count === null) Deno.exit(0); // the worker has gone
    end += count;
  }
}

/** The next frame's text, its first character included. */
export function readFrame() {
  fill(4);
  const length = chunk[start] | (chunk[start + 1] << 8) | (chunk[start + 2] << 16) |
    (chunk[start + 3] << 24);
  start += 4;
  fill(length);
  const text = decoder.decode(chunk.subarray(start, start + length));
  start += length;
  if (start === end) {
    start = end = 0;
    if (chunk.length > 1 << 20) chunk = new Uint8Array(1 << 16);
  }
  return text;
}

export function writeFrame(text) {
  if (text.length <= SMALL_MAX) {
    const { written } = encoder.encodeInto(text, smallBody);
    smallBody[written] = LINE_FEED;
    smallHeader.setUint32(0, written + 1, true);
    writeAll(small.subarray(0, written + 5));
    return;
  }
  const frame = encoder.encode(`0000${text}\n`);
  new DataView(frame.buffer, frame.byteOffset).setUint32(0, frame.length - 4, true);
  writeAll(frame);
}

function writeAll(bytes) {
  let sent = 0;
  while (sent < bytes.length) sent += output.writeSync(sent === 0 ? bytes : bytes.subarray(sent));
}
