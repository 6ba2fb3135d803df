// Bundles the app below as the published CLI does, and prints the modules as JSON.
import { createRequire } from "node:module";
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
const [app, packages] = process.argv.slice(2);
const require = createRequire(path.join(packages, "package.json"));
const esbuild = require("esbuild");
const files = readdirSync(app, { recursive: true })
  .filter((name) => /\.(ts|js)$/.test(name)).map((name) => path.join(app, name));
const isNode = (file) => readFileSync(file, "utf8").startsWith('"use node"');

async function build(entryPoints, environment) {
  if (entryPoints.length === 0) return [];
  const result = await esbuild.build({
    entryPoints,
    bundle: true,
    treeShaking: true,
    format: "esm",
    target: "esnext",
    platform: environment === "node" ? "node" : "browser",
    splitting: true,
    chunkNames: environment === "node" ? "_deps/node/[hash]" : "_deps/[hash]",
    outbase: app,
    outdir: "out",
    conditions: ["convex", "module"],
    minifySyntax: true,
    minifyIdentifiers: true,
    keepNames: true,
    define: { "process.env.NODE_ENV": '"production"' },
    sourcemap: "external",
    write: false,
    nodePaths: [path.join(packages, "node_modules")],
    logLevel: "error",
  });
  const texts = new Map(
    result.outputFiles.map((file) => [path.relative(path.resolve("out"), file.path), file.text]),
  );
  return [...texts].filter(([name]) => name.endsWith(".js")).map(([name, source]) => ({
    path: name, source, source_map: texts.get(`${name}.map`) ?? null, environment,
  }));
}

console.log(JSON.stringify([
  ...await build(files.filter((file) => !isNode(file)), "isolate"),
  ...await build(files.filter(isNode), "node"),
]));
