"""Imports: a file is uploaded in parts, checked by a process of its own, confirmed, and stored.

Rows come in over many small transactions, between which others go on: an import is not one
transaction, and whoever looks sees it grow. Every row was checked before the first is stored. What
is replaced draws nothing along, and references are looked at when all is in: an import after which
one leads nowhere says so and failed, though its rows are there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from cupola.backend import Backend
from cupola.database.catalog import IMPORTS, Document
from cupola.database.documents import own_fields
from cupola.database.load import load_documents
from cupola.database.system_commits import Work
from cupola.deploy.events import import_completed
from cupola.deploy.import_plans import Plan, TablePlan
from cupola.deploy.import_works import works_of
from cupola.deploy.processes import News, run_worker
from cupola.deploy.system_calls import call_system
from cupola.deploy.zip_export import FILES
from cupola.errors import BadRequestError, CupolaError, OperatorError
from cupola.system.deployment import FORGET_IMPORT, PUT_IMPORT
from cupola.values import Int64, is_component_path, split_qualified

_LOG = logging.getLogger("cupola")
_WHOLE: Final = "whole"
_UPLOADS_MAX: Final = 8
_WAITING_MAX: Final = 8  # each keeps its file
_KEPT_MAX: Final = 50
_PARTS_MAX: Final = 9999
_NEWS_EVERY_S: Final = 0.5
_FORMS: Final = {"csv": "csv", "jsonLines": "jsonl", "jsonArray": "json_array", "zip": "zip"}
_MODES: Final = ("requireEmpty", "append", "replace", "replaceAll")


class ImportSettings(msgspec.Struct, frozen=True, rename="camel"):
    mode: str
    format: str
    table_name: str | None = None
    component_path: str | None = None


class FinishUpload(msgspec.Struct, frozen=True, rename="camel"):
    """The `import` of the body, and the tokens of its parts, in order."""

    upload_token: str
    part_tokens: list[str]
    settings: ImportSettings = msgspec.field(name="import")


class ImportId(msgspec.Struct, frozen=True, rename="camel"):
    import_id: str


class Imports:
    """Those of one deployment. Belongs to the thread of its backend."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._uploads: dict[str, Path] = {}
        self._plans: dict[str, tuple[Plan, Path]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._begun: set[str] = set()  # by this process
        self._is_cleared = False

    def start(self) -> None:
        """Tell of those that an earlier server left unfinished. Needs a running loop."""
        self._start(self._recover())

    async def _recover(self) -> None:
        with contextlib.suppress(CupolaError):  # then the next import tells of them
            await self._forget_older()

    # ---------------------------------------------------------------- uploading

    def start_upload(self) -> str:
        """A token for parts. Too many unfinished uploads push the oldest out."""
        if self._backend.data_path is None:
            raise BadRequestError(
                "This deployment keeps its data in memory; import into a data file.",
                code="ImportNotAvailable",
            )
        while len(self._uploads) >= _UPLOADS_MAX:
            oldest = next(iter(self._uploads))
            shutil.rmtree(self._uploads.pop(oldest), ignore_errors=True)
        token = self._backend.clock.random_bytes(16).hex()
        if not self._is_cleared:  # what a killed server left
            self._is_cleared = True
            shutil.rmtree(self._folder, ignore_errors=True)
        folder = self._folder / token
        folder.mkdir(parents=True, mode=0o700)
        self._uploads[token] = folder
        return token

    def part(self, token: str, number: str, body: bytes) -> str:
        """Keep a part; its token. Raises: BadRequestError: No such upload, or no such number."""
        folder = self._uploads.get(token)
        is_number = number.isascii() and number.isdigit() and len(number) < 9
        if folder is None or not is_number or not 1 <= int(number) <= _PARTS_MAX:
            raise BadRequestError("There is no such upload (any more).", code="UploadNotFound")
        name = f"{int(number):04}.part"
        (folder / name).write_bytes(body)
        return name

    async def finish_upload(self, body: FinishUpload) -> str:
        """Begin to check what was uploaded. Returns the id of the import, which a live query tells
        about.

        Raises:
            BadRequestError: The settings make no sense, or a part is missing.
        """
        _check_settings(body.settings)
        folder = self._uploads.pop(body.upload_token, None)
        parts = [folder / name for name in body.part_tokens] if folder is not None else []
        if folder is None or any(p.parent != folder or not p.exists() for p in parts):
            raise BadRequestError("There is no such upload (any more).", code="UploadNotFound")
        import_id, _ = await self._begin(body.settings, folder, parts)
        return import_id

    async def import_at_once(self, settings: ImportSettings, body: AsyncIterator[bytes]) -> int:
        """Upload, check, and store without asking. Returns: how many rows were written.

        Raises:
            BadRequestError: The settings make no sense, or a row is bad; then nothing is stored.
        """
        _check_settings(settings)
        token = self.start_upload()
        file = self._uploads[token] / "0001.part"
        try:
            with file.open("wb") as part:
                async for piece in body:
                    await asyncio.to_thread(part.write, piece)
        except BaseException:  # the client has gone away, or the disk is full
            shutil.rmtree(self._uploads.pop(token, file.parent), ignore_errors=True)
            raise
        folder = self._uploads.pop(token, None)
        if folder is None:  # many others have begun since
            raise BadRequestError("There is no such upload (any more).", code="UploadNotFound")
        import_id, checked = await self._begin(settings, folder, [file])
        await checked
        if import_id in self._plans:
            await (await self._perform(import_id))
        state: Any = self._document(import_id)["state"]
        if state["state"] != "completed":
            raise BadRequestError(str(state.get("error_message")), code="ImportRefused")
        return int(state["num_rows_written"])

    async def _begin(
        self, settings: ImportSettings, folder: Path, parts: list[Path]
    ) -> tuple[str, asyncio.Task[None]]:
        """Note an import, and start to check it. Returns: its id, and the checking."""
        form = _FORMS[settings.format]
        fields: Document = {
            "state": {"state": "uploaded"},
            "format": (
                {"format": form}
                if settings.table_name is None
                else {"format": form, "table": settings.table_name}
            ),
            "mode": settings.mode[:1].upper() + settings.mode[1:],
            "component_path": settings.component_path or None,
            "member_id": None,
            "checkpoints": None,
            "requestor": {"type": "snapshotImport"},
        }
        try:
            await self._forget_older()
            while len(self._plans) >= _WAITING_MAX:
                await self._drop(next(iter(self._plans)), "It was not confirmed; import again.")
            import_id = str(await self._put(None, fields))
        except BaseException:  # the queue is full, say
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._begun.add(import_id)
        check = self._check(import_id, fields, settings, folder, parts)
        return import_id, self._start(self._told(import_id, fields, folder, check))

    async def _forget_older(self) -> None:
        """All but the newest; and tell of those that a killed server left unfinished."""
        reader = self._backend.node.persistence.reader
        found = load_documents(reader, IMPORTS)
        newest = sorted(found.items(), key=lambda each: -float(each[1]["_creationTime"]))  # type: ignore[arg-type]
        for place, (import_id, document) in enumerate(newest):
            state: Any = document["state"]
            is_open = state["state"] not in ("completed", "failed")
            if place >= _KEPT_MAX and not (is_open and import_id in self._begun):
                self._begun.discard(import_id)
                await call_system(self._backend, FORGET_IMPORT, {"id": import_id})
            elif is_open and import_id not in self._begun:
                lost = "The server stopped before this import had ended; import again."
                fields = own_fields(document)
                failed: Document = {"state": "failed", "error_message": lost}
                await self._put(import_id, {**fields, "state": failed})

    # ---------------------------------------------------------------- checking and storing

    async def _check(
        self,
        import_id: str,
        fields: Document,
        settings: ImportSettings,
        folder: Path,
        parts: list[Path],
    ) -> None:
        file = folder / _WHOLE
        await asyncio.to_thread(_join, parts, file)
        answer = await self._plan(settings, file, folder)
        if isinstance(answer, str):
            shutil.rmtree(folder, ignore_errors=True)
            state: Document = {"state": "failed", "error_message": answer}
        else:
            self._plans[import_id] = (answer, folder)
            state = {
                "state": "waiting_for_confirmation",
                "message_to_confirm": _summary(answer),
                "require_manual_confirmation": any(table.delete for table in answer.tables),
            }
        await self._put(import_id, {**fields, "state": state}, is_patient=True)

    async def _plan(self, settings: ImportSettings, file: Path, folder: Path) -> Plan | str:
        """What the import would do; or why it cannot be."""
        table = [settings.table_name] if settings.table_name is not None else []
        printed = await run_worker(
            "cupola.deploy.import_worker",
            self._backend.limits,
            str(self._backend.data_path),
            str(file),
            settings.format,
            settings.mode,
            str(folder),
            settings.component_path or "",
            *table,
        )
        try:
            return msgspec.json.decode(printed or b"", type=Plan)
        except msgspec.MsgspecError:
            return _error_in(printed)

    async def perform(self, import_id: str) -> None:
        """Store what was confirmed, in the background.

        Raises:
            BadRequestError: It does not wait for that.
        """
        await self._perform(import_id)

    async def _perform(self, import_id: str) -> asyncio.Task[None]:
        with self._answered(import_id) as (plan, folder):
            document = self._document(import_id)
            fields = own_fields(document)
            state: Document = {"progress_message": "Importing", "checkpoint_messages": []}
            await self._put(import_id, {**fields, "state": {"state": "in_progress", **state}})
        store = self._store(import_id, fields, plan, folder)
        return self._start(self._told(import_id, fields, folder, store))

    async def cancel(self, import_id: str) -> None:
        """Forget an import that was not confirmed. Raises: as `perform`."""
        await self._drop(import_id, "Canceled.")

    async def _drop(self, import_id: str, why: str) -> None:
        with self._answered(import_id) as (_, folder):
            document = self._document(import_id)
            fields = own_fields(document)
            state: Document = {"state": "failed", "error_message": why}
            await self._put(import_id, {**fields, "state": state})
        shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def _answered(self, import_id: str) -> Iterator[tuple[Plan, Path]]:
        """An import that need not wait any more, once the answer is noted; else it waits on."""
        planned = self._plans.pop(import_id, None)
        if planned is None:
            raise BadRequestError("No such import waits to be confirmed.", code="ImportNotFound")
        try:
            yield planned
        except BaseException:
            self._plans[import_id] = planned
            raise

    async def _store(self, import_id: str, fields: Document, plan: Plan, folder: Path) -> None:
        async def news(text: str) -> None:
            now: Document = {"progress_message": text, "checkpoint_messages": []}
            with contextlib.suppress(CupolaError):  # a full queue, or disk, must not end it
                await self._put(import_id, {**fields, "state": {"state": "in_progress", **now}})

        with self._backend.files.keeping_all():
            error = await self._store_files(plan, folder, news)
            if error is None:
                failure = await self._store_documents(plan, folder, news)
                error = None if failure is None else str(failure)
            if error is not None:
                self._backend.files.sweep_later()
        shutil.rmtree(folder, ignore_errors=True)
        if error is not None:
            state: Document = {"state": "failed", "error_message": error}
        else:
            rows = sum(table.creates for table in plan.tables)
            now = Int64(self._backend.clock.now_ns())
            state = {"state": "completed", "timestamp": now, "num_rows_written": Int64(rows)}
        completed = import_completed(plan, fields) if error is None else None
        await self._put(import_id, {**fields, "state": state}, completed, is_patient=True)

    async def _store_files(self, plan: Plan, folder: Path, news: News) -> str | None:
        """Put the bytes of files where their documents will find them. Returns: why not."""
        address = self._backend.files.store.address
        for files in plan.tables:
            if not _is_of_files(files) or not files.creates:
                continue
            if not address:
                return "This deployment keeps its files in memory; import without them."
            printed = await run_worker(
                "cupola.deploy.import_files",
                self._backend.limits,
                str(folder / _WHOLE),
                str(folder / str(files.file)),
                address,
                news=news,
            )
            if printed != b"null":
                return _error_in(printed)
        return None

    async def _store_documents(self, plan: Plan, folder: Path, news: News) -> BaseException | None:
        """Returns: why the rest did not come in."""
        ended: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        counts: dict[str, int] = {}

        def told(name: str, rows: int) -> None:
            counts[name] = counts.get(name, 0) + rows

        works = _readable(works_of(plan, folder, told))
        self._backend.pushes.commit_in_slices("_system:import", works, ended.set_result)
        while not (await asyncio.wait([ended], timeout=_NEWS_EVERY_S))[0]:
            if counts:
                name, rows = list(counts.items())[-1]
                total = next(table.creates for table in plan.tables if table.name == name)
                await news(f"Importing {name}: {rows:,} of {total:,}")
        return ended.result()

    # ---------------------------------------------------------------- inside

    async def _told(
        self, import_id: str, fields: Document, folder: Path, work: Coroutine[Any, Any, None]
    ) -> None:
        """Do what is to be done, and tell whatever ends it: who waits must not wait for ever."""
        try:
            await work
        except Exception as error:  # no room, say
            _LOG.exception("An import failed.")
            self._plans.pop(import_id, None)
            shutil.rmtree(folder, ignore_errors=True)
            self._begun.discard(import_id)  # if it cannot be told now, the next import does
            text = f"The server could not go on: {error}. See its log."
            failed: Document = {"state": "failed", "error_message": text}
            await self._put(import_id, {**fields, "state": failed}, is_patient=True)

    async def close(self) -> None:
        """End what is under way; what is stored so far stays."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for folder in [*self._uploads.values(), *(folder for _, folder in self._plans.values())]:
            shutil.rmtree(folder, ignore_errors=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _document(self, import_id: str) -> Document:
        return load_documents(self._backend.node.persistence.reader, IMPORTS)[import_id]

    @property
    def _folder(self) -> Path:
        return Path(str(self._backend.data_path)).parent / "imports"

    async def _put(
        self,
        import_id: str | None,
        fields: Document,
        completed: Document | None = None,
        *,
        is_patient: bool = False,
    ) -> Any:
        """Note how far an import is. `completed`: with the event of its end."""
        args = {"id": import_id, "fields": fields, "completed": completed}
        return await call_system(self._backend, PUT_IMPORT, args, is_patient=is_patient)


def _check_settings(settings: ImportSettings) -> None:
    if not is_component_path(settings.component_path or ""):
        raise BadRequestError("That is no path of a component.", code="ComponentNotFound")
    if settings.format not in _FORMS or settings.mode not in _MODES:
        raise BadRequestError("There is no such format or mode.", code="BadJsonBody")
    name = settings.table_name
    if (settings.format == "zip") is not (name is None):
        raise BadRequestError(
            "A ZIP names its tables itself: leave the table out."
            if name is not None
            else "Say which table the rows are of (`--table NAME`); only a ZIP names its tables.",
            code="InvalidName",
        )
    if name is not None and name.startswith("_"):
        raise BadRequestError(
            f"`{name}` is the system's: rows can be imported into the app's tables only. "
            "Stored files come with the ZIP of an export.",
            code="InvalidTableName",
        )


def _readable(works: Iterable[Work]) -> Iterator[Work]:
    """The same, whose failure to read what was uploaded ends the import, and nothing else."""
    try:
        yield from works
    except OSError as error:
        text = f"What was uploaded cannot be read any more: {error}. Import again."
        raise OperatorError(text, code="ImportRefused") from error


def _join(parts: list[Path], file: Path) -> None:
    with file.open("wb") as whole:
        for part in parts:
            with part.open("rb") as piece:
                shutil.copyfileobj(piece, whole)
            part.unlink()


def _error_in(printed: bytes | None) -> str:
    """What a worker says went wrong."""
    found = msgspec.json.decode(printed) if printed is not None and printed[:1] == b"{" else {}
    return str(found.get("error", "The file could not be read; see the server's log."))


def _is_of_files(table: TablePlan) -> bool:
    return split_qualified(table.name)[1] == FILES


def _row_of(table: TablePlan) -> str:
    unit = "files" if _is_of_files(table) else "documents"
    return f"{split_qualified(table.name)[1]} | {table.creates} | {table.delete} {unit}"


def _summary(plan: Plan) -> str:
    lines = ["Import change summary:", "table | create | delete", "----- | ------ | ------"]
    for component in sorted({split_qualified(table.name)[0] for table in plan.tables}):
        if component:
            lines.append(f"Component {component}")
        lines += [_row_of(t) for t in plan.tables if split_qualified(t.name)[0] == component]
    return "\n".join([*lines, "Once the import has started, it will run in the background."])
