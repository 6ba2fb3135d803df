// Sign up, sign in with email and password, live queries as that user, sign out.
import { anyApi as api } from "convex/server";
import { connect, drive, last, outcome, watch } from "../node/driver.mjs";
import { browser, password, tokenOf, whoIs } from "./page.mjs";

const email = "ada@example.org";

drive(async () => {
  const page = browser();
  const early = await page.convex.token();
  const signedUp = await page.signUp.email({ email, password, name: "Ada" });

  const client = connect();
  const me = watch(client, api.users.me);
  await me.until((seen) => seen.length === 1);
  client.setAuth(() => tokenOf(page));
  await me.until((seen) => last(seen) === email);
  const identity = await client.query(api.users.identity, {});
  const renamed = await client.mutation(api.users.rename, { name: "Countess" });
  const profiles = await client.query(api.users.profiles, {});
  const session = await page.getSession();
  const token = await tokenOf(page);
  const signedOut = await page.signOut();
  await me.until((seen) => last(seen) === null);
  const after = await page.convex.token();

  const other = browser();
  const wrong = await other.signIn.email({ email, password: "wrong horse battery" });
  const twice = await other.signUp.email({ email, password: "another horse", name: "Eve" });
  await other.signIn.email({ email, password });
  return {
    early: early.error?.status,
    signedUp: signedUp.data?.user.email,
    user: signedUp.data?.user.id,
    seen: me.seen,
    identity,
    renamed,
    profiles,
    session: session.data?.user.name,
    signedOut: signedOut.data?.success,
    after: after.error?.status,
    wrong: wrong.error?.code,
    twice: twice.error?.code,
    byHttp: await whoIs(await tokenOf(other)),
    forged: await outcome(whoIs(`${token.slice(0, -8)}AAAAAAAA`)),
  };
});
