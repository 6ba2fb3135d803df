// Vector searches of an app in TypeScript, through one ConvexClient.
import { anyApi as api } from "convex/server";
import { connect, drive, outcome, url } from "./driver.mjs";

drive(async () => {
  const client = connect();
  const add = (title, genre, plot, year) =>
    client.mutation(api.movies.add, { title, genre, ...(plot && { plot }), ...(year && { year }) });
  const heat = await add("Heat", "crime", [1, 0, 0], 1995);
  await add("Ronin", "crime", [1, 1, 0], 1998);
  await add("Alien", "horror", [0, 1, 0], 1979);
  await add("Untold", "crime");
  await add("Misfit", "crime", [1, 0]); // one dimension is missing: no search finds it
  const plot = [2, 0, 0];
  const nearest = (args) => client.action(api.movies.nearest, { plot, ...args });
  const all = await nearest({});
  const ways = ["index", "staged", "table", "empty", "dimensions", "numbers", "nan", "limit",
    "field", "many", "literal"];
  const facts = {
    all,
    best: await nearest({ limit: 1 }),
    horror: await nearest({ genres: ["horror"] }),
    either: await nearest({ genres: ["horror", "crime"] }),
    orYear: await nearest({ genres: ["horror"], year: 1998 }),
    none: await nearest({ genres: ["war"] }),
    withoutYear: await client.action(api.movies.withoutYear, {}),
    inNode: await client.action(api.inNode.count, { plot }),
    python: await client.action(api.shelf.nearest, { plot, genre: "crime" }),
    inAQuery: await outcome(client.query(api.movies.inAQuery, {})),
    misused: Object.fromEntries(await Promise.all(
      ways.map(async (how) => [how, await client.action(api.movies.misused, { how })]),
    )),
    heat,
  };
  const answer = await fetch(`${url}/http/nearest`, { method: "POST", body: JSON.stringify({ plot }) });
  facts.http = await answer.json();
  await client.mutation(api.movies.remove, { id: heat });
  facts.afterwards = await nearest({});
  return facts;
});
