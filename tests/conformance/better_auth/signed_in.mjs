// Signs up, and tells the token and what the browser's storage holds then.
import { drive } from "../node/driver.mjs";
import { browser, password, tokenOf } from "./page.mjs";

drive(async () => {
  const kept = new Map();
  const page = browser(kept);
  await page.signUp.email({ email: process.argv[5], password, name: "Somebody" });
  return { token: await tokenOf(page), kept: [...kept] };
});
