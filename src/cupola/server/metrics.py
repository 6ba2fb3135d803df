"""What the server counts: plain integers while it runs, Prometheus families when somebody asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import Metric


class ServerMetrics:
    """A Prometheus collector, counted in place: additions without a lock, on the one thread."""

    def __init__(self) -> None:
        self.requests: dict[int, int] = {}
        self.connections = 0
        self.connections_total = 0
        self.bytes_received = 0
        self.bytes_sent = 0
        self.messages_sent = 0
        self.messages_received = 0
        self.closed: dict[str, int] = {}

    def count_request(self, status: int) -> None:
        self.requests[status] = self.requests.get(status, 0) + 1

    def count_close(self, reason: str) -> None:
        """`reason` is one of a few words of ours, never what a peer sent."""
        self.closed[reason] = self.closed.get(reason, 0) + 1

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        requests = CounterMetricFamily(
            "cupola_http_requests", "HTTP requests answered.", labels=["status"]
        )
        for status, count in self.requests.items():
            requests.add_metric([str(status)], count)
        yield requests
        yield GaugeMetricFamily(
            "cupola_websocket_connections", "Sync connections open now.", self.connections
        )
        closed = CounterMetricFamily(
            "cupola_websocket_closed", "Sync connections ended by the server.", labels=["reason"]
        )
        for reason, count in self.closed.items():
            closed.add_metric([reason], count)
        yield closed
        for name, help_text, count in (
            ("connections_opened", "Sync connections accepted.", self.connections_total),
            ("received_bytes", "Bytes read from sync connections.", self.bytes_received),
            ("sent_bytes", "Bytes written to sync connections.", self.bytes_sent),
            ("received_messages", "Sync messages received.", self.messages_received),
            ("sent_messages", "Sync messages sent.", self.messages_sent),
        ):
            yield CounterMetricFamily(f"cupola_websocket_{name}", help_text, count)
