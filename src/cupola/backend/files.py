"""Stored files: bytes in a file store, documents in the database, and the order between the two.

    upload      bytes durable under a new id  ->  document commits  ->  the id is told
    deletion    document's deletion durable   ->  bytes go

A crash in between leaves bytes without a document. They are found after the next start, by going
through all names in the background; what is on its way in meanwhile is not touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from cupola.auth import Identity
from cupola.backend.actions import error_of
from cupola.backend.calls import CallRequest, CallResult, Done
from cupola.database.catalog import STORAGE, primary_index_id
from cupola.database.committer import Published
from cupola.errors import BadRequestError, CupolaError, FileStoreError, OverloadedError
from cupola.files import FileStore, receive
from cupola.functions.execution import encode_arguments
from cupola.system.registry import PREFIX
from cupola.values import decode, decode_id, encode_id, encode_key, new_internal_id, qualified

if TYPE_CHECKING:
    from cupola.backend.backend import Backend

_LOG = logging.getLogger("cupola")
_ENGINE = Identity("admin")
_INDEX = primary_index_id(STORAGE)
_HELD_MAX = 10_000
OPERATIONS: Mapping[str, str] = {
    "getUrl": "query",
    "getMetadata": "query",
    "find": "query",
    "generateUploadUrl": "mutation",
    "delete": "mutation",
    "add": "mutation",
}


class ServedFile(NamedTuple):
    """What is known of a file that somebody asks for; `sha256` in hexadecimal."""

    id: str
    sha256: str
    size: int
    content_type: str | None


class Files:
    """The files of one deployment, for HTTP and for actions. Used on the loop's thread."""

    def __init__(self, backend: Backend, store: FileStore) -> None:
        self._backend = backend
        self.store = store
        self._arriving: set[str] = set()
        self._adding: set[str] = set()  # their documents are about to commit, or to fail
        self._tasks: set[asyncio.Task[Any]] = set()
        self._removed: list[str] = []
        self._holds = 0
        self._must_sweep = False  # more were to be removed meanwhile than are remembered
        backend.node.followers.append(self._published)

    # ---------------------------------------------------------------- in

    async def upload(
        self,
        parts: AsyncIterator[bytes],
        content_type: str | None,
        sha256: bytes | None = None,
        component: str = "",
    ) -> str:
        """Store a stream as a file, of the app or of a component. Returns its id; the file is
        durable.

        Raises:
            FileTooLargeError, BadRequestError, FileStoreError: See `files.receive`; nothing stays.
            OverloadedError: Too many are on their way.
            CupolaError: The document could not be committed; nothing stays.
        """
        name = self.begin()
        try:
            limits = self._backend.limits
            received = await receive(
                self.store,
                name,
                parts,
                size_bytes_max=limits.file_size_bytes_max,
                sha256=sha256,
            )
            await self.ask("add", received.fields(content_type), component)
        finally:
            self.end(name)
        return name

    def begin(self) -> str:
        """An id for bytes that are about to arrive; `end` says that they are a file, or nothing.

        Raises:
            OverloadedError: Too many are on their way.
        """
        if len(self._arriving) >= self._backend.limits.concurrent_uploads_max:
            raise OverloadedError(
                f"{len(self._arriving)} files are being stored already; try again soon.",
                code="TooManyConcurrentUploads",
            )
        clock = self._backend.clock
        name = encode_id(STORAGE, new_internal_id(clock.random_bytes(14), clock.now_ns()))
        self._arriving.add(name)
        return name

    def end(self, name: str) -> None:
        """Nothing more arrives under this id. If it became no file, what is there goes: at once, or
        when it is known what became of its document.
        """
        self._arriving.discard(name)
        if name not in self._adding:
            self.drop(name)

    # ---------------------------------------------------------------- out

    async def find(self, url_name: str) -> ServedFile | None:
        """The file behind the last part of a URL; None if there is none."""
        document_id = self._backend.node.links.document_id(url_name)
        if document_id is None:
            return None
        found = await self.ask("find", {"storageId": document_id})
        if found is None:
            return None
        size = int(found["size"])
        return ServedFile(document_id, found["sha256"], size, found.get("contentType"))

    # ---------------------------------------------------------------- documents

    async def ask(self, operation: str, args: dict[str, Any], component: str = "") -> Any:
        """Run one of the OPERATIONS as a transaction, on the files of the app or of a component.
        Raises: what it failed with.
        """
        future: asyncio.Future[CallResult] = asyncio.get_running_loop().create_future()

        def done(result: CallResult) -> None:
            if not future.done():
                future.set_result(result)

        self.submit(operation, encode_arguments(args), done, component)
        result = await future
        if result.value is None:
            raise error_of(result)
        return decode(result.value)

    def submit(self, operation: str, args: bytes, done: Done, component: str = "") -> None:
        """The same by callback, with the engine's own rights.

        Raises:
            BadRequestError: There is no such operation, or no such bytes to make a file of.
        """
        kind: Any = OPERATIONS.get(operation)
        if kind is None:
            raise BadRequestError(f"Files have no operation {operation!r}.", code="BadArguments")
        if operation == "add":
            done = self._adding_done(args, done)
        path = qualified(component, f"{PREFIX}storage:{operation}")
        self._backend.submit(CallRequest(kind, path, args, _ENGINE, visibility="any"), done)

    def _adding_done(self, args: bytes, done: Done) -> Done:
        """Whoever adds a file may end before its document has committed, or has not."""
        given: Any = decode(args)
        name = str(given["storageId"])
        if name not in self._arriving:
            raise BadRequestError(f"Nothing was stored as {name}.", code="BadArguments")
        self._adding.add(name)

        def finished(result: CallResult) -> None:
            self._adding.discard(name)
            self.drop(name)
            done(result)

        return finished

    # ---------------------------------------------------------------- what goes

    def _published(self, published: list[Published]) -> None:
        """Commits: bytes of deleted documents go once the deletion is durable."""
        for commit in published:
            for key in commit.written:
                if key.index == _INDEX:
                    name = _name_in(b"".join(key.parts))
                    if not self._is_known(name):
                        self._backend.node.outbox.put(commit.ts, partial(self.drop, name))

    def drop(self, name: str) -> None:
        """Remove bytes that nobody needs: no document names them, and nobody is storing them."""
        if not self._is_needed(name):
            self._remove(name)

    def _is_needed(self, name: str) -> bool:
        return name in self._arriving or name in self._adding or self._is_known(name)

    def _is_known(self, name: str) -> bool:
        reader = self._backend.node.persistence.reader
        return reader.get(_INDEX, encode_key(name)) is not None

    def _remove(self, name: str) -> None:
        """In a task of the running loop; where none runs (tests), when `settle` is awaited."""
        if self._holds and len(self._removed) >= _HELD_MAX:
            self._must_sweep = True
            return
        self._removed.append(name)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._keep(loop.create_task(self.settle()))

    async def settle(self) -> None:
        """Remove what waits to be removed."""
        while self._removed and not self._holds:
            name = self._removed.pop()
            if self._is_needed(name):  # an import has brought it back
                continue
            try:
                await self.store.delete(name)
            except FileStoreError as error:
                _LOG.warning("%s It is tried again after the next start.", error.message)

    @contextlib.contextmanager
    def keeping_all(self) -> Iterator[None]:
        """No bytes go meanwhile: an export reads what may be deleted while it does, and an import
        stores what no document names yet.
        """
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            if not self._holds:
                work: Coroutine[Any, Any, object]
                work = self.sweep() if self._must_sweep else self.settle()
                self._must_sweep = False
                self._keep(asyncio.get_running_loop().create_task(work))

    def sweep_later(self) -> None:
        """Bytes without documents may have been left."""
        self._must_sweep = True

    # ---------------------------------------------------------------- start and end

    async def start(self) -> None:
        """Before anything arrives: forget cut-off uploads, and begin to look for lost bytes.

        Raises:
            FileStoreError: The place of files cannot be used.
        """
        await self.store.clear_uploads()
        self._keep(asyncio.get_running_loop().create_task(self.sweep()))

    async def sweep(self) -> int:
        """Remove files that no document names. Returns how many there were.

        If no document names any file at all, nothing is removed: then this is more likely the
        folder of another database than what a crash has left.
        """
        removed = 0
        try:
            async for names in self.store.names():
                lost = [name for name in names if self._is_lost(name)]
                if lost and not self._has_files():
                    _LOG.warning(
                        "Stored files were found, but the database knows of none; they are left "
                        "alone. Is this their database?"
                    )
                    return 0
                for name in lost:
                    if self._holds:
                        self._remove(name)
                        continue
                    if self._is_needed(name):  # an import has brought it back
                        continue
                    await self.store.delete(name)
                    removed += 1
        except CupolaError as error:
            _LOG.warning("Looking for lost files failed: %s", error.message)
        await self.settle()
        if removed:
            _LOG.info("%s files that a crash had left were removed.", removed)
        return removed

    def _is_lost(self, name: str) -> bool:
        try:
            is_ours = decode_id(name)[0] == STORAGE
        except CupolaError:
            return False  # nothing of ours: whoever put it there may know why
        return is_ours and not self._is_needed(name)

    def _has_files(self) -> bool:
        reader = self._backend.node.persistence.reader
        return bool(reader.scan(_INDEX, b"", None, descending=False, limit=1))

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.settle()


def _name_in(key: bytes) -> str:
    """The id in a key of the index by id: an encoded string without escapes."""
    return key[1:-1].decode()
