"""Writes one snapshot of a database file as a ZIP, in a process of its own.

    python -m cupola.deploy.export_worker LIMITS DATABASE ZIP [FILES]

FILES is the address of the file store, if the bytes of stored files come along. It prints how far
it is, and last the snapshot's timestamp, when the file is whole.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from cupola.deploy.processes import Progress, worker_arguments
from cupola.deploy.zip_export import write_zip
from cupola.files.opening import open_store
from cupola.persistence.sqlite.reader import SqliteSnapshots


def main() -> None:
    data_path, zip_path, *files = worker_arguments()
    store = open_store(files[0]) if files else None
    snapshots = SqliteSnapshots(data_path)
    snapshot = snapshots.open()
    progress = Progress()

    def told(table: str, done: int) -> None:
        progress.tell(lambda: f"Exporting {table}: {done:,}")

    try:
        ts = snapshot.newest_ts()
        asyncio.run(write_zip(snapshot, ts, Path(zip_path), store, told))
    finally:
        snapshot.close()
        snapshots.close()
    print(ts, flush=True)


if __name__ == "__main__":
    main()
