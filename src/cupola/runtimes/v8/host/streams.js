// Streams of queries and mutations (WHATWG Streams), made of this context's own promises: nothing
// comes from outside, so all of it happens in microtasks. Evaluated when one is first used.
//
// What a stream holds is in a record of its own, which only this file reaches; the classes are thin.
// Left out: `byobRequest` (a reader with a buffer of its own is served from the queue), and transfer
// of streams.
(function (host, environment, web) {
  "use strict";
  const { viewOf } = web;
  const records = new WeakMap(); // a stream, reader, writer or controller -> what it works on
  const OURS = Symbol("made here");
  const ignore = () => {};

  function deferred() {
    const made = Promise.withResolvers();
    made.promise.catch(ignore); // nobody need look at it
    return made;
  }

  /** Call a method of what the stream is made over, as a promise. */
  async function ask(over, method, ...parameters) {
    const found = over?.[method];
    return found === undefined || found === null ? undefined
      : await Reflect.apply(found, over, parameters);
  }

  function recordOf(holder, kind) {
    const record = records.get(holder);
    if (record?.kind !== kind) throw new TypeError("Illegal invocation");
    return record;
  }

  const sizeOf = (record, chunk) => {
    const size = Number(record.measure === undefined ? 1 : record.measure(chunk));
    if (!(size >= 0 && size < Infinity)) throw new RangeError("A chunk has no such size.");
    return size;
  };

  function highWaterMark(strategy, otherwise) {
    const mark = strategy?.highWaterMark;
    if (mark === undefined) return otherwise;
    if (!(Number(mark) >= 0)) throw new RangeError("highWaterMark must not be negative.");
    return Number(mark);
  }

  // --------------------------------------------------------------------------------------- reading

  const room = (r) => (r.state === "readable" ? r.mark - r.held : r.state === "closed" ? 0 : null);

  function pullIfWanted(r) {
    if (!r.started || r.state !== "readable" || r.closing) return;
    if (r.wanted.length === 0 && room(r) <= 0) return;
    if (r.pulling) {
      r.pullAgain = true;
      return;
    }
    r.pulling = true;
    ask(r.source, "pull", r.controller).then(() => {
      r.pulling = false;
      if (!r.pullAgain) return;
      r.pullAgain = false;
      pullIfWanted(r);
    }, (error) => failReading(r, error));
  }

  function finishReading(r) {
    r.state = "closed";
    r.queue = [];
    r.held = 0;
    for (const { resolve, view } of r.wanted.splice(0)) resolve({ value: emptied(view), done: true });
    r.reader?.closed.resolve();
  }

  function failReading(r, error) {
    if (r.state !== "readable") return;
    r.state = "errored";
    r.error = error;
    r.queue = [];
    r.held = 0;
    for (const { reject } of r.wanted.splice(0)) reject(error);
    r.reader?.closed.reject(error);
  }

  function enqueue(r, chunk) {
    if (r.state !== "readable" || r.closing) {
      throw new TypeError("Nothing can be added to a stream that is closed.");
    }
    if (r.isBytes) {
      if (!ArrayBuffer.isView(chunk) || chunk.byteLength === 0) {
        throw new TypeError("A stream of bytes takes views that are not empty.");
      }
      chunk = viewOf(chunk).slice();
    }
    if (r.wanted.length > 0 && r.wanted[0].view === undefined) {
      r.wanted.shift().resolve({ value: chunk, done: false });
    } else {
      let size;
      try {
        size = r.isBytes ? chunk.byteLength : sizeOf(r, chunk);
      } catch (error) {
        failReading(r, error);
        throw error;
      }
      r.queue.push({ chunk, size });
      r.held += size;
      serveViews(r);
    }
    pullIfWanted(r);
  }

  function serveViews(r) {
    while (r.wanted.length > 0 && r.queue.length > 0) {
      const { resolve, view } = r.wanted.shift();
      resolve({ value: filled(r, view), done: false });
    }
  }

  /** The bytes of the queue that a view has room for, in a view of its kind on its buffer. */
  function filled(r, view) {
    const { byteOffset, byteLength } = view; // none are left once its buffer has moved
    const bytes = new Uint8Array(view.buffer.transfer(), byteOffset, byteLength);
    let at = 0;
    while (r.queue.length > 0 && at < bytes.length) {
      const { chunk } = r.queue[0];
      const part = chunk.subarray(0, bytes.length - at);
      bytes.set(part, at);
      at += part.length;
      if (part.length === chunk.length) r.queue.shift();
      else r.queue[0] = { chunk: chunk.subarray(part.length), size: chunk.length - part.length };
      r.held -= part.length;
    }
    const unit = view.BYTES_PER_ELEMENT ?? 1;
    return new view.constructor(bytes.buffer, bytes.byteOffset, Math.floor(at / unit));
  }

  function emptied(view) {
    if (view === undefined) return undefined;
    const { byteOffset } = view;
    return new view.constructor(view.buffer.transfer(), byteOffset, 0);
  }

  function readNext(r, view) {
    r.disturbed = true;
    if (r.state === "errored") return Promise.reject(r.error);
    if (r.state === "closed") return Promise.resolve({ value: emptied(view), done: true });
    if (r.queue.length > 0) {
      let value;
      if (view !== undefined) value = filled(r, view);
      else {
        const { chunk, size } = r.queue.shift();
        r.held -= size;
        value = chunk;
      }
      if (r.closing && r.queue.length === 0) finishReading(r);
      else pullIfWanted(r);
      return Promise.resolve({ value, done: false });
    }
    const { promise, resolve, reject } = Promise.withResolvers();
    r.wanted.push({ resolve, reject, view });
    pullIfWanted(r);
    return promise;
  }

  async function cancelReading(r, reason) {
    r.disturbed = true;
    if (r.state === "closed") return;
    if (r.state === "errored") throw r.error;
    finishReading(r);
    await ask(r.source, "cancel", reason);
  }

  class ReadableStreamDefaultController {
    constructor(secret, r) {
      if (secret !== OURS) throw new TypeError("Illegal constructor");
      records.set(this, r);
    }
    get desiredSize() {
      return room(recordOf(this, "readable"));
    }
    enqueue(chunk) {
      enqueue(recordOf(this, "readable"), chunk);
    }
    close() {
      const r = recordOf(this, "readable");
      if (r.state !== "readable" || r.closing) throw new TypeError("The stream is closed already.");
      r.closing = true;
      if (r.queue.length === 0) finishReading(r);
    }
    error(error) {
      failReading(recordOf(this, "readable"), error);
    }
  }

  class ReadableByteStreamController extends ReadableStreamDefaultController {
    get byobRequest() { return null; }
  }

  class Reader {
    constructor(stream) {
      const r = recordOf(stream, "readable");
      if (r.reader !== null) throw new TypeError("The stream is locked by another reader.");
      this.#hold(r);
    }
    #hold(r) {
      const reader = { kind: "reader", r, closed: deferred() };
      r.reader = reader;
      records.set(this, reader);
      if (r.state === "closed") reader.closed.resolve();
      if (r.state === "errored") reader.closed.reject(r.error);
    }
    get closed() {
      return recordOf(this, "reader").closed.promise;
    }
    async cancel(reason) {
      const { r } = recordOf(this, "reader");
      if (r === null) throw new TypeError("The reader was released.");
      await cancelReading(r, reason);
    }
    releaseLock() {
      const reader = recordOf(this, "reader");
      if (reader.r === null) return;
      const released = new TypeError("The reader was released.");
      for (const { reject } of reader.r.wanted.splice(0)) reject(released);
      reader.r.reader = null;
      reader.r = null;
      reader.closed.reject(released);
      reader.closed = deferred();
      reader.closed.reject(released);
    }
  }

  function heldBy(reader) {
    const { r } = recordOf(reader, "reader");
    if (r === null) throw new TypeError("The reader was released.");
    return r;
  }

  class ReadableStreamDefaultReader extends Reader {
    async read() {
      return await readNext(heldBy(this));
    }
  }

  class ReadableStreamBYOBReader extends Reader {
    constructor(stream) {
      if (!recordOf(stream, "readable").isBytes) throw new TypeError("This is no stream of bytes.");
      super(stream);
    }
    async read(view) {
      if (!ArrayBuffer.isView(view) || view.byteLength === 0) {
        throw new TypeError("read() takes a view that is not empty.");
      }
      return await readNext(heldBy(this), view);
    }
  }

  class ReadableStream {
    constructor(source = {}, strategy = {}) {
      if (source === null) throw new TypeError("A stream needs an object to read from.");
      const isBytes = source.type !== undefined;
      if (isBytes && String(source.type) !== "bytes") throw new TypeError("There is no such type.");
      const r = {
        kind: "readable", state: "readable", error: undefined, queue: [], held: 0, wanted: [],
        reader: null, source, isBytes, started: false, pulling: false, pullAgain: false,
        closing: false, disturbed: false, measure: strategy?.size,
        mark: highWaterMark(strategy, isBytes ? 0 : 1),
      };
      records.set(this, r);
      const Controller = isBytes ? ReadableByteStreamController : ReadableStreamDefaultController;
      r.controller = new Controller(OURS, r);
      const started = source.start?.(r.controller); // and it may throw
      Promise.resolve(started).then(() => {
        r.started = true;
        pullIfWanted(r);
      }, (error) => failReading(r, error));
    }
    static from(items) {
      const iterator = items[Symbol.asyncIterator]?.() ?? items[Symbol.iterator]();
      return new ReadableStream({
        async pull(controller) {
          const { value, done } = await iterator.next();
          if (done) controller.close();
          else controller.enqueue(await value);
        },
        cancel: (reason) => iterator.return?.(reason),
      }, { highWaterMark: 0 });
    }
    get locked() {
      return recordOf(this, "readable").reader !== null;
    }
    async cancel(reason) {
      const r = recordOf(this, "readable");
      if (r.reader !== null) throw new TypeError("The stream is locked.");
      await cancelReading(r, reason);
    }
    getReader(options) {
      const mode = options?.mode;
      if (mode === undefined) return new ReadableStreamDefaultReader(this);
      if (mode === "byob") return new ReadableStreamBYOBReader(this);
      throw new TypeError("There is no such mode.");
    }
    tee() {
      return split(this);
    }
    pipeThrough({ readable, writable }, options) {
      this.pipeTo(writable, options).catch(ignore);
      return readable;
    }
    async pipeTo(destination, options = {}) {
      await pipe(this, destination, options);
    }
    values({ preventCancel = false } = {}) {
      return valuesOf(this, preventCancel);
    }
    [Symbol.asyncIterator](options) {
      return this.values(options);
    }
  }

  async function* valuesOf(stream, preventCancel) {
    const reader = stream.getReader();
    let over = false;
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        yield value;
      }
      over = true;
    } catch (error) {
      over = true; // of the stream itself
      throw error;
    } finally {
      if (!over && !preventCancel) await reader.cancel();
      reader.releaseLock();
    }
  }

  function split(stream) {
    const reader = stream.getReader();
    const { isBytes } = recordOf(stream, "readable");
    const reasons = [];
    const canceled = deferred();
    const branches = [];
    let reading = null;
    const next = () => (reading ??= reader.read().then(({ value, done }) => {
      reading = null;
      for (const { controller, isOver } of branches) {
        if (isOver()) continue;
        if (done) controller.close();
        else controller.enqueue(isBytes ? value.slice() : value);
      }
    }));
    const branch = (at) => {
      let over = false;
      const source = {
        type: isBytes ? "bytes" : undefined,
        start: (controller) => void branches.push({ controller, isOver: () => over }),
        pull: next,
        cancel: (reason) => {
          over = true;
          reasons[at] = { reason };
          if (reasons[0] && reasons[1]) {
            canceled.resolve(reader.cancel([reasons[0].reason, reasons[1].reason]));
          }
          return canceled.promise;
        },
      };
      return new ReadableStream(source, { highWaterMark: 0 });
    };
    const both = [branch(0), branch(1)];
    reader.closed.catch((error) => {
      for (const { controller } of branches) controller.error(error);
    });
    return both;
  }

  async function pipe(from, to, { preventClose, preventAbort, preventCancel, signal }) {
    const reader = from.getReader();
    const writer = to.getWriter();
    const { w } = recordOf(writer, "writer");
    try {
      for (;;) {
        if (signal?.aborted) throw { error: signal.reason, ofSignal: true };
        await writer.ready.catch((error) => { throw { error, ofWriter: true }; });
        if (w.state !== "writable") throw { error: w.error, ofWriter: true };
        const stopped = deferred();
        signal?.addEventListener("abort", stopped.resolve);
        const step = await Promise.race([
          reader.read().catch((error) => { throw { error, ofReader: true }; }),
          writer.closed.then(ignore, (error) => { throw { error, ofWriter: true }; }),
          stopped.promise.then(() => { throw { error: signal.reason, ofSignal: true }; }),
        ]);
        if (step === undefined) throw { error: new TypeError("It is closed."), ofWriter: true };
        if (step.done) break;
        writer.write(step.value).catch(ignore);
      }
      if (!preventClose) await writer.close();
    } catch (failure) {
      if (failure?.error === undefined && !failure?.ofReader && !failure?.ofWriter) throw failure;
      const { error, ofReader, ofWriter } = failure;
      if (!ofWriter && !preventAbort) await writer.abort(error).catch(ignore);
      if (!ofReader && !preventCancel) await reader.cancel(error).catch(ignore);
      throw error;
    } finally {
      reader.releaseLock();
      writer.releaseLock();
    }
  }

  // --------------------------------------------------------------------------------------- writing

  const CLOSE = Symbol("close");

  function roomToWrite(w) {
    if (w.state === "errored") return null;
    return w.state === "closed" ? 0 : w.mark - w.held;
  }

  function noteRoom(w) {
    if (w.state === "writable" && !w.closing && roomToWrite(w) <= 0) {
      if (w.isReady) w.ready = deferred();
      w.isReady = false;
    } else if (!w.isReady) {
      w.isReady = true;
      w.ready.resolve();
    }
  }

  function advance(w) {
    if (!w.started || w.inFlight || w.queue.length === 0 || w.state !== "writable") return;
    const { chunk, size, done } = w.queue[0];
    w.inFlight = true;
    const isLast = chunk === CLOSE;
    const work = isLast ? ask(w.sink, "close") : ask(w.sink, "write", chunk, w.controller);
    work.then(() => {
      w.inFlight = false;
      if (w.state === "errored") {
        done.reject(w.error);
        return;
      }
      w.queue.shift();
      w.held -= size;
      done.resolve();
      if (isLast) {
        w.state = "closed";
        w.closed.resolve();
      }
      noteRoom(w);
      advance(w);
    }, (error) => {
      w.inFlight = false;
      done.reject(error);
      failWriting(w, error);
    });
  }

  function failWriting(w, error) {
    if (w.state !== "writable") return;
    w.state = "errored";
    w.error = error;
    for (const { done } of w.queue.splice(w.inFlight ? 1 : 0)) done.reject(error);
    w.closed.reject(error);
    if (w.isReady) w.ready = deferred();
    w.isReady = false;
    w.ready.reject(error);
  }

  function write(w, chunk) {
    if (w.state === "errored") return Promise.reject(w.error);
    if (w.state === "closed" || w.closing) {
      return Promise.reject(new TypeError("Nothing can be written to a stream that is closed."));
    }
    const done = deferred();
    try {
      const size = chunk === CLOSE ? 0 : sizeOf(w, chunk);
      w.queue.push({ chunk, size, done });
      w.held += size;
    } catch (error) {
      failWriting(w, error);
      return Promise.reject(error);
    }
    w.closing = chunk === CLOSE;
    noteRoom(w);
    advance(w);
    return done.promise;
  }

  async function abortWriting(w, reason) {
    if (w.state !== "writable") return;
    w.abort.abort(reason);
    failWriting(w, reason);
    await ask(w.sink, "abort", reason);
  }

  class WritableStreamDefaultController {
    constructor(secret, w) {
      if (secret !== OURS) throw new TypeError("Illegal constructor");
      records.set(this, w);
    }
    get signal() {
      return recordOf(this, "writable").abort.signal;
    }
    error(error) {
      failWriting(recordOf(this, "writable"), error);
    }
  }

  class WritableStreamDefaultWriter {
    constructor(stream) {
      const w = recordOf(stream, "writable");
      if (w.writer !== null) throw new TypeError("The stream is locked by another writer.");
      w.writer = { kind: "writer", w };
      records.set(this, w.writer);
    }
    #held() {
      const { w } = recordOf(this, "writer");
      if (w === null) throw new TypeError("The writer was released.");
      return w;
    }
    get closed() {
      return recordOf(this, "writer").w?.closed.promise ?? Promise.reject(new TypeError("Released."));
    }
    get ready() {
      return recordOf(this, "writer").w?.ready.promise ?? Promise.reject(new TypeError("Released."));
    }
    get desiredSize() {
      return roomToWrite(this.#held());
    }
    async write(chunk) {
      await write(this.#held(), chunk);
    }
    async close() {
      await write(this.#held(), CLOSE);
    }
    async abort(reason) {
      await abortWriting(this.#held(), reason);
    }
    releaseLock() {
      const writer = recordOf(this, "writer");
      if (writer.w !== null) writer.w.writer = null;
      writer.w = null;
    }
  }

  class WritableStream {
    constructor(sink = {}, strategy = {}) {
      const w = {
        kind: "writable", state: "writable", error: undefined, queue: [], held: 0, writer: null,
        sink, started: false, inFlight: false, closing: false, measure: strategy?.size,
        mark: highWaterMark(strategy, 1), closed: deferred(), ready: deferred(), isReady: true,
        abort: new web.AbortController(),
      };
      w.ready.resolve();
      records.set(this, w);
      w.controller = new WritableStreamDefaultController(OURS, w);
      noteRoom(w);
      Promise.resolve(sink?.start?.(w.controller)).then(() => {
        w.started = true;
        advance(w);
      }, (error) => failWriting(w, error));
    }
    get locked() {
      return recordOf(this, "writable").writer !== null;
    }
    getWriter() {
      return new WritableStreamDefaultWriter(this);
    }
    #free() {
      const w = recordOf(this, "writable");
      if (w.writer !== null) throw new TypeError("The stream is locked.");
      return w;
    }
    async abort(reason) {
      await abortWriting(this.#free(), reason);
    }
    async close() {
      await write(this.#free(), CLOSE);
    }
  }

  return {
    classes: {
      ReadableStream, ReadableStreamDefaultReader, ReadableStreamBYOBReader, WritableStream,
      WritableStreamDefaultWriter,
    },
    isDisturbed: (stream) => recordOf(stream, "readable").disturbed,
    ask, deferred, failWriting, recordOf,
  };
})
