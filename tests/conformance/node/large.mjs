// Results above five million bytes arrive in chunks, and whole.
import ws from "ws";
import { anyApi as api } from "convex/server";
import { connect, drive, watch } from "./driver.mjs";

const types = [];

class CountingSocket extends ws {
  constructor(...args) {
    super(...args);
    this.on("message", (data) => types.push(JSON.parse(data.toString()).type));
  }
}

drive(async () => {
  const client = connect({ webSocketConstructor: CountingSocket });
  const small = watch(client, api.counters.get, { name: "beside the large one" });
  const large = watch(client, api.values.large, { mebibytes: 12 });
  await large.until((seen) => seen.length === 1);
  await client.mutation(api.counters.increment, { name: "beside the large one" });
  await small.until((seen) => seen.at(-1) === 1);
  const [texts] = large.seen;
  return {
    texts: texts.length,
    characters: texts.reduce((sum, text) => sum + text.length, 0),
    firstAndLast: [texts[0].slice(0, 3), texts.at(-1).slice(0, 3)],
    chunks: types.filter((type) => type === "TransitionChunk").length,
    sentOnce: large.seen.length,
  };
});
