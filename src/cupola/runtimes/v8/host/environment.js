// What makes a context deterministic: clocks stand still, randomness follows a seed, and garbage
// collection cannot be observed. Evaluated in each fresh context, before any pushed module.
//
// `host` belongs to Deno's own realm. It must stay in closures here: whoever gets hold of one of
// its functions holds a piece of that realm. Only strings, numbers and views of this context's own
// buffers cross.
(function (host) {
  "use strict";
  const { monotonicMs, timeObserved } = host;
  const clock = { nowMs: 0, importedMs: 0, observed: false, running: false };

  // ------------------------------------------------------------------------------------ randomness

  // ChaCha with 12 rounds (RFC 8439, fewer rounds), keyed by the seed of the call.
  const state = new Uint32Array(16);
  const block = new Uint32Array(16);
  const bytes = new Uint8Array(block.buffer);
  let used = 64;
  let seed = ""; // 64 hexadecimal digits that `state` is to be made of; "": it is

  function takeSeed() {
    state.set([0x61707865, 0x3320646e, 0x79622d32, 0x6b206574]);
    for (let i = 0; i < 8; i++) state[4 + i] = parseInt(seed.slice(8 * i, 8 * i + 8), 16);
    state.fill(0, 12);
    seed = "";
  }

  function quarter(a, b, c, d) {
    block[a] += block[b]; block[d] ^= block[a]; block[d] = (block[d] << 16) | (block[d] >>> 16);
    block[c] += block[d]; block[b] ^= block[c]; block[b] = (block[b] << 12) | (block[b] >>> 20);
    block[a] += block[b]; block[d] ^= block[a]; block[d] = (block[d] << 8) | (block[d] >>> 24);
    block[c] += block[d]; block[b] ^= block[c]; block[b] = (block[b] << 7) | (block[b] >>> 25);
  }

  function refill() {
    if (seed !== "") takeSeed(); // few calls need it
    block.set(state);
    for (let round = 0; round < 6; round++) {
      quarter(0, 4, 8, 12); quarter(1, 5, 9, 13); quarter(2, 6, 10, 14); quarter(3, 7, 11, 15);
      quarter(0, 5, 10, 15); quarter(1, 6, 11, 12); quarter(2, 7, 8, 13); quarter(3, 4, 9, 14);
    }
    for (let i = 0; i < 16; i++) block[i] += state[i];
    if (++state[12] === 0) state[13]++;
    used = 0;
  }

  let refused = null;

  function randomByte() {
    if (refused !== null) refused("Randomness");
    if (used >= 64) refill();
    return bytes[used++];
  }

  function random32() {
    if (refused !== null) refused("Randomness");
    if (used > 60) refill();
    const word = bytes[used] | (bytes[used + 1] << 8) | (bytes[used + 2] << 16) |
      (bytes[used + 3] << 24);
    used += 4;
    return word >>> 0;
  }

  Math.random = function random() {
    return ((random32() >>> 5) * 67108864 + (random32() >>> 6)) / 9007199254740992;
  };

  // ------------------------------------------------------------------------------------------ time

  const RealDate = Date;

  function now() {
    if (refused !== null) refused("The clock");
    if (clock.running && !clock.observed) {
      clock.observed = true;
      timeObserved();
    }
    return clock.nowMs;
  }

  function FrozenDate(...parts) {
    if (new.target === undefined) return new RealDate(now()).toString();
    return Reflect.construct(RealDate, parts.length === 0 ? [now()] : parts, new.target);
  }
  Object.defineProperties(FrozenDate, {
    name: { value: "Date" },
    length: { value: 7 },
    prototype: { value: RealDate.prototype, writable: false },
    now: { value: function () { return now(); }, writable: true, configurable: true },
    parse: { value: RealDate.parse, writable: true, configurable: true },
    UTC: { value: RealDate.UTC, writable: true, configurable: true },
  });
  Object.defineProperty(RealDate.prototype, "constructor", {
    value: FrozenDate, writable: true, configurable: true,
  });
  Object.defineProperty(globalThis, "Date", {
    value: FrozenDate, writable: true, configurable: true, enumerable: false,
  });

  const format = Object.getOwnPropertyDescriptor(Intl.DateTimeFormat.prototype, "format").get;
  Object.defineProperty(Intl.DateTimeFormat.prototype, "format", {
    configurable: true,
    get() {
      const bound = Reflect.apply(format, this, []);
      return (date) => bound(date === undefined ? now() : date);
    },
  });
  const formatToParts = Intl.DateTimeFormat.prototype.formatToParts;
  Intl.DateTimeFormat.prototype.formatToParts = function (date) {
    return Reflect.apply(formatToParts, this, [date === undefined ? now() : date]);
  };

  // V8 makes Temporal when it is first looked at, which takes as long as all the rest here (to
  // assign to it is not to look). Ours comes from a context of its own, and only when it is used;
  // see `temporal.js`.
  globalThis.Temporal = undefined;
  const { loadTemporal } = host;
  const setTemporal = (value) => Object.defineProperty(globalThis, "Temporal", {
    value, writable: true, configurable: true, enumerable: false,
  });
  Object.defineProperty(globalThis, "Temporal", {
    configurable: true,
    enumerable: false,
    get() {
      const found = loadTemporal(now);
      setTemporal(found);
      return found;
    },
    set: setTemporal,
  });
  RealDate.prototype.toTemporalInstant = function toTemporalInstant() {
    return Temporal.Instant.fromEpochMilliseconds(this.getTime());
  };

  // --------------------------------------------------------------------------- what must not be seen

  globalThis.WeakRef = class WeakRef {
    #target;
    constructor(target) {
      if ((typeof target !== "object" || target === null) && typeof target !== "function") {
        throw new TypeError("WeakRef: target must be an object");
      }
      this.#target = target;
    }
    deref() {
      return this.#target;
    }
    get [Symbol.toStringTag]() {
      return "WeakRef";
    }
  };
  globalThis.FinalizationRegistry = class FinalizationRegistry {
    register() {}
    unregister() {
      return false;
    }
    get [Symbol.toStringTag]() {
      return "FinalizationRegistry";
    }
  };
  for (const global of ["WeakRef", "FinalizationRegistry"]) {
    Object.defineProperty(globalThis, global, { enumerable: false });
  }
  Atomics.wait = function () {
    throw new TypeError("Atomics.wait cannot be called in this context");
  };
  delete Atomics.waitAsync;

  // Compiling in the background would end at a moment of its own.
  const { Module, Instance } = WebAssembly;
  WebAssembly.compile = async (source) => new Module(source);
  WebAssembly.instantiate = async (source, imports) => {
    if (source instanceof Module) return new Instance(source, imports);
    const module = new Module(source);
    return { module, instance: new Instance(module, imports) };
  };
  delete WebAssembly.compileStreaming;
  delete WebAssembly.instantiateStreaming;

  return {
    now,
    monotonicMs,
    randomByte,
    clock,
    /** From now on clocks and randomness call `refuse(what)`, which throws. */
    refuse(refuse) {
      refused = refuse;
    },
    /** Another phase begins: seed (64 hexadecimal digits), time in ms, and whether it is a call. */
    begin(seedHex, nowMs, running) {
      seed = seedHex;
      used = 64;
      clock.nowMs = nowMs;
      if (!running) clock.importedMs = nowMs;
      clock.running = running;
    },
  };
})
