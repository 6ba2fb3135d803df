// The password flow of @convex-dev/auth, as its React hooks do it: sign up, live queries, refresh,
// sign out, sign in again.
import { ConvexHttpClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import { connect, drive, last, outcome, url, watch } from "./driver.mjs";

const email = "ada@example.org";
const password = "correct horse battery";
const http = new ConvexHttpClient(url, { skipConvexDeploymentUrlCheck: true, logger: false });
const signIn = (args) => http.action(api.auth.signIn, args);
const withPassword = (flow, more) =>
  signIn({ provider: "password", params: { email, password, flow, ...more } });

drive(async () => {
  const signedUp = await withPassword("signUp");
  let { token, refreshToken } = signedUp.tokens;
  const client = connect();
  const me = watch(client, api.users.me);
  await me.until((seen) => seen.length === 1);

  let refreshed = 0;
  let wake;
  const isRefreshed = new Promise((resolve) => (wake = resolve));
  client.setAuth(async ({ forceRefreshToken }) => {
    if (forceRefreshToken) {
      ({ token, refreshToken } = (await signIn({ refreshToken })).tokens);
      refreshed += 1;
      wake();
    }
    return token;
  });
  await me.until((seen) => last(seen) === email);
  await isRefreshed; // the client asks for a fresh token once the first is confirmed
  const isAuthenticated = await client.query(api.auth.isAuthenticated, {});
  const wrong = await outcome(withPassword("signIn", { password: "wrong horse" }));
  const twice = await outcome(withPassword("signUp", { password: "another horse" }));
  const again = (await withPassword("signIn")).tokens;
  http.setAuth(again.token);
  const byHttp = await http.query(api.users.me, {});
  await http.action(api.auth.signOut, {});
  http.clearAuth();
  const ended = await signIn({ refreshToken: again.refreshToken });
  return { seen: me.seen, refreshed, isAuthenticated, wrong, twice, byHttp, ended };
});
