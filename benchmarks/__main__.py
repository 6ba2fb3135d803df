"""Run benches against peers in turn, so that each bench meets all of them within the same minutes.

    benchmarks/.venv/bin/python -m benchmarks                       # what `make bench` does
    benchmarks/.venv/bin/python -m benchmarks -p cupola -b b1,b4 -r 3

Every result is kept, one JSON file per peer; a Markdown report of the medians ends the run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.benches import BENCHES, SIZES
from benchmarks.measure import fdatasync_us, wait_quiet
from benchmarks.peers import Peer, PeerUnavailableError, bare, cupola, handwritten, pocketbase
from benchmarks.report import write_report

PEERS: dict[str, Callable[[Path], Peer]] = {
    "cupola": cupola.Peer,
    "handwritten": handwritten.Peer,
    "handwritten_naive": handwritten.NaivePeer,
    "pocketbase": pocketbase.Peer,
    "bare": bare.Peer,
}
RESULTS = Path(__file__).parent / "results"
OPEN_FILES = 65536  # ten thousand sockets, in the server and in the generator


class Recorder:
    """One JSON file per peer; every run is appended and written at once."""

    def __init__(self, folder: Path, peer: Peer) -> None:
        self._path = folder / f"{peer.name}.json"
        kept = json.loads(self._path.read_text())["runs"] if self._path.exists() else []
        self._document = {
            "peer": peer.name,
            "durability": peer.durability,
            "notes": peer.notes,
            "runs": kept,
        }

    def add(self, run: dict[str, Any]) -> None:
        self._document["runs"].append(run)
        self._path.write_text(json.dumps(self._document, indent=1))


async def run_bench(peer: Peer, bench: str, options: argparse.Namespace, record: Recorder) -> None:
    """One bench in all its sizes, on a fresh server (B8 keeps B7's data, if both are asked)."""
    keep_data = bench == "b8" and "b7" in options.benches
    try:
        await peer.start(fresh=not keep_data)
        for size in SIZES[options.sizes].get(bench, [0]):
            if size > peer.clients_max.get(bench, size):
                continue
            arguments = {"n": size} if size else {}
            run: dict[str, Any] = {
                "bench": bench,
                **arguments,
                "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "fdatasync_us": fdatasync_us(options.data),
                "cores_in_use_before": await wait_quiet(options.quiet),
            }
            try:
                figures = BENCHES[bench](peer, **arguments)
                run["result"] = await asyncio.wait_for(figures, options.limit)
            except Exception as error:  # kept as this run's outcome; the next bench starts afresh
                run["error"] = repr(error)[:300]
            record.add(run)
            outcome = json.dumps(run.get("result", run.get("error")))
            print(f"{peer.name} {bench} {size or ''}: {outcome}", flush=True)
            if "error" in run:
                break
    finally:
        await peer.stop()


def make_peers(names: list[str], folder: Path) -> list[Peer]:
    """The peers that can run here; says of each other one what is missing."""
    peers = []
    for name in names:
        try:
            peers.append(PEERS[name](folder))
        except PeerUnavailableError as error:
            print(f"LEFT OUT: {name}. {error}", file=sys.stderr)
    return peers


async def main(options: argparse.Namespace) -> None:
    task = asyncio.current_task()
    assert task
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    peers = make_peers(options.peers, options.data)
    recorders = {peer.name: Recorder(options.results, peer) for peer in peers}
    for _ in range(options.runs):
        for bench in options.benches:
            for peer in peers:
                if bench in peer.benches:
                    await run_bench(peer, bench, options, recorders[peer.name])


def names(known: list[str]) -> Callable[[str], list[str]]:
    """An argparse type: a comma-separated list of known names."""

    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        for name in chosen:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return chosen

    return parse


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.split("\n")[0])
    default_peers = ["cupola", "handwritten", "pocketbase"]
    parser.add_argument("-p", "--peers", type=names(list(PEERS)), default=default_peers)
    parser.add_argument("-b", "--benches", type=names(list(BENCHES)), default=list(BENCHES))
    parser.add_argument("-r", "--runs", type=int, default=1, help="rounds; the report has medians")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", dest="sizes", action="store_const", const="quick")
    sizes.add_argument("--full", dest="sizes", action="store_const", const="full")
    parser.add_argument("--limit", type=float, default=400, help="seconds that one bench may take")
    parser.add_argument("--quiet", type=float, default=10, help="seconds to wait for quiet before")
    parser.add_argument("--append", action="store_true", help="add to the results there are")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--data", type=Path, help="folder the servers write to (a real disk)")
    parser.set_defaults(sizes="usual")
    return parser.parse_args()


def raise_open_files() -> None:
    """Servers started from here inherit the limit."""
    files_max = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, files_max), files_max))


def start() -> None:
    options = parse_options()
    raise_open_files()
    if not options.append:
        shutil.rmtree(options.results, ignore_errors=True)
    options.results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cupola-bench-", dir=options.data) as folder:
        options.data = Path(folder)
        os.chmod(folder, 0o755)  # PostgreSQL may run as a user of its own
        uvloop.run(main(options))
    print(write_report(options.results))


if __name__ == "__main__":
    start()
