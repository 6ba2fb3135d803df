// `performance` of queries and mutations: clocks stand still, so what is measured takes no time.
(function (host, environment, web) {
  "use strict";
  const { DOMException, EventTarget, SECRET, structuredClone } = web;

  class PerformanceEntry {
    constructor(secret, name, kind, startTime, duration, detail) {
      if (secret !== SECRET) throw new TypeError("Illegal constructor");
      this.name = name;
      this.entryType = kind;
      this.startTime = startTime;
      this.duration = duration;
      this.detail = detail;
    }
    toJSON() {
      return { ...this };
    }
  }

  class PerformanceMark extends PerformanceEntry {
    constructor(name, { startTime = performanceNow(), detail = null } = {}) {
      super(SECRET, String(name), "mark", Number(startTime), 0, structuredClone(detail));
    }
  }

  class PerformanceMeasure extends PerformanceEntry {}

  const performanceNow = () => environment.now() - environment.clock.importedMs;

  class Performance extends EventTarget {
    #entries = [];
    constructor(secret) {
      if (secret !== SECRET) throw new TypeError("Illegal constructor");
      super();
    }
    get timeOrigin() { return environment.clock.importedMs; }
    now() {
      return performanceNow();
    }
    mark(name, options) {
      return this.#keep(new PerformanceMark(name, options));
    }
    measure(name, start, end) {
      const options = typeof start === "object" && start !== null ? start : { start, end };
      const [from, to] = [this.#time(options.start, 0), this.#time(options.end, performanceNow())];
      const detail = structuredClone(options.detail ?? null);
      return this.#keep(
        new PerformanceMeasure(SECRET, String(name), "measure", from, to - from, detail),
      );
    }
    #time(mark, otherwise) {
      if (mark === undefined) return otherwise;
      if (typeof mark === "number") return mark;
      const found = this.#entries.findLast((each) => each.entryType === "mark" && each.name === mark);
      if (found === undefined) throw new DOMException(`There is no mark "${mark}".`, "SyntaxError");
      return found.startTime;
    }
    #keep(entry) {
      this.#entries.push(entry);
      return entry;
    }
    getEntries() {
      return [...this.#entries];
    }
    getEntriesByName(name, kind) {
      return this.#entries.filter(
        (each) => each.name === name && (kind === undefined || each.entryType === kind),
      );
    }
    getEntriesByType(kind) {
      return this.#entries.filter((each) => each.entryType === kind);
    }
    clearMarks(name) {
      this.#clear("mark", name);
    }
    clearMeasures(name) {
      this.#clear("measure", name);
    }
    #clear(kind, name) {
      this.#entries = this.#entries.filter(
        (each) => each.entryType !== kind || (name !== undefined && each.name !== name),
      );
    }
    toJSON() {
      return { timeOrigin: this.timeOrigin };
    }
  }

  return {
    classes: { Performance, PerformanceEntry, PerformanceMark, PerformanceMeasure },
    performance: new Performance(SECRET),
  };
})
