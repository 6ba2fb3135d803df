// setAuth: tokens confirmed, refreshed before they expire, swapped, refused; and over HTTP.
import { ConvexHttpClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import { connect, drive, last, outcome, url, watch } from "./driver.mjs";

const [issuer, adminKey] = process.argv.slice(3);

const token = async (claims) => {
  const response = await fetch(`${issuer}/token?${new URLSearchParams(claims)}`);
  return response.json();
};

// A client signed in by `claims`, and how often it asked for tokens: true is "a fresh one".
function signIn(client, claims) {
  const asked = [];
  const changes = [];
  let wake = () => {};
  const fetchToken = async ({ forceRefreshToken }) => {
    asked.push(forceRefreshToken);
    wake();
    return token(claims);
  };
  client.setAuth(fetchToken, (isAuthenticated) => { changes.push(isAuthenticated); wake(); });
  const until = async (holds) => {
    while (!holds(asked, changes)) await new Promise((resolve) => (wake = resolve));
  };
  return { asked, changes, until };
}

// The client refreshes ten seconds before the end: here, after about two.
async function refreshes(client) {
  const name = watch(client, api.users.name);
  const count = watch(client, api.users.count);
  const auth = signIn(client, { subject: "ada", lifetime: "12" });
  await auth.until((asked, changes) => asked.length >= 4 && last(changes));
  const called = await client.mutation(api.users.add, {});
  await count.until((seen) => last(seen) === 1);
  name.stop();
  count.stop();
  return { names: name.seen, counts: count.seen, asked: auth.asked, changes: auth.changes, called };
}

async function swaps(client) {
  const name = watch(client, api.users.name);
  const count = watch(client, api.users.count);
  signIn(client, { subject: "ada" });
  await name.until((seen) => last(seen) === "ada");
  signIn(client, { subject: "bob" });
  await name.until((seen) => last(seen) === "bob");
  client.client.clearAuth();
  await name.until((seen) => last(seen) === null);
  count.stop();
  return { names: name.seen.filter((value, i) => value !== name.seen[i - 1]), counts: count.seen };
}

async function isRefused(client) {
  const name = watch(client, api.users.name);
  const auth = signIn(client, { subject: "ada", aud: "another-app" });
  await auth.until((asked, changes) => changes.length > 0);
  await name.until((seen) => seen.length > 0);
  return { names: name.seen, changes: auth.changes, asked: auth.asked };
}

// An administrator who acts as a user, and then as nobody.
async function acts(client) {
  const name = watch(client, api.users.name);
  client.client.setAdminAuth(adminKey, { issuer: "https://issuer.example", subject: "eve" });
  await name.until((seen) => last(seen) === "eve");
  const called = await client.mutation(api.users.add, {});
  client.client.setAdminAuth(adminKey);
  await name.until((seen) => last(seen) === null);
  return called;
}

async function overHttp() {
  const client = new ConvexHttpClient(url, { skipConvexDeploymentUrlCheck: true });
  client.setAuth(await token({ subject: "ada", email: "ada@example.com" }));
  const identity = await client.query(api.users.identity, {});
  client.setAuth(await token({ subject: "ada", aud: "another-app" }));
  const refused = await outcome(client.query(api.users.name, {}));
  client.clearAuth();
  return { identity, refused, anonymous: await client.query(api.users.name, {}) };
}

drive(async () => ({
  refreshes: await refreshes(connect()),
  swaps: await swaps(connect()),
  refused: await isRefused(connect()),
  acts: await acts(connect()),
  http: await overHttp(),
}));
