// Streams that change what goes through them, made of one that is written and one that is read.
(function (host, environment, web) {
  "use strict";
  const { SECRET, TextDecoder, TextEncoder, part } = web;
  const { ReadableStream, WritableStream, ask, deferred, failWriting, recordOf } = part("streams");

  class TransformStreamDefaultController {
    #readable;
    #fail;
    constructor(secret, readable, fail) {
      if (secret !== SECRET) throw new TypeError("Illegal constructor");
      this.#readable = readable;
      this.#fail = fail;
    }
    get desiredSize() { return this.#readable.desiredSize; }
    enqueue(chunk) {
      this.#readable.enqueue(chunk);
    }
    error(error) {
      this.#readable.error(error);
      this.#fail(error);
    }
    terminate() {
      this.#readable.close();
      this.#fail(new TypeError("The stream was ended."));
    }
  }

  class TransformStream {
    #readable;
    #writable;
    constructor(transformer = {}, writableStrategy = {}, readableStrategy = {}) {
      let output;
      let wanted = deferred(); // settles when somebody reads
      this.#readable = new ReadableStream({
        start: (controller) => {
          output = controller;
        },
        pull: () => wanted.resolve(),
        cancel: async (reason) => {
          fail(reason);
          await ask(transformer, "cancel", reason);
        },
      }, { highWaterMark: 0, ...readableStrategy });
      let writing;
      const fail = (error) => {
        wanted.resolve();
        if (writing !== undefined) failWriting(recordOf(writing, "writable"), error);
      };
      const controller = new TransformStreamDefaultController(SECRET, output, fail);
      const transform = async (chunk) => {
        if (transformer?.transform === undefined) controller.enqueue(chunk);
        else await transformer.transform(chunk, controller);
      };
      const orFail = async (work) => {
        try {
          await work();
        } catch (error) {
          output.error(error);
          throw error;
        }
      };
      writing = this.#writable = new WritableStream({
        start: () => transformer?.start?.(controller),
        write: async (chunk) => {
          if (output.desiredSize <= 0 && recordOf(output, "readable").wanted.length === 0) {
            wanted = deferred();
            await wanted.promise;
          }
          await orFail(() => transform(chunk));
        },
        close: async () => {
          await orFail(() => ask(transformer, "flush", controller));
          const r = recordOf(output, "readable");
          if (r.state === "readable" && !r.closing) output.close();
        },
        abort: async (reason) => {
          output.error(reason);
          await ask(transformer, "cancel", reason);
        },
      }, writableStrategy);
    }
    get readable() { return this.#readable; }
    get writable() { return this.#writable; }
  }

  class TextEncoderStream {
    #stream;
    constructor() {
      const encoder = new TextEncoder();
      let held = ""; // the first half of a pair whose second half is still to come
      this.#stream = new TransformStream({
        transform(chunk, controller) {
          let text = held + String(chunk);
          held = "";
          if (/[\ud800-\udbff]$/.test(text)) {
            held = text.slice(-1);
            text = text.slice(0, -1);
          }
          if (text !== "") controller.enqueue(encoder.encode(text));
        },
        flush(controller) {
          if (held !== "") controller.enqueue(encoder.encode(held));
        },
      });
    }
    get encoding() { return "utf-8"; }
    get readable() { return this.#stream.readable; }
    get writable() { return this.#stream.writable; }
  }

  class TextDecoderStream {
    #stream;
    #decoder;
    constructor(label, options) {
      const decoder = this.#decoder = new TextDecoder(label, options);
      const give = (text, controller) => {
        if (text !== "") controller.enqueue(text);
      };
      this.#stream = new TransformStream({
        transform: (chunk, controller) => give(decoder.decode(chunk, { stream: true }), controller),
        flush: (controller) => give(decoder.decode(), controller),
      });
    }
    get encoding() { return this.#decoder.encoding; }
    get fatal() { return this.#decoder.fatal; }
    get ignoreBOM() { return this.#decoder.ignoreBOM; }
    get readable() { return this.#stream.readable; }
    get writable() { return this.#stream.writable; }
  }

  return { classes: { TransformStream, TextEncoderStream, TextDecoderStream } };
})
