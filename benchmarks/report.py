"""The results as a Markdown table of medians, with ratios to the peers and the goals.

benchmarks/.venv/bin/python -m benchmarks.report [RESULTS]
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

QUIET_CORES = 0.4  # used by others: a busier run counts only where there is no quieter one
RATIO_TO = ("handwritten", "pocketbase")


@dataclass(frozen=True)
class Row:
    """One line: a figure of a bench, and what Cupola's is meant to be."""

    label: str
    bench: str
    path: str
    n: int | None = None
    goal: str = ""


def _rows() -> Iterator[Row]:
    yield Row("write → subscriber, p50 ms", "b1", "latency.p50_ms", goal="≤ 0.7 × handwritten")
    yield Row("write → subscriber, p99 ms", "b1", "latency.p99_ms")
    for n in (100, 1000, 5000):
        goal = "≤ 18" if n == 1000 else ""
        yield Row("all have it, p50 ms", "b2", "all_have_it.p50_ms", n)
        yield Row("deliveries/s", "b2", "deliveries_per_s", n)
        yield Row("server CPU µs/delivery", "b2", "server_cpu_us_per_delivery", n, goal)
        yield Row("bytes/delivery", "b2", "bytes_per_delivery", n)
    for n in (100, 1000, 5000, 10_000):
        yield Row("write → subscriber, p50 ms", "b3", "latency.p50_ms", n)
        yield Row("server CPU ms/write", "b3", "server_cpu_ms_per_write", n, "≤ 0.25, flat")
        yield Row("server MiB", "b3", "server_mem_mib", n)
        yield Row("setup s", "b3", "setup_s", n)
    for kind, goal in (("uncontended", "> 8,000"), ("contended", "≥ 0.8 × uncontended")):
        yield Row(f"{kind} commits/s", "b4", f"{kind}.per_s")
        yield Row(f"{kind} commits/server-CPU-s", "b4", f"{kind}.per_server_cpu_s", goal=goal)
    for kind, label, goal in (
        ("identical", "one query, HTTP", "> 9,000"),
        ("distinct", "500 queries, HTTP", ""),
        ("live_identical", "one query, WebSocket", "> 20,000"),
        ("live_distinct", "500 queries, WebSocket", ""),
    ):
        yield Row(f"{label}: queries/s", "b5", f"{kind}.per_s")
        yield Row(f"{label}: queries/server-CPU-s", "b5", f"{kind}.per_server_cpu_s", goal=goal)
    for size in ("100x100B", "100x1000B"):
        yield Row(f"{size}: bytes/update", "b6", f"{size}.bytes_per_update")
        yield Row(f"{size}: p50 ms", "b6", f"{size}.latency.p50_ms")
    for n in (20_000, 100_000, 1_000_000):
        yield Row("inserted documents/s", "b7", "insert_docs_per_s", n)
        yield Row("range of 100, p50 ms", "b7", "range100.p50_ms", n, "< 1")
        yield Row("server MiB", "b7", "server_mem_mib", n, "< 200")
    yield Row("start → first answer, ms", "b8", "start_to_first_query_ms", goal="< 400")
    yield Row("idle MiB", "b8", "idle_mem_mib", goal="< 70")


Documents = dict[str, dict[str, Any]]


def write_report(results: Path) -> str:
    """The report's text; also written beside the results."""
    documents: Documents = {
        path.stem: json.loads(path.read_text()) for path in sorted(results.glob("*.json"))
    }
    text = "\n".join([*_table(documents), "", *_remarks(documents), ""])
    (results / "report.md").write_text(text)
    return text


def _table(documents: Documents) -> Iterator[str]:
    others = [name for name in RATIO_TO if name in documents and "cupola" in documents]
    ratios = [f"cupola ÷ {name}" for name in others]
    head = ["bench", "figure", *documents, *ratios, "goal"]
    yield f"| {' | '.join(head)} |"
    yield "|---" * 2 + "|--:" * (len(head) - 3) + "|---|"
    for row in _rows():
        values = {name: _median(document, row) for name, document in documents.items()}
        if all(value is None for value in values.values()):
            continue
        bench = row.bench.upper() + (f" n={row.n:,}" if row.n else "")
        cells = [_cell(documents[name], row, value) for name, value in values.items()]
        cells += [_ratio(values["cupola"], values[name]) for name in others]
        yield f"| {bench} | {row.label} | {' | '.join(cells)} | {row.goal} |"


def _cell(document: dict[str, Any], row: Row, value: float | None) -> str:
    if value is None:
        return "failed" if _failed(document, row) else "–"
    used, quiet = _counted_runs(document, row)
    spread = sorted(number for run in used if (number := _figure(run["result"], row.path)))
    text = ("" if quiet else "~") + _number(value)
    return text + (f" ({_number(spread[0])}–{_number(spread[-1])})" if len(spread) > 1 else "")


def _ratio(value: float | None, other: float | None) -> str:
    return f"{value / other:.2f}" if value is not None and other else "–"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _runs(document: dict[str, Any], row: Row) -> list[dict[str, Any]]:
    return [r for r in document["runs"] if r["bench"] == row.bench and r.get("n") == row.n]


def _failed(document: dict[str, Any], row: Row) -> bool:
    return any("error" in run for run in _runs(document, row))


def _counted_runs(document: dict[str, Any], row: Row) -> tuple[list[dict[str, Any]], bool]:
    """The runs made while the machine was quiet, or all of them if there are none."""
    good = [run for run in _runs(document, row) if run.get("result")]
    quiet = [run for run in good if max(_others(run), default=0.0) <= QUIET_CORES]
    return (quiet or good), bool(quiet)


def _median(document: dict[str, Any], row: Row) -> float | None:
    runs, _ = _counted_runs(document, row)
    figures = [_figure(run["result"], row.path) for run in runs]
    numbers = [figure for figure in figures if figure is not None]
    return statistics.median(numbers) if numbers else None


def _figure(result: Any, path: str) -> float | None:
    for key in path.split("."):
        result = result.get(key) if isinstance(result, dict) else None
    return result


def _others(tree: Any) -> Iterator[float]:
    """Cores used by anything but server and generator, in every part of a result."""
    if not isinstance(tree, dict):
        return
    for key, value in tree.items():
        if key == "noise":
            yield value["other_cpu_cores"]
        else:
            yield from _others(value)


def _remarks(documents: Documents) -> Iterator[str]:
    yield "`~`: no quiet run; trust CPU and ratios, not latency. In brackets: lowest and highest."
    yield ""
    for name, document in documents.items():
        others = list(_others({str(i): run for i, run in enumerate(document["runs"])}))
        noise = f"; other processes used {statistics.median(others):.2f} cores" if others else ""
        yield f"- **{name}**: {document['notes']}. Durability: {document['durability']}{noise}."
    syncs = [run["fdatasync_us"] for document in documents.values() for run in document["runs"]]
    if syncs:
        yield f"- fdatasync of 4 KiB: median {statistics.median(syncs):.0f} µs."


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "results"
    print(write_report(folder))
