"""Counts, sums and places over many rows, and what a write costs more with them.

    python -m benchmarks.aggregates [--rows 1000000] [--tables Plain,Counted,Summed]

Writes a table of orders through the committer into an SQLite file, once with a plain index and with
aggregated ones, then asks for random prefixes and places. Times of questions are those of the
engine in process, without a network; a write's are the processor's, checkpoints apart.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cupola import Aggregate, Table
from cupola.clock import SystemClock
from cupola.database import figures
from cupola.database.committer import Committer
from cupola.database.load import load_catalog
from cupola.database.ranges import KeyRange, Range, key_range
from cupola.database.schema_push import SchemaPush
from cupola.database.transaction import Transaction
from cupola.database.writes import IdSource
from cupola.limits import Limits
from cupola.persistence import CommitRecord
from cupola.persistence.sqlite import SqlitePersistence
from cupola.schema import schema_of

SHOPS = 10
DAYS = 365
ROWS_PER_COMMIT = 500
SINGLES = 5000  # mutations of one insert each, at the full size
SAMPLES = 2000
CHECKPOINT_EVERY = 50  # commits


class Plain(Table, name="orders", indexes={"by_shop": ["shop", "day"]}):
    shop: float
    day: float
    amount: float


class Counted(Table, name="orders", indexes={"by_shop": Aggregate("shop", "day")}):
    shop: float
    day: float
    amount: float


class Summed(Table, name="orders", indexes={"by_shop": Aggregate("shop", "day", of="amount")}):
    shop: float
    day: float
    amount: float


class Shop:
    """A committer over one file."""

    def __init__(self, path: Path, table: type[Table]) -> None:
        self.log = SqlitePersistence(str(path))
        self.clock = SystemClock()
        self.committer = Committer(self.log, load_catalog(self.log.reader), self.clock)
        self.random = random.Random(4711)
        self.seeds = itertools.count()
        self.declare(table)

    def declare(self, table: type[Table]) -> None:
        push = SchemaPush(schema_of([table]), self.committer, self.log, self.clock, lambda _: None)
        for _ in push.steps():
            pass

    def begin(self) -> Transaction:
        return Transaction(
            self.log.reader,
            self.committer.catalog,
            self.committer.head_ts,
            ids=IdSource(next(self.seeds).to_bytes(16, "big"), self.clock.now_ns()),
            creation_time=self.committer.next_creation_time(),
            limits=Limits(),
        )

    def insert(self, commits: int, rows: int, *, per_group: int = 1) -> float:
        """CPU microseconds per row; groups of `per_group` commits, of `rows` rows each."""
        spent = 0.0
        for first in range(0, commits, per_group):
            started = time.process_time()
            self.committer.begin_group()
            for _ in range(min(per_group, commits - first)):
                self._apply(rows)
            self.committer.append_group()
            spent += time.process_time() - started
            if first % CHECKPOINT_EVERY == 0:
                self.log.checkpointer.run_round()
        return spent / (commits * rows) * 1e6

    def _apply(self, rows: int) -> None:
        transaction = Transaction(
            self.log.reader,
            self.committer.group_catalog,
            self.committer.group_ts,
            ids=IdSource(next(self.seeds).to_bytes(16, "big"), self.clock.now_ns()),
            creation_time=self.committer.next_creation_time(),
        )
        for _ in range(rows):
            transaction.insert(
                "orders",
                {
                    "shop": float(self.random.randrange(SHOPS)),
                    "day": float(self.random.randrange(DAYS)),
                    "amount": self.random.randrange(1, 100_000) / 100,
                },
            )
        self.committer.apply(
            transaction.writes(),
            CommitRecord(function="benchmark"),
            creation_time=transaction.creation_time,
        )

    def ask(self, name: str, question: Callable[[Transaction], object]) -> None:
        times = []
        for _ in range(SAMPLES):
            transaction = self.begin()
            started = time.perf_counter()
            question(transaction)
            times.append((time.perf_counter() - started) * 1e3)
        times.sort()
        p50, p99 = statistics.median(times), times[len(times) * 99 // 100]
        print(f"{name:44} p50 {p50:7.3f} ms   p99 {p99:7.3f} ms")

    def ask_all(self) -> None:
        index = self.committer.catalog.by_name["orders"].index("by_shop")
        draw = self.random.randrange
        fields = len(index.aggregate or ())

        def prefix() -> KeyRange:
            return key_range("orders", index, {"shop": float(draw(SHOPS))})

        def days() -> KeyRange:
            first = draw(DAYS)
            between = Range(gte=float(first), lt=float(draw(first, DAYS + 1)))
            return key_range("orders", index, {"shop": float(draw(SHOPS)), "day": between})

        whole = key_range("orders", index, {})
        rows = figures.count(self.begin(), index, whole)
        self.ask(f"count of one shop in {SHOPS}", lambda t: figures.count(t, index, prefix()))
        what = "count, sum, min and max" if fields else "count"
        self.ask(f"{what} of one shop", lambda t: figures.summarize(t, index, prefix()))
        self.ask(f"{what} of a range of days", lambda t: figures.summarize(t, index, days()))
        self.ask(
            "the document at a random place",
            lambda t: figures.nth(t, index, whole, draw(rows), descending=False),
        )
        document = figures.nth(self.begin(), index, whole, rows // 3, descending=False)
        assert document is not None
        self.ask(
            "the place of a document",
            lambda t: figures.rank(t, index, whole, document, descending=False),
        )


def measure(folder: Path, table: type[Table], rows: int) -> None:
    path = folder / f"{table.__name__}.sqlite"
    shop = Shop(path, table)
    filled = shop.insert(rows // ROWS_PER_COMMIT, ROWS_PER_COMMIT)
    single = shop.insert(SINGLES, 1, per_group=50)
    print(f"\n{table.__name__}: {rows:,} rows, file {path.stat().st_size / 2**20:.0f} MiB")
    print(f"insert, {ROWS_PER_COMMIT} rows in a mutation: {filled:6.1f} us per row")
    print(f"insert, one row in a mutation:   {single:6.1f} us per row")
    if table is not Plain:
        shop.ask_all()
    shop.log.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--tables", default="Plain,Counted,Summed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for table in (Plain, Counted, Summed):
            if table.__name__ in options.tables.split(","):
                measure(Path(folder), table, options.rows)


if __name__ == "__main__":
    main()
