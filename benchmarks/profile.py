"""Where the server's microseconds go, bench by bench: kernel share, packages, functions.

    benchmarks/.venv/bin/python -m benchmarks.profile               # every bench
    benchmarks/.venv/bin/python -m benchmarks.profile -b b2,b4 --native

py-spy samples the server while a bench counts, and at no other time. Where it may not attach (it
needs ptrace), `--with cprofile` runs the server under cProfile from start to stop instead: it sees
every call, the set-up included, and makes each dearer.

Run it as a module: as a script its name would hide the standard library's `profile`.
"""

from __future__ import annotations

import argparse
import io
import pstats
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.__main__ import PEERS, RESULTS, names, raise_open_files
from benchmarks.benches import BENCHES
from benchmarks.measure import process_tree
from benchmarks.peers import Peer, cupola

PY_SPY = Path(sys.executable).parent / "py-spy"
FUNCTIONS_SHOWN = 25
SIZES = {"b2": 1000, "b3": 1000, "b7": 20_000}
# The server of `cupola serve` without the process that watches over it.
TRACED = """
import cProfile, sys
from cupola.cli import quick
from cupola.cli.serve import serve
output, *options = sys.argv[1:]
settings, log_format, log_functions = quick.read(options)
profile = cProfile.Profile()
profile.enable()
try:
    serve(settings, log_format=log_format, log_functions=log_functions)
finally:
    profile.disable()
    profile.dump_stats(output)
"""
FRAME = re.compile(r"^(?P<function>.+) \((?P<file>[^()]+?)(?::\d+)?\)$")


class PySpy:
    """Samples the peer's busiest process from `start` to `stop`; adds up over several spans.

    Samples are of the main thread, the one with the event loop: those of other threads would show
    their waiting. What each thread used of the CPU, the kernel says.
    """

    def __init__(self, peer: Peer, folder: Path, *, rate_hz: int, native: bool) -> None:
        self._peer = peer
        self._output = folder / "samples.txt"
        self._options = ["--rate", str(rate_hz), "--format", "raw", "--function", "--threads"]
        self._options += ["--native"] if native else []
        self._process: subprocess.Popen[bytes] | None = None
        self._threads: dict[int, float] = {}
        self.samples: Counter[tuple[str, ...]] = Counter()
        self.threads_s: Counter[str] = Counter()

    def start(self) -> None:
        processes = process_tree(self._peer.pids)
        self._profiled = max(processes, key=lambda one: sum(one.cpu_times()[:2]))
        command = [str(PY_SPY), "record", "--pid", str(self._profiled.pid), *self._options]
        command += ["--duration", "unlimited", "--output", str(self._output)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert self._process.stdout
        first = self._process.stdout.readline()  # it speaks when it has begun
        if b"Sampling" not in first:
            rest = self._process.stdout.read()
            raise RuntimeError(f"py-spy cannot sample: {(first + rest).decode().strip()}")
        self._threads = self._thread_seconds()

    def stop(self) -> None:
        assert self._process
        used = self._thread_seconds()
        self._process.send_signal(signal.SIGINT)
        self._process.communicate(timeout=60)
        names = {self._profiled.pid: "main"}
        for line in self._output.read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            thread, *frames = stack.split(";")
            number, name = re.findall(r"thread \((\d+)\)(?:: (.*))?", thread)[0]
            names.setdefault(int(number), name)
            if int(number) == self._profiled.pid:
                self.samples[tuple(frames)] += int(count)
        for number, seconds in used.items():
            self.threads_s[names.get(number, "others")] += seconds - self._threads.get(number, 0.0)

    def _thread_seconds(self) -> dict[int, float]:
        return {one.id: one.user_time + one.system_time for one in self._profiled.threads()}


def _name(frame: str) -> str:
    """A frame as `package/module.py function`, without the way to it."""
    found = FRAME.match(frame)
    if not found:
        return frame
    path = Path(found["file"])
    return f"{'/'.join(path.parts[-2:])} {found['function']}"


def _package(frame: str) -> str:
    """`cupola/values`, `uvicorn`, `app` (the app's own functions), or `python` for the rest."""
    found = FRAME.match(frame)
    parts = Path(found["file"]).parts if found else ()
    if "cupola" in parts:
        below = parts[len(parts) - parts[::-1].index("cupola") :]
        return f"cupola/{below[0]}" if below else "cupola"
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1]
    if "functions" in parts:
        return "app"
    return parts[0] if len(parts) > 1 and not found["file"].startswith("/") else "python"


