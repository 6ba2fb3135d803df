// A Node script with both clients: requests over HTTP, and a live query over a WebSocket.
import { ConvexClient, ConvexHttpClient } from "convex/browser";
import { ConvexError } from "convex/values";
import { api } from "./convex/_generated/api.js";

const url = process.env.CONVEX_URL;
if (!url) throw new Error("CONVEX_URL is not set: run `npx convex dev --once` first");

type Tasks = typeof api.tasks.open._returnType;
const textsOf = (tasks: Tasks) => tasks.map((task) => task.text).join(", ") || "nothing";

// One request, one answer. Nothing stays open.
const http = new ConvexHttpClient(url);
console.log("At first:", textsOf(await http.query(api.tasks.open)));

// A live query: the callback gets the result now, and again after every change of it.
const live = new ConvexClient(url);
let heard: (tasks: Tasks) => void;
let shown = shows(() => true);
live.onUpdate(api.tasks.open, {}, (tasks) => {
  console.log("Live:", textsOf(tasks));
  heard(tasks);
});
await shown;

/** Resolves when the live query shows what is wanted. */
function shows(wanted: (tasks: Tasks) => boolean): Promise<void> {
  return new Promise((resolve) => (heard = (tasks) => wanted(tasks) && resolve()));
}

shown = shows((tasks) => tasks.some((task) => task.text === "bread"));
const bread = await http.mutation(api.tasks.add, { text: "bread" });
await shown;

shown = shows((tasks) => tasks.length === 3);
console.log("Added:", await live.action(api.tasks.addLines, { text: "milk\n\ncoffee\n" }));
await shown;

shown = shows((tasks) => tasks.length === 2);
await live.mutation(api.tasks.finish, { id: bread });
await shown;

try {
  await live.mutation(api.tasks.add, { text: " " });
} catch (error) {
  if (!(error instanceof ConvexError)) throw error;
  console.log("Refused:", error.data);
}

for (const { id } of await http.query(api.tasks.open)) {
  await http.mutation(api.tasks.finish, { id });
}
console.log("At last:", textsOf(await http.query(api.tasks.open)));
await live.close();
