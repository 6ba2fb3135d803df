// Scheduled functions through the published client: `jobs.mjs URL MODULE ADMIN_KEY`.
import { ConvexHttpClient } from "convex/browser";
import { anyApi } from "convex/server";
import { connect, drive, last, outcome, url, watch } from "./driver.mjs";

const api = anyApi[process.argv[3]];
const ended = (seen) => seen.length && !["pending", "inProgress"].includes(last(seen).state.kind);
const states = (seen) => seen.map((job) => job.state.kind);

drive(async () => {
  const client = connect();
  const texts = watch(client, api.texts);
  await texts.until((seen) => seen.length);
  const failed = await outcome(client.mutation(api.later, { text: "no", ms: 0, fails: true }));
  const id = await client.mutation(api.later, { text: "yes", ms: 300, fails: false });
  const job = watch(client, api.job, { id });
  await job.until(ended);
  await outcome(client.action(api.laterInAction, { text: "stays" }));
  await texts.until((seen) => last(seen).includes("stays"));

  const far = await client.mutation(api.later, { text: "never", ms: 3_600_000, fails: false });
  const canceled = watch(client, api.job, { id: far });
  await canceled.until((seen) => seen.length);
  await client.mutation(api.cancel, { id: far });
  await canceled.until(ended);
  const bad = await client.mutation(api.later, { text: "bad", ms: 0, fails: false });
  const failing = watch(client, api.job, { id: bad });
  await failing.until(ended);

  const admin = new ConvexHttpClient(url, { skipConvexDeploymentUrlCheck: true, logger: false });
  admin.setAdminAuth(process.argv[4], { subject: "ada", issuer: "https://example.org" });
  const who = await admin.query(api.who, {});
  await admin.mutation(api.later, { text: "as ada", ms: 0, fails: false });
  await texts.until((seen) => last(seen).includes("as ada"));
  const tooMany = await outcome(client.mutation(api.many, { count: 1001 }));
  const enough = await outcome(client.mutation(api.many, { count: 1000 }));
  return {
    failed: failed.error,
    job: last(job.seen),
    states: states(job.seen),
    canceled: states(canceled.seen),
    failing: last(failing.seen).state,
    texts: last(texts.seen),
    who,
    users: await client.query(api.users, {}),
    tooMany: tooMany.error,
    enough,
  };
});
