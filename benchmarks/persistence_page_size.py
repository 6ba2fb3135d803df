"""What page size should a Cupola file have? Log bytes and microseconds, reads, file size.

    python benchmarks/persistence_page_size.py [--documents 300000] [--sizes 2048,4096] [--body 240]

Each file is filled with documents that have a primary key, a creation time and one more index with
random prefixes. Then inserts (one version, three entries, one commit row; the requests of 1000
sessions, indexed late) and patches of random documents are measured in groups of 1, 10 and 50,
synced beside the loop as in the server, and scans and point reads at the head. CPU is that of the
whole process, so syncs and checkpoints are in it. The rounds of all sizes take turns; the median is
printed.
"""

import argparse
import random
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from cupola.persistence import Commit, CommitRecord, DocumentWrite, IndexChange, Timestamp
from cupola.persistence.sqlite import SqlitePersistence, schema

CHANNELS = 1000


class Load:
    """One file and the documents in it."""

    def __init__(self, path: Path, page_size_bytes: int, body_bytes: int) -> None:
        self.tail = b'","text":"' + b"x" * (body_bytes - 82) + b'"}'
        schema.PAGE_SIZE_BYTES = page_size_bytes
        self.persistence = SqlitePersistence(str(path))
        self.persistence.start(lambda: None)
        self.random = random.Random(page_size_bytes)
        self.sessions = [self.random.randbytes(16) for _ in range(1000)]
        self.ts = 1_700_000_000_000_000_000
        self.documents: list[tuple[str, tuple[bytes, bytes, bytes], int]] = []

    def insert(self) -> None:
        self.ts += 20_000
        document_id = self.random.randbytes(16).hex()
        key = document_id.encode()
        created = b"\x08" + self.ts.to_bytes(8, "big") + key
        keys = (key, created, b"channel%05d\0" % self.random.randrange(CHANNELS) + created)
        changes = [IndexChange(1 + number, None, key) for number, key in enumerate(keys)]
        self.documents.append((document_id, keys, self._apply(document_id, None, changes)))

    def patch(self) -> None:
        self.ts += 20_000
        position = self.random.randrange(len(self.documents))
        document_id, keys, version = self.documents[position]
        changes = [IndexChange(1 + number, key, key) for number, key in enumerate(keys)]
        self.documents[position] = document_id, keys, self._apply(document_id, version, changes)

    def _apply(self, document_id: str, version: int | None, changes: list[IndexChange]) -> int:
        body = b'{"_creationTime":1700000000000.0,"_id":"' + document_id.encode() + self.tail
        write = DocumentWrite(10_001, document_id, version, body, changes)
        record = CommitRecord(
            "messages:send", self.random.choice(self.sessions), self.ts // 20_000, b'"result"'
        )
        return self.persistence.apply(Commit(Timestamp(self.ts), [write], record))[0]

    def run(self, mutation: str, groups: int, per_group: int) -> None:
        run_one = getattr(self, mutation)
        for _ in range(groups):
            while self.persistence.holding_commits():
                time.sleep(0.0005)
            self.persistence.begin()
            for _ in range(per_group):
                run_one()
            self.persistence.append()
            self.persistence.sync()
            if self.persistence.statistics()["requests_not_indexed"] >= 10_000:
                while self.persistence.maintain():
                    pass
        self.persistence.wait_durable()

    def measure(self, figures: dict[str, list[float]], mutations: int) -> None:
        for mutation in ("insert", "patch"):
            for per_group in (1, 10, 50):
                count = mutations if per_group > 1 else mutations // 4
                written = self.persistence.statistics()["wal_written_bytes"]
                wall, cpu = time.perf_counter(), time.process_time()
                self.run(mutation, count // per_group, per_group)
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                written = self.persistence.statistics()["wal_written_bytes"] - written
                name = f"{mutation}, groups of {per_group}"
                figures[f"{name}: wall µs"].append(wall / count * 1e6)
                figures[f"{name}: CPU µs"].append(cpu / count * 1e6)
                figures[f"{name}: log KiB"].append(written / count / 1024)
        self._measure_reads(figures)
        statistics = self.persistence.statistics()
        figures["file: bytes per version"].append(statistics["file_bytes"] / self.ts_count())

    def ts_count(self) -> int:
        return (self.ts - 1_700_000_000_000_000_000) // 20_000

    def _measure_reads(self, figures: dict[str, list[float]]) -> None:
        reader = self.persistence.reader
        for limit in (10, 100):
            prefixes = [b"channel%05d\0" % self.random.randrange(CHANNELS) for _ in range(1000)]
            cpu = time.process_time()
            for prefix in prefixes:
                reader.scan(3, prefix, prefix + b"\xff", descending=True, limit=limit)
            figures[f"scan of {limit}: CPU µs"].append((time.process_time() - cpu) * 1e3)
        keys = [self.random.choice(self.documents)[1][0] for _ in range(5000)]
        cpu = time.process_time()
        for key in keys:
            reader.get(1, key)
        figures["get: CPU µs"].append((time.process_time() - cpu) / len(keys) * 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--documents", type=int, default=300_000)
    parser.add_argument("--sizes", default="2048,4096")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--body", type=int, default=240, help="bytes per document")
    parser.add_argument("--mutations", type=int, default=10_000)
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.sizes.split(",")]
    folder = Path(tempfile.mkdtemp(prefix="cupola-page-size-", dir="."))
    try:
        loads = {size: Load(folder / f"{size}.sqlite", size, arguments.body) for size in sizes}
        for load in loads.values():
            load.run("insert", arguments.documents // 500, 500)
        figures: dict[int, dict[str, list[float]]] = {size: defaultdict(list) for size in sizes}
        for _ in range(arguments.rounds):
            for size, load in loads.items():
                load.measure(figures[size], arguments.mutations)
        print(
            f"{arguments.documents} of {arguments.body} B".ljust(36),
            *(f"{size:>9}" for size in sizes),
        )
        for name in figures[sizes[0]]:
            medians = (statistics.median(figures[size][name]) for size in sizes)
            print(name.ljust(36), *(f"{median:9.1f}" for median in medians))
        for load in loads.values():
            load.persistence.close()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
