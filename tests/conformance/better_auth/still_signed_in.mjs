// Who that token and that storage still stand for.
import { drive } from "../node/driver.mjs";
import { browser, tokenOf, whoIs } from "./page.mjs";

drive(async () => {
  const { token, kept } = JSON.parse(process.argv[5]);
  const fresh = await tokenOf(browser(new Map(kept)));
  const byNewToken = await whoIs(fresh);
  const byOldToken = await whoIs(token).catch((error) => error.message);
  return { byOldToken, byNewToken };
});
