// A page of another origin, as a browser shows it: Better Auth's published client with storage.
import { convexClient, crossDomainClient } from "@convex-dev/better-auth/client/plugins";
import { createAuthClient } from "better-auth/client";
import { ConvexHttpClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import { url } from "../node/driver.mjs";

const [site, origin] = process.argv.slice(3);
export const password = "correct horse battery";

// `kept` is what the browser's storage holds.
export function browser(kept = new Map()) {
  const storage = {
    getItem: (key) => kept.get(key) ?? null,
    setItem: (key, value) => kept.set(key, value),
  };
  return createAuthClient({
    baseURL: site,
    fetchOptions: { headers: { origin } }, // a browser adds it
    plugins: [convexClient(), crossDomainClient({ storage })],
  });
}

export const tokenOf = async (page) => (await page.convex.token()).data?.token ?? null;

// Who the deployment says that a token's bearer is.
export async function whoIs(token) {
  const http = new ConvexHttpClient(url, { skipConvexDeploymentUrlCheck: true, logger: false });
  http.setAuth(token);
  return http.query(api.users.me, {});
}
