// Fresh contexts, as transactions.mjs makes them: their cost in this process, in milliseconds.
// Arguments: the host folder, a JSON file of {bundles: {name: [[path, source]]}, entry}.
const [folder, file] = Deno.args;
const { Bundle, Contexts } = await import(`file://${folder}/contexts.mjs`);
const { functionsForContexts } = await import(`file://${folder}/natives.mjs`);
const names = ["environment", "console", "abi", "web", "temporal", "failures", "exports"];
const sources = Object.fromEntries(
  names.map((name) => [name, Deno.readTextFileSync(`${folder}/${name}.js`)]),
);
const host = { ...functionsForContexts, syscall: () => "0null", log: () => {} };
const contexts = new Contexts(sources, ["URL", "TextEncoder", "crypto"], host);
const { bundles, entry } = JSON.parse(Deno.readTextFileSync(file));
const seed = "00".repeat(32);

function measure(work) {
  const times = [];
  for (let i = 0; i < 330; i++) {
    const started = performance.now();
    work();
    if (i >= 30) times.push(performance.now() - started);
  }
  times.sort((a, b) => a - b);
  const at = (share) => times[Math.floor(share * times.length)];
  return { min: times[0], p50: at(0.5), p99: at(0.99) };
}

const found = {};
for (const [name, modules] of Object.entries(bundles)) {
  const bundle = new Bundle({ modules, environment: {}, seed, now: 1 });
  found[name] = measure(() => {
    const context = contexts.create(bundle);
    if (modules.length > 0) context.evaluate(entry);
  });
}
console.log(JSON.stringify(found));
