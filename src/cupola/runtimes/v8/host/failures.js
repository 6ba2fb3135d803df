// What was thrown, in words. Evaluated in the realm whose code throws.
(function () {
  "use strict";
  const { stringify } = JSON;

  const CONVEX_ERROR = Symbol.for("ConvexError");

  /** A thrown value in words: JSON of {message, stack, data}. Runs code of the app. */
  function describe(thrown) {
    let told;
    try {
      told = tell(thrown);
    } catch {
      told = { message: "Uncaught exception whose description failed", stack: "" };
    }
    return stringify(told);
  }

  function tell(thrown) {
    if (!(thrown instanceof Error) && !isErrorLike(thrown)) {
      return { message: `Uncaught ${plainly(thrown)}`, stack: "" };
    }
    const name = thrown.name === undefined ? "Error" : String(thrown.name);
    const text = String(thrown.message ?? "").replace(
      "A dynamic import callback was not specified.", "dynamic module import unsupported",
    );
    const told = {
      message: `Uncaught ${[name, text].filter(Boolean).join(": ")}`,
      text,
      stack: typeof thrown.stack === "string" ? thrown.stack : "",
    };
    const mark = thrown.ConvexErrorSymbol;
    if (mark !== undefined && thrown[mark] === true && mark === CONVEX_ERROR) {
      told.data = String(thrown.data);
    }
    return told;
  }

  function isErrorLike(thrown) {
    return typeof thrown === "object" && thrown !== null && typeof thrown.message === "string" &&
      typeof thrown.stack === "string";
  }

  function plainly(thrown) {
    if (typeof thrown === "object" && thrown !== null) return "#<Object>";
    return typeof thrown === "symbol" ? thrown.toString() : String(thrown);
  }

  return describe;
})
