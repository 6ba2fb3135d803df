"""`ctx.storage`: stored files, as far as transactions know them.

What is known of a file is a document of `_storage`, written and read in the call's transaction like
any other; so queries that show files are live. The bytes are elsewhere (`cupola.files`): they are
there before the document commits, and go after its deletion is durable.

The functions of this module are the engine's side, for both languages; the classes are Python's.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Literal, NotRequired, Protocol, TypeAlias, TypedDict

from cupola.database.catalog import STORAGE
from cupola.database.constraints import delete_with_references
from cupola.errors import DatabaseUseError, InvalidIdError
from cupola.files import FileLinks
from cupola.functions.call import Call
from cupola.schema import Id
from cupola.values import decode_id

StorageId: TypeAlias = Id[Literal["_storage"]]
"""The type of a file's id, for annotations."""


class FileMetadata(TypedDict):
    """What is known of a file. `sha256` in hexadecimal, `size` in bytes."""

    storageId: StorageId
    sha256: str
    size: int
    contentType: NotRequired[str]


# ------------------------------------------------------------------------------ the engine's side


def file_url(call: Call, storage_id: object) -> str | None:
    """Where the file is served; None if there is none (any more)."""
    known = _document(call, storage_id)
    return None if known is None else _links(call).file_url(known["_id"])


def file_metadata(call: Call, storage_id: object) -> FileMetadata | None:
    known = _document(call, storage_id)
    if known is None:
        return None
    found = FileMetadata(
        storageId=known["_id"],
        sha256=base64.b64decode(known["sha256"]).hex(),
        size=int(known["size"]),
    )
    if "contentType" in known:
        found["contentType"] = known["contentType"]
    return found


def upload_url(call: Call) -> str:
    """Where a client may POST a file, for as long as `upload_url_age_s` says."""
    expires_ns = call.now_ns + int(call.limits.upload_url_age_s * 1e9)
    return _links(call).upload_url(expires_ns, call.component)


def delete_file(call: Call, storage_id: object) -> None:
    """Delete a file with this transaction, and do what the references to it say.

    Raises:
        DatabaseUseError: There is none.
        ReferenceViolationError, LimitError: Nothing was written.
    """
    if _document(call, storage_id) is None:
        raise DatabaseUseError(
            f'File "{storage_id}" does not exist (it may have been deleted).',
            code="NonexistentFile",
        )
    transaction = call.transaction
    rules = transaction.catalog.rules(transaction.system_table(STORAGE))
    if rules is not None and rules.incoming:
        delete_with_references(transaction, str(storage_id))
        return
    transaction.usage.wrote(0)
    transaction.put_system(STORAGE, str(storage_id), None)


def add_file(
    call: Call, storage_id: str, sha256: bytes, size: int, content_type: str | None
) -> None:
    """Make bytes that are durable under `storage_id` a file."""
    fields: dict[str, Any] = {
        "sha256": base64.b64encode(sha256).decode(),
        "size": float(size),
    }
    if call.component:
        fields["component"] = call.component
    if content_type is not None:
        fields["contentType"] = content_type
    _require_storage_id(storage_id)
    call.transaction.add_system(STORAGE, storage_id, fields)


def _document(call: Call, storage_id: object) -> dict[str, Any] | None:
    document_id = _require_storage_id(storage_id)
    found = call.transaction.get(document_id)
    return None if found is None else dict(found.value)


def _require_storage_id(storage_id: object) -> str:
    if not isinstance(storage_id, str):
        raise InvalidIdError(f"A file's id is a text, not {type(storage_id).__name__}.")
    if decode_id(storage_id)[0] != STORAGE:
        raise InvalidIdError(f'"{storage_id}" is the id of a document, but of no file.')
    return storage_id


def _links(call: Call) -> FileLinks:
    assert call.links is not None, "whoever runs calls gives them the deployment's links"
    return call.links


# --------------------------------------------------------------------------------- Python's side


