// Evaluating pushed modules to see what they define.

import { writeFrame } from "./frames.mjs";
import { Told } from "./contexts.mjs";

/** Answer one question: {look, path, options}. `takeRejected` waits a turn and says what failed. */
export async function analyze({ look, path, options }, contexts, bundle, takeRejected) {
  let context = null;
  try {
    context = contexts.create(bundle, options);
    const namespace = context.evaluate(path);
    const found = JSON.parse(context.look(look, namespace, path));
    const rejected = await takeRejected();
    if (rejected !== null) throw new Told(context.tell(rejected.reason));
    place(found.functions, bundle.sources.get(path));
    place(found.routes, bundle.sources.get(path));
    found.modules = context.modulePaths;
    writeFrame(`V${JSON.stringify(found)}`);
  } catch (error) {
    await takeRejected();
    const told = error instanceof Told
      ? error.told
      : { message: `Uncaught ${error}`, stack: String(error?.stack ?? "") };
    const unset = context?.abi.unsetVariable() ?? null;
    writeFrame(`E${JSON.stringify({ ...told, unset })}`);
  }
}

/** Where in the module each handler's text stands; those of other modules are not found. */
function place(items, source) {
  for (const item of items ?? []) {
    const at = item.source === null ? -1 : source.indexOf(item.source);
    delete item.source;
    if (at < 0) continue;
    const before = source.slice(0, at);
    item.line = before.split("\n").length;
    item.column = at - before.lastIndexOf("\n");
  }
}
