"""`.venv/bin/python -m benchmarks.pushes`: from a saved file to live code, by `npx convex dev`.

A project of 50 modules; one of them is saved again and again, and asked over HTTP until it answers
with what was saved. Needs the npm packages of the conformance tests: `make node-packages`.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGES = ROOT / "tests" / "conformance" / "node" / "node_modules"
APP = ROOT / "tests" / "conformance" / "typescript" / "convex"
SCHEMA = """
import { defineSchema, defineTable } from "convex/server";
import { v } from "convex/values";
export default defineSchema({
  items: defineTable({ body: v.string(), n: v.number() }).index("by_n", ["n"]),
});
"""
MODULE = """
import { query, mutation } from "./_generated/server";
import { v } from "convex/values";
export const version = query({ args: { n: v.number() }, handler: async () => 0 });
export const list = query({
  args: { n: v.number() },
  handler: async (ctx, args) =>
    await ctx.db.query("items").withIndex("by_n", (q) => q.eq("n", args.n)).take(10),
});
export const add = mutation({
  args: { body: v.string(), n: v.number() },
  handler: async (ctx, args) => await ctx.db.insert("items", { body: args.body, n: args.n }),
});
"""
QUIET_S = 2.0


def written(folder: Path, modules: int, *, incremental: bool, typescript: str | None) -> None:
    """Write the project. `typescript`: a folder to take that package from."""
    convex = folder / "convex"
    convex.mkdir(parents=True)
    package = {"name": "fifty", "private": True, "type": "module"}
    (folder / "package.json").write_text(json.dumps({**package, "dependencies": {"convex": "*"}}))
    (folder / "node_modules").mkdir()
    for each in PACKAGES.iterdir():
        is_other = each.name == "typescript" and typescript is not None
        source = Path(typescript).resolve() if is_other and typescript is not None else each
        (folder / "node_modules" / each.name).symlink_to(source)
    settings = json.loads((APP / "tsconfig.json").read_text())
    if incremental:
        settings["compilerOptions"] |= {"incremental": True, "tsBuildInfoFile": "../tsbuildinfo"}
    (convex / "tsconfig.json").write_text(json.dumps(settings))
    (convex / "schema.ts").write_text(SCHEMA)
    for number in range(modules):
        (convex / f"module{number}.ts").write_text(MODULE)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[str, str]]:
    """A server of its own: its address, and an admin key."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = folder.parent / "data"
    cupola = [sys.executable, "-m", "cupola"]
    command = [*cupola, "serve", str(folder), "--data", str(data), "--port", str(port)]
    with (folder.parent / "log").open("w") as log:
        server = subprocess.Popen([*command, "--site-port", "0"], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            with contextlib.suppress(urllib.error.URLError, OSError):
                urllib.request.urlopen(f"{url}/readyz")
                break
            time.sleep(0.05)
        key = subprocess.run([*cupola, "admin-key", "--data", str(data)], capture_output=True)
        yield url, key.stdout.decode().strip()
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


class Developer:
    """Saves a file, and asks until it answers anew."""

    def __init__(self, folder: Path, url: str, key: str, flags: list[str]) -> None:
        names = {"CONVEX_SELF_HOSTED_URL": url, "CONVEX_SELF_HOSTED_ADMIN_KEY": key}
        self._file = folder / "convex" / "module7.ts"
        self._url = url
        self._asked = 0
        self._ready = threading.Semaphore(0)
        script = str(folder / "node_modules" / "convex" / "bin" / "main.js")
        self._dev = subprocess.Popen(
            ["node", script, "dev", *flags],
            cwd=folder,
            env={**os.environ, **names, "CI": "1", "NO_COLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()
        self.wait_ready()

    def _read(self) -> None:
        assert self._dev.stdout
        for line in self._dev.stdout:
            if "functions ready" in line:
                self._ready.release()

    def wait_ready(self) -> None:
        if not self._ready.acquire(timeout=60):
            raise TimeoutError("The command line does not say that functions are ready.")

    def ask(self) -> tuple[Any, float]:
        """What the function answers, and how long that took, ms. Never from the cache."""
        self._asked += 1
        body = json.dumps({"path": "module7:version", "args": {"n": self._asked}}).encode()
        request = urllib.request.Request(
            f"{self._url}/api/query", body, {"content-type": "application/json"}
        )
        started = time.perf_counter()
        answer = json.load(urllib.request.urlopen(request))
        return answer["value"], (time.perf_counter() - started) * 1000

    def save(self, version: int) -> tuple[float, float, float]:
        """Seconds until the new version answers; ms of its first answer, and of the fifth."""
        time.sleep(QUIET_S)
        saved = time.perf_counter()
        self._file.write_text(MODULE.replace("=> 0", f"=> {version}"))
        while True:
            value, first_ms = self.ask()
            if value == version:
                break
            time.sleep(0.03)  # each question costs processor time, which `tsc` needs
        live_s = time.perf_counter() - saved
        later = [self.ask()[1] for _ in range(4)]
        self.wait_ready()
        return live_s, first_ms, later[-1]

    def stop(self) -> None:
        self._dev.kill()
        self._dev.wait()


def measure(name: str, times: int, modules: int, flags: list[str], **project: Any) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "app"
        written(folder, modules, **project)
        with served(folder) as (url, key):
            developer = Developer(folder, url, key, flags)
            try:
                saves = [developer.save(version) for version in range(1, times + 1)]
            finally:
                developer.stop()
        shutil.rmtree(folder)
    middle = times // 2
    columns = [sorted(column) for column in zip(*saves, strict=True)]
    live, first, later = (column[middle] for column in columns)
    print(f"| {name} | {columns[0][0]:.2f} | {live:.2f} | {first:.0f} | {later:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--modules", type=int, default=50)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--typescript", help="a folder with another package `typescript`")
    options = parser.parse_args()
    print(
        "| save to live, s | least | median | first answer of the new code, ms | the fifth, ms |\n"
        "|---|--:|--:|--:|--:|"
    )
    ours: dict[str, Any] = {"incremental": False, "typescript": options.typescript}
    cases: list[tuple[str, list[str], dict[str, Any]]] = [
        ("as it comes", [], ours),
        ("`incremental` in `tsconfig.json`", [], {**ours, "incremental": True}),
        ("`--typecheck disable`", ["--typecheck", "disable"], ours),
    ]
    for name, flags, project in cases:
        measure(name, options.times, options.modules, flags, **project)


if __name__ == "__main__":
    main()
