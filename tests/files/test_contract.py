"""What each place for files must do: one contract for all of them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from cupola.errors import (
    BadRequestError,
    ConfigurationError,
    FileStoreError,
    FileTooLargeError,
)
from cupola.files import FileStore, LocalFiles, MemoryFiles, receive
from cupola.files.opening import open_store

NAME, OTHER = "kg2aaaa", "kg2bbbb"
LIMIT = 10 * 2**20


@pytest.fixture(params=["memory", "local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FileStore:
    match request.param:
        case "memory":
            return MemoryFiles()
        case "local":
            return LocalFiles(tmp_path / "files")
        case _:
            return open_store(request.getfixturevalue("bucket"))


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def read(store: FileStore, name: str, start: int, end: int) -> bytes:
    return b"".join([piece async for piece in store.read(name, start, end)])


async def names(store: FileStore) -> set[str]:
    return {name async for some in store.names() for name in some}


def run(story: Callable[[], object]) -> None:
    asyncio.run(story())  # type: ignore[arg-type]


def test_what_was_stored_comes_back_whole_and_in_parts(store: FileStore) -> None:
    """Pieces of any size, none at all included, are one file."""
    data = bytes(range(256)) * 12_000  # three pieces of a disk's size

    async def story() -> None:
        parts = (data[:1], b"", data[1:70_000], data[70_000:])
        received = await receive(store, NAME, pieces(*parts), size_bytes_max=LIMIT)
        assert received == (NAME, hashlib.sha256(data).digest(), len(data))
        empty = await receive(store, OTHER, pieces(), size_bytes_max=LIMIT)
        assert empty == (OTHER, hashlib.sha256(b"").digest(), 0)
        assert await read(store, NAME, 0, len(data)) == data
        assert await read(store, NAME, 1_048_570, 2_097_160) == data[1_048_570:2_097_160]
        assert await read(store, OTHER, 0, 0) == b""
        assert await names(store) == {NAME, OTHER}

    run(story)


def test_a_file_is_there_only_once_it_is_finished(store: FileStore) -> None:
    async def story() -> None:
        upload = await store.begin(NAME)
        await upload.write(b"half")
        assert await names(store) == set()
        with pytest.raises(FileStoreError):
            await read(store, NAME, 0, 4)
        await upload.finish()
        assert await names(store) == {NAME}

    run(story)


def test_whatever_goes_wrong_on_the_way_leaves_nothing(store: FileStore, tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionError("the client went away")

    async def story() -> None:
        with pytest.raises(ConnectionError):
            await receive(store, NAME, broken(), size_bytes_max=LIMIT)
        with pytest.raises(FileTooLargeError, match="file_size_bytes_max"):
            await receive(store, NAME, pieces(b"12345"), size_bytes_max=4)
        with pytest.raises(BadRequestError) as wrong:
            await receive(store, NAME, pieces(b"x"), size_bytes_max=4, sha256=bytes(32))
        assert wrong.value.code == "DigestMismatch"
        assert await names(store) == set()
        assert [file for file in tmp_path.rglob("*") if file.is_file()] == []
        await receive(store, NAME, pieces(b"again"), size_bytes_max=LIMIT)

    run(story)


def test_deleting_twice_is_no_error_and_reading_then_is(store: FileStore) -> None:
    async def story() -> None:
        await receive(store, NAME, pieces(b"data"), size_bytes_max=LIMIT)
        await store.delete(NAME)
        await store.delete(NAME)
        with pytest.raises(FileStoreError):
            await read(store, NAME, 0, 4)

    run(story)


def test_a_crash_leaves_an_upload_that_is_cleared(tmp_path: Path) -> None:
    """What was cut off is no file, neither before nor after it is cleared."""
    store = LocalFiles(tmp_path)

    async def story() -> None:
        upload = await store.begin(NAME)
        await upload.write(b"half")
        again = open_store(store.address)  # the next process
        assert await names(again) == set()
        await again.clear_uploads()
        assert [file for file in tmp_path.rglob("*") if file.is_file()] == []

    run(story)


def test_a_full_disk_is_a_typed_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    async def story() -> None:
        store = LocalFiles(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr("cupola.files.local.os.write", full)
            with pytest.raises(FileStoreError, match="No space left"):
                await receive(store, NAME, pieces(b"data"), size_bytes_max=LIMIT)
        assert await names(store) == set()

    run(story)


def test_a_large_object_goes_up_in_parts_and_an_aborted_one_leaves_none(
    bucket: str, s3: str
) -> None:
    """More than one part of a multipart upload, in a server that keeps count of them."""
    data = bytes(range(256)) * (20 * 4096)  # 20 MiB

    async def broken() -> AsyncIterator[bytes]:
        yield data
        raise ConnectionError("the client went away")

    async def story() -> None:
        store = open_store(bucket)
        await receive(store, NAME, pieces(data), size_bytes_max=2 * len(data))
        assert await read(store, NAME, 9_000_000, 9_000_100) == data[9_000_000:9_000_100]
        assert await read(store, NAME, 0, len(data)) == data
        with pytest.raises(ConnectionError):
            await receive(store, OTHER, broken(), size_bytes_max=2 * len(data))
        assert await names(store) == {NAME}

    run(story)
    uploads = httpx.get(f"{s3}/{bucket.split('/')[2]}?uploads").text
    assert "<Upload>" not in uploads


@pytest.mark.parametrize("address", ["ftp://x", "folder", "s3://"])
def test_an_address_that_means_no_place_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        open_store(address)
    assert refused.value.code == "BadFileStore"


def test_a_store_that_cannot_be_reached_is_a_typed_error(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(bucket.replace("files-", "missing-"))

    async def story() -> None:
        with pytest.raises(FileStoreError):
            await receive(store, NAME, pieces(b"data"), size_bytes_max=LIMIT)

    run(story)