def describe_samples(samples: Counter[tuple[str, ...]]) -> Iterator[str]:
    """Tables of own time by package and by function, and of time with callees by function."""
    total = samples.total() or 1
    packages: Counter[str] = Counter()
    own: Counter[str] = Counter()
    inclusive: Counter[str] = Counter()
    for stack, count in samples.items():
        packages[_package(stack[-1])] += count
        own[_name(stack[-1])] += count
        for name in {_name(frame) for frame in stack}:
            inclusive[name] += count
    yield f"{total} samples of the main thread. C code counts for the Python function that calls"
    yield "it; `Runner.run` is the event loop itself, its waiting included."
    for title, counter in (("package", packages), ("function, own time", own)):
        yield from _table(title, counter, total, FUNCTIONS_SHOWN)
    yield from _table("function, with what it calls", inclusive, total, FUNCTIONS_SHOWN)


def _table(title: str, counter: Counter[str], total: int, rows: int) -> Iterator[str]:
    yield ""
    yield f"| {title} | % |"
    yield "|---|--:|"
    for name, count in counter.most_common(rows):
        yield f"| {name} | {count / total:.1%} |"


def _noises(tree: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if not isinstance(tree, dict):
        return
    for key, value in tree.items():
        if key == "noise":
            yield place, value
        else:
            yield from _noises(value, f"{place} {key}".strip())


def describe_cpu(result: dict[str, Any]) -> Iterator[str]:
    for place, noise in _noises(result):
        cores, kernel = noise["server_cpu_cores"], noise["server_kernel_share"]
        yield f"{place or 'measured'}: {cores} cores of server CPU, {kernel:.0%} in the kernel."


async def profile_by_sampling(
    peer: Peer, bench: str, folder: Path, options: argparse.Namespace
) -> str:
    profiler = PySpy(peer, folder, rate_hz=options.rate, native=options.native)
    try:
        await peer.start()
        peer.profiler = profiler
        result = await _run(bench)(peer)
    finally:
        await peer.stop()
    lines = [f"## {bench.upper()}", "", *describe_cpu(result), ""]
    threads = [
        f"{name} {seconds:.2f}" for name, seconds in profiler.threads_s.most_common() if seconds
    ]
    lines += [f"CPU seconds by thread: {', '.join(threads)}.", ""]
    return "\n".join([*lines, *describe_samples(profiler.samples), ""])


async def profile_by_tracing(
    _peer: Peer, bench: str, folder: Path, _options: argparse.Namespace
) -> str:
    """Only Cupola itself can be started under cProfile."""
    python = cupola.COMMAND.parent / "python"
    output = folder / "calls.pstats"
    peer = cupola.Peer(folder, serve=[str(python), "-c", TRACED, str(output)])
    try:
        await peer.start()
        result = await _run(bench)(peer)
    finally:
        await peer.stop()
    text = io.StringIO()
    pstats.Stats(str(output), stream=text).sort_stats("tottime").print_stats(FUNCTIONS_SHOWN)
    return "\n".join(
        [f"## {bench.upper()}", "", *describe_cpu(result), "", "```", text.getvalue(), "```", ""]
    )


def _run(bench: str) -> Callable[[Peer], Awaitable[dict[str, Any]]]:
    size = {"n": SIZES[bench]} if bench in SIZES else {}
    return lambda peer: BENCHES[bench](peer, **size)


async def main(options: argparse.Namespace) -> None:
    sections = [f"# Profiles: {options.peer}\n"]
    profile = {"py-spy": profile_by_sampling, "cprofile": profile_by_tracing}[options.tool]
    with tempfile.TemporaryDirectory(prefix="cupola-profile-") as folder:
        for bench in options.benches:
            peer = PEERS[options.peer](Path(folder))
            sections.append(await profile(peer, bench, Path(folder), options))
            print(sections[-1], flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "profile.md").write_text("\n".join(sections))


def parse_options() -> argparse.Namespace:
    measured = [bench for bench in BENCHES if bench != "b8"]  # B8 is a start: nothing to sample
    parser = argparse.ArgumentParser(prog="benchmarks.profile")
    parser.add_argument("-p", "--peer", choices=("cupola", "bare", "handwritten"), default="cupola")
    parser.add_argument("-b", "--benches", type=names(list(BENCHES)), default=measured)
    parser.add_argument("--with", dest="tool", choices=("py-spy", "cprofile"), default="py-spy")
    parser.add_argument("--rate", type=int, default=400, help="samples per second")
    parser.add_argument("--native", action="store_true", help="show C functions too")
    return parser.parse_args()


if __name__ == "__main__":
    raise_open_files()
    uvloop.run(main(parse_options()))
