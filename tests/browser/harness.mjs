// What the stories stand on: a real `cupola serve` that can be killed, and a real Chromium.
// The paths come from test_in_the_browser.py, in the environment.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, open, readFile, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, afterEach } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const { TEST_PYTHON, TEST_CHROMIUM, TEST_FOLDER } = process.env;
const WITHIN_MS = 15_000;
const CHROMIUM_OPTIONS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];
const require = createRequire(new URL("../conformance/node/package.json", import.meta.url));

export const inRepository = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
export const exampleApp = (name) => inRepository(`examples/${name}`);

/** Runs a program of Python's to its end. Returns: what it printed. */
export async function python(...words) {
  const child = spawn(TEST_PYTHON, words, { stdio: ["ignore", "pipe", "inherit"] });
  let printed = "";
  child.stdout.on("data", (data) => (printed += data));
  const code = await new Promise((resolve) => child.once("close", resolve));
  assert.equal(code, 0, `${words.join(" ")} ended with ${code}:\n${printed}`);
  return printed;
}

/** Waits until `holds()` is true, or gives a value. */
export async function until(holds, what = holds) {
  const deadline = Date.now() + WITHIN_MS;
  for (;;) {
    const value = await holds();
    if (value) return value;
    assert(Date.now() < deadline, `not in time: ${what}`);
    await sleep(5);
  }
}

// ---------------------------------------------------------------------------------------- the server

class Server {
  #app;
  #folder;
  #process;

  constructor(app, folder) {
    this.#app = app;
    this.#folder = folder;
    this.port = 0;
  }

  /** Returns when it answers; the second time on the same port as the first. */
  async start() {
    const log = await open(join(this.#folder, "server.log"), "a");
    const facts = join(this.#folder, "data", "server.json");
    await rm(facts, { force: true }); // of a server that was killed
    this.#process = spawn(
      TEST_PYTHON,
      ["-m", "cupola", "serve", this.#app, "--data", join(this.#folder, "data"),
        "--port", String(this.port), "--site-port", "0"],
      { stdio: ["ignore", log.fd, log.fd] },
    );
    await log.close();
    const announced = await until(async () => {
      if (this.#process.exitCode !== null) assert.fail(`the server ended:\n${await this.log()}`);
      const text = await readFile(facts, "utf8").catch(() => "");
      return text.endsWith("}") || text.endsWith("}\n") ? JSON.parse(text) : null;
    }, "the server is ready");
    this.port = announced.port;
    this.url = `http://127.0.0.1:${this.port}`;
    await until(async () => (await fetch(`${this.url}/readyz`).catch(() => null))?.ok, "readyz");
  }

  /** SIGKILL: no goodbye, no flush. */
  async kill() {
    if (!this.#process || this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    this.#process.kill("SIGKILL");
    await ended;
  }

  /** One call over HTTP, as any program can make it. */
  async call(kind, path, args = {}) {
    const response = await fetch(`${this.url}/api/${kind}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ path, args, format: "json" }),
    });
    const answer = await response.json();
    assert.equal(answer.status, "success", answer.errorMessage);
    return answer.value;
  }

  async adminKey() {
    return (await python("-m", "cupola", "admin-key", "--data", join(this.#folder, "data"))).trim();
  }

  log() {
    return readFile(join(this.#folder, "server.log"), "utf8");
  }
}

const servers = [];
after(() => Promise.all(servers.map((server) => server.kill())));

/** `cupola serve` on an app, with data of its own; it is killed when the story is over. */
export async function serve(app) {
  const server = new Server(app, await newFolder());
  servers.push(server);
  await server.start();
  return server;
}

export const newFolder = () => mkdtemp(join(TEST_FOLDER, "server-"));

// --------------------------------------------------------------------------------------- the browser

let launched;
const contexts = new Set();
afterEach(async () => {
  for (const context of contexts) await context.close();
  contexts.clear();
});
after(async () => (await launched)?.close());

/**
 * A window of its own user (nothing is shared with others, not even storage), or another one of the same
 * user. `problems` are the errors on its console; those about a server that is down are left out.
 */
export async function openPage(url, { sameUserAs, ...options } = {}) {
  launched ??= require("playwright-core").chromium.launch({
    executablePath: TEST_CHROMIUM,
    args: CHROMIUM_OPTIONS,
  });
  const browser = await launched;
  const context = sameUserAs?.context() ?? (await browser.newContext(options));
  contexts.add(context);
  context.setDefaultTimeout(WITHIN_MS);
  const page = await context.newPage();
  page.problems = [];
  page.on("pageerror", (error) => page.problems.push(String(error)));
  page.on("console", (message) => {
    const isServerDown = /WebSocket connection to .* failed/.test(message.text());
    if (["error", "warning"].includes(message.type()) && !isServerDown) page.problems.push(message.text());
  });
  await page.goto(url);
  return page;
}

/** Waits until the page holds: `see(page, "#state", "Live")`. */
export async function see(page, selector, text) {
  try {
    await page.waitForFunction(
      ([selector, text]) => [...document.querySelectorAll(selector)].some(
        (element) => element.checkVisibility() && element.textContent.includes(text)),
      [selector, text],
      { polling: 10 },
    );
  } catch (error) {
    const shown = await page.locator(selector).allTextContents();
    throw new Error(`"${text}" is not in ${selector}, but: ${JSON.stringify(shown.slice(-10))}`, { cause: error });
  }
}
