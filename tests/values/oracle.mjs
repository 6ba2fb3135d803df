// What the published JavaScript client says about values.
//
//   node oracle.mjs <folder of node_modules> < questions.json > answers.json
//
// Questions: a JSON array of values in encoded JSON; `{"$undefined":null}` at the top is undefined.
// Answers: {"encoded": […], "sizes": […], "documentSizes": […], "orders": [[…], …]}; what the client
// refuses is {"error": text}, and the rows of `orders` compare each value with every other.

import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const require = createRequire(join(resolve(process.argv[2]), "oracle.cjs"));
const { compareValues, convexToJson, getConvexSize, getDocumentSize, jsonToConvex } =
  require("convex/values");

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const questions = JSON.parse(Buffer.concat(chunks).toString());

const attempt = (answer) => {
  try {
    return answer();
  } catch (error) {
    return { error: error.message };
  }
};
const read = (json) => (json?.$undefined === null ? undefined : jsonToConvex(json));
const isObject = (json) => json !== null && json.constructor === Object;

const values = questions.map((json) => attempt(() => ({ value: read(json) })));
const each = (answer) =>
  values.map((read, i) => (read.error ? read : attempt(() => answer(read.value, questions[i]))));

process.stdout.write(
  JSON.stringify({
    encoded: each((value) => JSON.stringify(convexToJson(value))),
    sizes: each((value) => getConvexSize(value)),
    documentSizes: each((value, json) => (isObject(json) ? getDocumentSize(value) : null)),
    orders: each((left) =>
      values.map((right) => (right.error ? null : Math.sign(compareValues(left, right.value)))),
    ),
  }),
);
