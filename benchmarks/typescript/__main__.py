"""`.venv/bin/python -m benchmarks.typescript`: prints a Markdown table.

Needs the npm packages of the conformance tests: `make node-packages`.
"""

import asyncio
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import uvloop

from cupola.backend import Backend
from cupola.backend.calls import CallRequest
from cupola.functions.app import App
from cupola.functions.bundles import Bundle, Module
from cupola.functions.javascript import PushedCode
from cupola.limits import DEFAULT_LIMITS
from cupola.persistence.sqlite import SqlitePersistence
from cupola.runtimes.v8.analyzer import V8Analyzer
from cupola.runtimes.v8.deno import HOST, executable
from cupola.schema import SchemaDefinition

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGES = ROOT / "tests" / "conformance" / "node"
BUNDLER = ROOT / "tests" / "runtimes" / "v8" / "bundle.mjs"
SCHEMA = {
    "tables": [{"tableName": "items", "indexes": [], "documentType": {"type": "any"}}],
    "schemaValidation": True,
}


def row(name: str, times_ms: list[float] | dict[str, float]) -> None:
    if isinstance(times_ms, list):
        ordered = sorted(times_ms)
        low, middle = ordered[0], ordered[len(ordered) // 2]
        high = ordered[int(len(ordered) * 0.99)]
    else:
        low, middle, high = times_ms["min"], times_ms["p50"], times_ms["p99"]
    print(f"| {name} | {low:.3f} | {middle:.3f} | {high:.3f} |")


def bundled() -> tuple[Module, ...]:
    command = ["node", str(BUNDLER), str(HERE / "app"), str(PACKAGES)]
    output = subprocess.run(command, check=True, capture_output=True).stdout
    return tuple(Module(**module) for module in json.loads(output))


def contexts(modules: tuple[Module, ...]) -> None:
    """Fresh contexts, with nothing, with the app, and with the app made 500 kB large."""
    app = [(module.path, module.source) for module in modules]
    size = sum(len(source) for _, source in app)
    filler = "".join(
        f"export function f{n}(a, b) {{ return [a, b].map((each) => each * {n}); }}\n"
        for n in range((500_000 - size) // 72)
    )
    large = [
        (path, filler + source) if path == "bench.js" else (path, source) for path, source in app
    ]
    large_size = sum(len(source) for _, source in large)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        bundles = {
            "fresh context": [],
            f"fresh context and a bundle of {size // 1000} kB": app,
            f"fresh context and a bundle of {large_size // 1000} kB": large,
        }
        json.dump({"bundles": bundles, "entry": "bench.js"}, file)
        file.flush()
        flags = ["--allow-read", "--no-prompt", "--v8-flags=--max-old-space-size=128"]
        script = str(HERE / "contexts.mjs")
        command = [executable(), "run", *flags, script, str(HOST), file.name]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    for name, times in json.loads(output).items():
        row(name, times)


class Deployment:
    """A backend with workers on this loop."""

    def __init__(self, folder: str) -> None:
        path = str(Path(folder) / "data.sqlite3")
        self.backend = Backend(SqlitePersistence(path))
        self.backend.use_workers(path)
        self.backend.deploy_now(App({}, {}))
        self.backend.attach(asyncio.get_running_loop())
        self._count = 0

    async def push(self, code: PushedCode) -> None:
        """Make it the running code, as a finished push does."""
        schema = SchemaDefinition.from_json(json.dumps(SCHEMA))
        app = App({}, {}).with_javascript(code, schema)
        live: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.backend.prepare(app)
        await self.backend.wait_prepared(app)
        self.backend.deploy(app, lambda error: live.set_result(None))
        await live

    async def call(self, kind: Any, path: str, **args: Any) -> Any:
        result = await self.backend.call(CallRequest(kind, path, json.dumps(args).encode()))
        if result.value is None:
            raise RuntimeError(result.error_message)
        return json.loads(result.value)

    async def times(
        self, count: int, kind: str, path: str, pause_s: float = 0.005, **args: Any
    ) -> list[float]:
        """How long calls took, ms, with a pause between them; none comes from the cache."""
        found = []
        for _ in range(count):
            self._count += 1
            started = time.perf_counter()
            await self.call(kind, path, n=self._count, **args)
            found.append((time.perf_counter() - started) * 1000)
            await asyncio.sleep(pause_s)
        return found

    async def per_second(self, count: int, at_once: int) -> float:
        gate = asyncio.Semaphore(at_once)

        async def one(number: int) -> None:
            async with gate:
                await self.call("query", "bench:nothing", n=-number)

        started = time.perf_counter()
        await asyncio.gather(*(one(number) for number in range(count)))
        return count / (time.perf_counter() - started)


async def calls(deployment: Deployment) -> None:
    started = time.perf_counter()
    await deployment.call("query", "bench:nothing", n=0)
    first_ms = (time.perf_counter() - started) * 1000
    items = [await deployment.call("mutation", "bench:add", body="x" * 100) for _ in range(100)]
    disguised = [f"-{item}" for item in items]
    await deployment.times(100, "query", "bench:nothing", 0.002)
    row("trivial query, end to end", await deployment.times(300, "query", "bench:nothing"))
    for times in (1, 10, 100):
        ids, strangers = items[:times], disguised[:times]
        name = f"query with {times} `db.get` of ids in its arguments"
        row(name, await deployment.times(150, "query", "bench:gets", ids=ids))
        name = f"query with {times} `db.get` that cannot be foreseen"
        row(name, await deployment.times(150, "query", "bench:surprises", disguised=strangers))
    row("query that collects 100 documents", await deployment.times(150, "query", "bench:collect"))
    row("mutation that inserts", [await one_insert(deployment) for _ in range(150)])
    await deployment.times(5, "action", "bench:act", 0.05)
    row("trivial action", await deployment.times(50, "action", "bench:act", 0.05))
    row("trivial query after 10 s of rest", await deployment.times(5, "query", "bench:nothing", 10))
    print()
    print("| | |\n|---|--:|")
    print(f"| first call after a push, ms | {first_ms:.1f} |")
    print(f"| trivial queries per second, 8 at once | {await deployment.per_second(2000, 8):.0f} |")
    await processor_time(deployment, disguised)
    started = time.perf_counter()
    with_error = False
    try:
        await deployment.call("query", "bench:loop")
    except RuntimeError:
        with_error = True
    stopped = time.perf_counter()
    await deployment.call("query", "bench:nothing", n=-0.5)
    assert with_error
    print(f"| an endless loop is ended after, ms | {(stopped - started) * 1000:.0f} |")
    print(f"| the next call then takes, ms | {(time.perf_counter() - stopped) * 1000:.1f} |")
    memory()


async def one_insert(deployment: Deployment) -> float:
    started = time.perf_counter()
    await deployment.call("mutation", "bench:add", body="y")
    took = (time.perf_counter() - started) * 1000
    await asyncio.sleep(0.005)
    return took


async def processor_time(deployment: Deployment, disguised: list[str]) -> None:
    """What calls take of the processor, whoever else uses it: for comparisons on a busy machine."""

    async def per_call(times: int) -> dict[str, float]:
        before = processor_ms()
        for _ in range(5):
            strangers = disguised[:times]
            await deployment.times(60, "query", "bench:surprises", disguised=strangers)
        after = processor_ms()
        return {name: (after[name] - before[name]) / 300 for name in after}

    few, many = await per_call(0), await per_call(100)
    for name in few:
        each = (many[name] - few[name]) * 10
        print(f"| processor time of {name}: trivial query, ms | {few[name]:.2f} |")
        print(f"| and of each `db.get`, µs | {each:.1f} |")


def processor_ms() -> dict[str, float]:
    """Since their start, all threads."""
    found = {"the server": 0.0, "workers": 0.0, "Deno": 0.0}
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        command = process.cmdline()
        name = "workers" if any("worker" in word for word in command) else "the server"
        name = "Deno" if any(word.endswith(".mjs") for word in command) else name
        for thread in os.listdir(f"/proc/{process.pid}/task"):
            schedstat = Path(f"/proc/{process.pid}/task/{thread}/schedstat").read_text()
            found[name] += int(schedstat.split()[0]) / 1e6
    return found


def memory() -> None:
    for process in psutil.Process().children(recursive=True):
        words = process.cmdline()
        name = next((Path(word).name for word in words if word.endswith(".mjs")), words[-3])
        print(f"| memory of a process `{name}`, MiB | {process.memory_info().rss / 2**20:.0f} |")


def node_start() -> float:
    found = []
    for _ in range(10):
        started = time.perf_counter()
        subprocess.run(["node", "-e", "0"], check=True, env=dict(os.environ))
        found.append((time.perf_counter() - started) * 1000)
    return sorted(found)[5]


def main() -> None:
    modules = bundled()
    print("| ms | min | p50 | p99 |\n|---|--:|--:|--:|")
    contexts(modules)

    async def run() -> None:
        bundle = Bundle(modules)
        analyzer = V8Analyzer(DEFAULT_LIMITS)
        code = PushedCode(bundle, await analyzer.analyze(bundle))
        analyzer.close()
        with tempfile.TemporaryDirectory() as folder:
            deployment = Deployment(folder)
            await deployment.push(code)
            await calls(deployment)
            await deployment.backend.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
    print(f"| a plain Node process, from start to end, ms | {node_start():.0f} |")


if __name__ == "__main__":
    main()
