// Users that the app keeps itself: sign up over HTTP, then live queries as that user.
import { ConvexHttpClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import { connect, drive, last, outcome, url, watch } from "./driver.mjs";

const http = new ConvexHttpClient(url, { skipConvexDeploymentUrlCheck: true });
const email = "ada@example.org";
const password = "correct horse battery";

drive(async () => {
  const signedUp = await http.action(api.auth.sign_up, { email, password, name: "Ada" });
  let session = signedUp.refresh_token;
  const client = connect();
  const me = watch(client, api.auth.me);
  await me.until((seen) => seen.length === 1);

  let asked = 0;
  client.setAuth(async () => {
    asked += 1;
    const { token } = await http.action(api.auth.refresh, { refresh_token: session });
    return token;
  });
  await me.until((seen) => last(seen)?.email === email);
  const key = await client.action(api.auth.create_api_key, { name: "backup" });
  const exchanged = await http.action(api.auth.refresh, { refresh_token: key });
  http.setAuth(exchanged.token);
  const byKey = await http.query(api.auth.me, {});
  http.setAuth(key); // or directly, as `Authorization: Bearer cupola_key_...`
  const directly = await http.query(api.auth.me, {});
  const [listed] = await http.query(api.auth.list_api_keys, {});
  await http.mutation(api.auth.revoke_api_key, { id: listed.id });
  const revoked = await outcome(http.query(api.auth.me, {}));
  http.clearAuth();

  const wrong = await outcome(http.action(api.auth.sign_in, { email, password: "wrong" }));
  const again = await http.action(api.auth.sign_in, { email, password });
  await http.action(api.auth.sign_out, { refresh_token: again.refresh_token });
  const ended = await outcome(http.action(api.auth.refresh, { refresh_token: again.refresh_token }));
  client.client.clearAuth();
  await me.until((seen) => last(seen) === null);
  return {
    seen: me.seen.map((user) => user && [user.email, user.name]),
    byKey: [byKey.email, directly.email],
    revoked: revoked.error,
    wrong: wrong.data,
    ended: ended.data,
    asked,
    secrets: [password, session, again.refresh_token, key],
  };
});
