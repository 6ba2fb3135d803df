"""What `/metrics` shows: counters the engine keeps anyway, read when somebody looks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import Metric

    from cupola.backend.backend import Backend


_LOG = {
    "file_bytes": ("gauge", "Size of the SQLite file"),
    "wal_bytes": ("gauge", "Bytes of the write-ahead log in use"),
    "wal_file_bytes": ("gauge", "Size of the write-ahead log's file"),
    "wal_written_bytes": ("counter", "Bytes written to the write-ahead log"),
    "syncs": ("counter", "fdatasync calls"),
    "checkpoints": ("counter", "Checkpoints"),
    "checkpoints_blocked": ("counter", "Checkpoints that a reader kept from ending"),
    "checkpoint_errors": ("counter", "Checkpoints that failed and will be tried again"),
    "requests_not_indexed": ("gauge", "Answered mutations not yet in the index of requests"),
    "versions": ("gauge", "Versions of documents in memory"),
    "commits": ("gauge", "Commits in memory"),
}
"""The figures of `Persistence.statistics`: kind and help."""


class NodeCollector:
    """Figures of one node, in Prometheus's terms. Names are documented in
    docs/reference/metrics.md.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def collect(self) -> Iterable[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        node = self._backend.node
        counts = node.counters
        counters: dict[str, tuple[float, str]] = {
            "commits": (node.committer.commits, "Committed transactions"),
            "conflicts": (
                node.committer.conflicts,
                "Transactions that lost a conflict and ran again",
            ),
            "mutations": (counts["mutations"], "Mutations answered"),
            "mutations_repeated": (
                counts["mutations_repeated"],
                "Re-sent mutations answered from their record",
            ),
            "query_runs": (counts["query_runs"], "Executions of queries"),
            "query_cache_hits": (node.cache.hits, "Queries answered without an execution"),
            "query_cache_misses": (node.cache.misses, "Queries asked for the first time"),
            "query_cache_evictions": (node.cache.evicted, "Results dropped for memory"),
            "actions": (counts["actions"], "Actions started"),
            "scheduled_mutations": (counts["scheduled_mutations"], "Scheduled mutations begun"),
            "scheduled_actions": (counts["scheduled_actions"], "Scheduled actions begun"),
            "transitions": (counts["transitions"], "Transitions sent to clients"),
            "passes_over_turns": (
                counts["passes_over_turns"],
                "Passes that did not end in one turn",
            ),
            "worker_calls": (counts["worker_calls"], "Calls that ran in a transaction worker"),
            "worker_kills": (counts["worker_kills"], "Workers ended for passing a limit"),
        }
        gauges: dict[str, tuple[float, str]] = {
            "sessions": (self._backend.session_count, "Connected clients"),
            "queued_mutations": (len(self._backend.mutations), "Mutations waiting for a turn"),
            "scheduled_running": (
                self._backend.scheduler.running,
                "Scheduled functions under way",
            ),
            "stale_queries": (len(self._backend.passes), "Live queries waiting to run again"),
            "undelivered": (len(node.outbox), "Messages waiting for durability"),
            "cached_queries": (len(node.cache), "Query results known"),
            "query_cache_bytes": (node.cache.bytes, "Memory of the query cache"),
            "read_intervals": (node.cache.intervals, "Index intervals that live queries depend on"),
            "vector_searches": (self._backend.vectors.waiting, "Vector searches under way"),
            "vector_index_bytes": (self._backend.vectors.size_bytes, "Memory of vector indexes"),
            "ready": (float(node.state == "ready"), "1 while the deployment serves"),
        }
        for name, value in node.persistence.statistics().items():
            kind, text = _LOG[name]
            (counters if kind == "counter" else gauges)[f"log_{name}"] = (value, text)
        for name, (value, text) in counters.items():
            yield CounterMetricFamily(f"cupola_{name}", text, value=value)
        for name, (gauge, text) in gauges.items():
            yield GaugeMetricFamily(f"cupola_{name}", text, value=gauge)
