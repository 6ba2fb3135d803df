// Bundles the app below as the published CLI does, and prints the modules as JSON.
import { createRequire } from "node:module";
import { readdirSync } from "node:fs";
import path from "node:path";
const [app, packages] = process.argv.slice(2);
const require = createRequire(path.join(packages, "package.json"));
const esbuild = require("esbuild");
const files = readdirSync(app, { recursive: true })
  .filter((name) => /\.(ts|js)$/.test(name)).map((name) => path.join(app, name));
const result = await esbuild.build({
  entryPoints: files,
  bundle: true,
  treeShaking: true,
  format: "esm",
  target: "esnext",
  platform: "browser",
  splitting: true,
  chunkNames: "_deps/[hash]",
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
const modules = [...texts].filter(([name]) => name.endsWith(".js")).map(([name, source]) => ({
  path: name, source, source_map: texts.get(`${name}.map`) ?? null, environment: "isolate",
}));
console.log(JSON.stringify(modules));
