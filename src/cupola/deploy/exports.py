"""Snapshot exports: one at a time, each written by a process of its own and then kept as a file.

How far an export is stands in a private table, so whoever waits for it asks with a live query.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Any, Final

from cupola.backend import Backend
from cupola.database.catalog import EXPORTS, Document
from cupola.database.documents import own_fields
from cupola.database.load import load_documents
from cupola.deploy.processes import News, run_worker
from cupola.deploy.system_calls import call_system
from cupola.deploy.zip_export import unfinished
from cupola.errors import BadRequestError, ClientError, CupolaError
from cupola.system.deployment import FORGET_EXPORT, PUT_EXPORT
from cupola.values import Int64

_LOG = logging.getLogger("cupola")
_WORKER: Final = "cupola.deploy.export_worker"
_KEPT_MAX: Final = 5
_KEPT_NS: Final = 14 * 24 * 3600 * 10**9


class ExportNotFoundError(ClientError):
    code = "ExportNotFound"
    http_status = 404


class Exports:
    """Those of one deployment. Belongs to the thread of its backend."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._task: asyncio.Task[None] | None = None
        self._is_beginning = False
        self._recovering: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Tell of those that an earlier server left unfinished. Needs a running loop."""
        self._recovering = asyncio.create_task(self._recover(self._newest_first()))

    async def _recover(self, found: list[tuple[str, Document]]) -> None:
        for export_id, document in found:
            if document["state"] in ("requested", "in_progress"):
                now = Int64(self._backend.clock.now_ns())
                fields = own_fields(document)
                failed: Document = {"state": "failed", "failed_ts": now}
                with contextlib.suppress(CupolaError):  # then the next export forgets it
                    await self._put(export_id, {"start_ts": now, **fields, **failed})

    async def request(self, *, include_storage: bool) -> None:
        """Begin an export. Returns when it is noted, so that a live query shows it.

        Raises:
            BadRequestError: One is under way, or the data is in no file, or files are in memory.
        """
        if self._backend.data_path is None:
            raise BadRequestError(
                "This deployment keeps its data in memory; only a data file can be exported.",
                code="ExportNotAvailable",
            )
        if include_storage and not self._backend.files.store.address:
            raise BadRequestError(
                "This deployment keeps its files in memory; export without them.",
                code="ExportNotAvailable",
            )
        if self._is_beginning or (self._task is not None and not self._task.done()):
            raise BadRequestError(
                "An export is under way already; wait for it.", code="ExportInProgress"
            )
        self._is_beginning = True
        try:
            await self._begin(include_storage=include_storage)
        finally:
            self._is_beginning = False

    async def _begin(self, *, include_storage: bool) -> None:
        await self._forget_older()
        fields: Document = {
            "state": "requested",
            "format": {"format": "zip", "include_storage": include_storage},
            "component": None,
            "requestor": "snapshotExport",
        }
        export_id = str(await self._put(None, fields))
        self._task = asyncio.create_task(self._run(export_id, fields))

    async def close(self) -> None:
        """End the export that is under way, if one is."""
        tasks = [task for task in (self._task, self._recovering) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, export_id: str, fields: Document) -> None:
        clock = self._backend.clock
        started = Int64(clock.now_ns())
        under_way: Document = {**fields, "state": "in_progress", "start_ts": started}
        await self._put(export_id, under_way, is_patient=True)

        async def news(text: str) -> None:
            with contextlib.suppress(CupolaError):  # a full queue, or disk, must not end it
                await self._put(export_id, {**under_way, "progress_message": text})

        path = self._file(export_id)
        format_: Any = fields["format"]
        try:
            ts = await self._write(path, news, include_storage=format_["include_storage"])
        except Exception:  # whoever waits for it must not wait for ever
            _LOG.exception("An export failed.")
            ts = None
        now = clock.now_ns()
        if ts is None:
            failed: Document = {"state": "failed", "start_ts": started, "failed_ts": Int64(now)}
            await self._put(export_id, {**fields, **failed}, is_patient=True)
            return
        done: Document = {
            "state": "completed",
            "start_ts": Int64(ts),
            "complete_ts": Int64(now),
            "expiration_ts": Int64(now + _KEPT_NS),
            "zip_object_key": path.name,
            "size": Int64(path.stat().st_size),
        }
        await self._put(export_id, {**fields, **done}, is_patient=True)

    async def _write(self, path: Path, news: News, *, include_storage: bool) -> int | None:
        """The snapshot's timestamp; None if the process failed, whose words are in the log."""
        path.parent.mkdir(exist_ok=True, mode=0o700)
        files = self._backend.files
        more = [files.store.address] if include_storage else []
        try:
            with files.keeping_all():  # what the snapshot knows of is there until it is written
                arguments = (str(self._data), str(path), *more)
                printed = await run_worker(_WORKER, self._backend.limits, *arguments, news=news)
        finally:
            unfinished(path).unlink(missing_ok=True)
        return None if printed is None else int(printed)

    @property
    def _data(self) -> Path:
        return Path(str(self._backend.data_path))

    async def _forget_older(self) -> None:
        """What is too old or too much; and what a killed server left unfinished."""
        now = self._backend.clock.now_ns()
        kept: set[Path] = set()
        for place, (export_id, document) in enumerate(self._newest_first()):
            expires = document.get("expiration_ts")
            is_old = isinstance(expires, Int64) and expires < now
            if is_old or place >= _KEPT_MAX - 1 or document["state"] != "completed":
                await call_system(self._backend, FORGET_EXPORT, {"id": export_id})
            else:
                kept.add(self._file(export_id))
        for path in self._file("any").parent.glob("*.*"):
            if path not in kept:
                path.unlink(missing_ok=True)

    def find(self, name: str) -> tuple[Path, int]:
        """The file of a finished export, by its id or timestamp, and that timestamp.

        Raises:
            ExportNotFoundError: There is none.
            BadRequestError: It is not finished.
        """
        for export_id, document in self._newest_first():
            ts = document.get("start_ts")
            if name in (export_id, str(ts)) and isinstance(ts, Int64):
                if document["state"] != "completed":
                    raise BadRequestError(
                        f"The export is not finished: {document['state']!s}.",
                        code="ExportNotComplete",
                    )
                path = self._file(export_id)
                if path.exists():
                    return path, int(ts)
        raise ExportNotFoundError(f"There is no export {name[:80]!r} (any more).")

    def _newest_first(self) -> list[tuple[str, Document]]:
        found = load_documents(self._backend.node.persistence.reader, EXPORTS)
        return sorted(found.items(), key=lambda each: -float(each[1]["_creationTime"]))  # type: ignore[arg-type]

    def _file(self, export_id: str) -> Path:
        return self._data.parent / "exports" / f"{export_id}.zip"

    async def _put(
        self, export_id: str | None, fields: Document, *, is_patient: bool = False
    ) -> Any:
        args = {"id": export_id, "fields": fields}
        return await call_system(self._backend, PUT_EXPORT, args, is_patient=is_patient)
