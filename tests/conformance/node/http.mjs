// ConvexHttpClient: one-shot calls, reads at one timestamp, an administrator's calls.
import { ConvexHttpClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import { bodies, drive, outcome, quiet, url } from "./driver.mjs";

const adminKey = process.argv[3];
const options = { skipConvexDeploymentUrlCheck: true, logger: quiet };
const channel = "http";

drive(async () => {
  const client = new ConvexHttpClient(url, options);
  const send = (body) => client.mutation(api.messages.send, { channel, author: "h", body });
  const list = () => client.query(api.messages.list, { channel });
  await Promise.all([send("one"), send("two"), send("three")]);

  const reader = new ConvexHttpClient(url, options);
  const consistent = async () => bodies(await reader.consistentQuery(api.messages.list, { channel }));
  const first = await consistent();
  await client.mutation(api.counters.increment, { name: "something else" });
  const again = await consistent();
  await send("four");
  const overtaken = await outcome(consistent());

  const admin = new ConvexHttpClient(url, options);
  admin.setAdminAuth(adminKey);
  const acting = new ConvexHttpClient(url, options);
  acting.setAdminAuth(adminKey, { subject: "u1", issuer: "https://issuer.test", name: "Ada" });
  const stranger = new ConvexHttpClient(url, options);
  stranger.setAdminAuth("nobody|0123");

  return {
    list: bodies(await list()),
    consistent: [first, again],
    overtaken,
    action: await client.action(api.messages.announce, { channel: "http actions", body: "hear" }),
    application: await outcome(client.query(api.errors.application, {})),
    plain: await outcome(client.mutation(api.errors.plain_mutation, {})),
    internal: await outcome(client.query(api.private.secret, {})),
    internalAsAdmin: await outcome(admin.query(api.private.secret, {})),
    anyKind: {
      query: await admin.function(api.counters.get, undefined, { name: "any" }),
      mutation: await admin.function(api.counters.increment, undefined, { name: "any" }),
      action: await admin.function(api.values.echo_from_action, undefined, { value: 1.5 }),
      internal: await admin.function(api.private.secret, undefined, {}),
    },
    anyKindAsAnybody: await outcome(client.function(api.counters.get, undefined, { name: "any" })),
    identity: [await client.query(api.private.identity, {}), await acting.query(api.private.identity, {})],
    stranger: await outcome(stranger.query(api.counters.get, { name: "any" })),
  };
});
