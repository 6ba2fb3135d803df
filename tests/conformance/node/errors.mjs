// What the published clients are told of failures, over the socket and over HTTP.
import { ConvexHttpClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import { connect, drive, outcome, url, watch } from "./driver.mjs";

drive(async () => {
  const client = connect();
  const http = new ConvexHttpClient(url, { skipConvexDeploymentUrlCheck: true, logger: false });
  const live = watch(client, api.errors.plain);
  await live.until((seen, errors) => errors.length);
  return {
    live: live.errors[0].message,
    query: await outcome(http.query(api.errors.plain, {})),
    mutation: await outcome(client.mutation(api.errors.plain_mutation, {})),
    wrong: await outcome(http.query(api.errors.returns_wrong, {})),
    data: await outcome(http.query(api.errors.application, {})),
    action: await outcome(client.action(api.errors.application_action, {})),
  };
});