class StorageReader:
    """Files, in a query."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def get_url(self, storage_id: StorageId) -> str | None:
        """A URL that serves the file to whoever knows it; None if there is no such file.

        Raises:
            InvalidIdError: The text is no file's id.
        """
        self._call.interruption.pause()
        try:
            return file_url(self._call, storage_id)
        finally:
            self._call.interruption.resume()

    def get_metadata(self, storage_id: StorageId) -> FileMetadata | None:
        """Digest, size and content type; None if there is no such file. Raises: as `get_url`."""
        self._call.interruption.pause()
        try:
            return file_metadata(self._call, storage_id)
        finally:
            self._call.interruption.resume()


class StorageWriter(StorageReader):
    """Files, in a mutation."""

    def generate_upload_url(self) -> str:
        """A URL to which a client may POST a file within the hour: the answer is `{"storageId"}`.

        Whoever has the URL may upload, as often as they like until it expires.
        """
        self._call.interruption.pause()
        try:
            return upload_url(self._call)
        finally:
            self._call.interruption.resume()

    def delete(self, storage_id: StorageId) -> None:
        """Delete a file: its bytes go when this transaction has committed.

        Raises:
            DatabaseUseError: There is none.
        """
        self._call.interruption.pause()
        try:
            delete_file(self._call, storage_id)
        finally:
            self._call.interruption.resume()


class ActionFiles(Protocol):
    """How an action reaches files: in the same process or from a worker."""

    async def ask(self, operation: str, args: dict[str, Any]) -> Any:
        """Run `_system/storage:<operation>` as a transaction; errors are raised."""
        ...

    async def store(
        self, parts: AsyncIterator[bytes], content_type: str | None, sha256: bytes | None
    ) -> str: ...

    def read(self, storage_id: str, size: int) -> AsyncGenerator[bytes, None]: ...


class StoredFile:
    """An opened file, in an action."""

    def __init__(self, files: ActionFiles, metadata: FileMetadata) -> None:
        self.metadata = metadata
        self._files = files

    @property
    def size(self) -> int:
        """In bytes."""
        return int(self.metadata["size"])

    @property
    def content_type(self) -> str | None:
        return self.metadata.get("contentType")

    async def read(self) -> bytes:
        """All of it; for large files iterate instead."""
        return b"".join([piece async for piece in self])

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The bytes in pieces, never whole in memory."""
        return self._files.read(self.metadata["storageId"], self.size)


class ActionStorage:
    """Files, in an action. Each operation is a transaction of its own."""

    def __init__(self, files: ActionFiles) -> None:
        self._files = files

    async def store(
        self,
        data: bytes | AsyncIterator[bytes],
        *,
        content_type: str | None = None,
        sha256: str | None = None,
    ) -> StorageId:
        """Store bytes, or a stream of them. `sha256` (hexadecimal): what they must amount to.

        Returns: the file's id; the file is durable.

        Raises:
            FileTooLargeError, BadRequestError, FileStoreError: Nothing was stored.
        """
        parts = data if isinstance(data, AsyncIterator) else _pieces_of(data)
        digest = bytes.fromhex(sha256) if sha256 is not None else None
        return StorageId(await self._files.store(parts, content_type, digest))

    async def get(self, storage_id: StorageId) -> StoredFile | None:
        """The file, to be read; None if there is none."""
        metadata = await self.get_metadata(storage_id)
        return None if metadata is None else StoredFile(self._files, metadata)

    async def get_url(self, storage_id: StorageId) -> str | None:
        """As in a query."""
        url: str | None = await self._files.ask("getUrl", {"storageId": storage_id})
        return url

    async def get_metadata(self, storage_id: StorageId) -> FileMetadata | None:
        """As in a query."""
        found: FileMetadata | None = await self._files.ask("getMetadata", {"storageId": storage_id})
        if found is not None:
            found["size"] = int(found["size"])
        return found

    async def generate_upload_url(self) -> str:
        """As in a mutation."""
        return str(await self._files.ask("generateUploadUrl", {}))

    async def delete(self, storage_id: StorageId) -> None:
        """As in a mutation."""
        await self._files.ask("delete", {"storageId": storage_id})


_PIECE_BYTES = 1 << 20


async def _pieces_of(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), _PIECE_BYTES):
        yield data[start : start + _PIECE_BYTES]
