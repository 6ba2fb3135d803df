// Calls without a pause while the code is pushed anew: none may fail, and live queries change over.
import { ConvexHttpClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import { connect, drive, last, quiet, say, url, watch } from "./driver.mjs";

const channel = "during push";

drive(async () => {
  const client = connect();
  const http = new ConvexHttpClient(url, { skipConvexDeploymentUrlCheck: true, logger: quiet });
  const list = watch(client, api.messages.list, { channel });
  await list.until((seen) => seen.length === 1);
  let stopped = false;
  let calls = 0;
  const failures = [];
  const repeat = async (call) => {
    while (!stopped) {
      try {
        await call();
      } catch (error) {
        failures.push(error.message);
      }
      calls += 1;
    }
  };
  const send = () => client.mutation(api.messages.send, { channel, author: "a", body: "x" });
  const loops = [
    repeat(send),
    repeat(() => http.query(api.messages.list, { channel })),
    repeat(() => http.query(api.rooms.bodies, { channel })),
  ];
  await say({ pushNow: true });
  await list.until((seen) => last(seen)[0]?.startsWith("new: "));
  stopped = true;
  await Promise.all(loops);
  return { calls, failures, errors: list.errors.map((error) => error.message) };
});
