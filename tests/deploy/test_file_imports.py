"""Stored files leave with an export and come back with an import: bytes, ids and what is known."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from cupola.backend.files import Files
from cupola.database.catalog import STORAGE
from cupola.errors import BadRequestError
from cupola.files import MemoryFiles
from cupola.files.opening import open_store
from cupola.values import encode_id

from .conftest import Pushing
from .test_imports import app, load, state_of

Tell = Callable[..., None]

LARGE = bytes(range(256)) * 12_000  # some pieces


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def stored(at: Pushing, data: bytes, content_type: str | None = None) -> str:
    return await at.backend.files.upload(pieces(data), content_type)


async def files_of(at: Pushing) -> list[dict[str, Any]]:
    args = {"table": "_storage", "paginationOpts": {"numItems": 100, "cursor": None}}
    page = await at.value("_system/cli/tableData:default", json.dumps(args).encode())
    return list(page["page"])


async def bytes_of(files: Files, storage_id: str, size: int) -> bytes:
    return b"".join([piece async for piece in files.store.read(storage_id, 0, size)])


async def exported(at: Pushing) -> Path:
    await at.deployer.exports.request(include_storage=True)
    assert at.deployer.exports._task is not None
    await at.deployer.exports._task
    latest = await at.value("_system/cli/exports:getLatest")
    assert latest["state"] == "completed"
    return at.deployer.exports.find(latest["_id"])[0]


def digest(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def forget_all(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file() and file.name != "kept.zip":
            file.unlink()


def test_stored_files_come_back_as_they_were(tell: Tell, tmp_path: Path) -> None:
    kept: dict[str, Any] = {}

    async def source(at: Pushing) -> None:
        first = await stored(at, LARGE, "image/png")
        await stored(at, b"", "text/plain; charset=utf-8")
        await stored(at, b"no type")
        path = await exported(at)
        with zipfile.ZipFile(path) as archive:
            assert archive.read(f"_storage/{first}.png") == LARGE
            lines = archive.read("_storage/documents.jsonl").splitlines()
        described = {line["_id"]: line for line in map(json.loads, lines)}
        assert described[first]["sha256"] == digest(LARGE)
        assert f'"size":{len(LARGE)}' in lines[list(described).index(first)].decode()
        kept["documents"] = await files_of(at)
        path.rename(tmp_path / "kept.zip")

    async def target(at: Pushing) -> None:
        assert await files_of(at) == []
        state = await load(at, (tmp_path / "kept.zip").read_bytes(), "zip")
        assert state["state"] == "completed", state
        assert state["num_rows_written"] == {"$integer": "AwAAAAAAAAA="}
        assert await files_of(at) == kept["documents"]
        for document in kept["documents"]:
            found = await bytes_of(at.backend.files, document["_id"], int(document["size"]))
            assert digest(found) == document["sha256"]

    tell(source, app())
    forget_all(tmp_path)
    tell(target, app())


def test_files_move_from_a_folder_to_an_object_store(
    tell: Tell, tmp_path: Path, bucket: str
) -> None:
    kept: list[str] = []

    async def source(at: Pushing) -> None:
        kept.append(await stored(at, LARGE, "image/png"))
        (await exported(at)).rename(tmp_path / "kept.zip")

    async def target(at: Pushing) -> None:
        state = await load(at, (tmp_path / "kept.zip").read_bytes(), "zip")
        assert state["state"] == "completed", state
        assert await bytes_of(at.backend.files, kept[0], len(LARGE)) == LARGE
        with zipfile.ZipFile(await exported(at)) as archive:
            assert archive.read(f"_storage/{kept[0]}.png") == LARGE

    tell(source, app())
    forget_all(tmp_path)
    tell(target, app(), open_store(bucket))


def test_a_snapshot_is_brought_back_over_the_files_it_was_made_of(tell: Tell) -> None:
    """The files that came later go, with their bytes; those that were deleted are there again."""

    async def story(at: Pushing) -> None:
        stays, goes = await stored(at, b"stays"), await stored(at, b"goes")
        path = await exported(at)
        before = await files_of(at)
        await at.backend.files.ask("delete", {"storageId": goes})
        later = await stored(at, b"later")
        state = await load(at, path.read_bytes(), "zip", None, "replaceAll")
        assert state["state"] == "completed", state
        await at.backend.files.settle()
        assert sorted(await files_of(at), key=str) == sorted(before, key=str)
        assert await bytes_of(at.backend.files, stays, 5) == b"stays"
        assert await bytes_of(at.backend.files, goes, 4) == b"goes"
        names = [name async for some in at.backend.files.store.names() for name in some]
        assert sorted(names) == sorted([stays, goes]) and later not in names

    tell(story, app())


def test_a_file_deleted_while_an_export_reads_is_in_it(tell: Tell) -> None:
    """The snapshot knows of it, so its bytes wait."""

    async def story(at: Pushing) -> None:
        name = await stored(at, b"still here")
        files = at.backend.files
        with files.keeping_all():
            await files.ask("delete", {"storageId": name})
            await files.settle()
            assert await bytes_of(files, name, 10) == b"still here"
        await files.settle()
        assert [name async for some in files.store.names() for name in some] == []

    tell(story, app())


Entries = dict[str, bytes | str]


def a_zip(**entries: bytes | str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return file.getvalue()


ID = encode_id(STORAGE, bytes(16))
DESCRIBED = {"_id": ID, "_creationTime": 5.5, "sha256": digest(b"hi"), "size": 2}


def test_a_zip_of_the_reference_keeps_ids_digests_and_types(tell: Tell) -> None:
    """Ids of its files begin with `kg2`, and documents hold them; what is not said is found out."""
    other = encode_id(STORAGE, bytes([7] * 16))
    assert other.startswith("kg2")
    row = {"_id": encode_id(10_001, bytes(16)), "_creationTime": 1.5, "picture": ID}
    data = a_zip(
        **{
            "top/_tables/documents.jsonl": '{"name":"posts","id":10001}\n',
            "top/posts/documents.jsonl": json.dumps(row),
            "top/posts/generated_schema.jsonl": '"uniform"\n',
            "top/_storage/documents.jsonl": json.dumps(
                {**DESCRIBED, "contentType": "image/webp", "internalId": "not ours"}
            ),
            f"top/_storage/{ID}.webp": b"hi",
            f"top/_storage/{other}.txt": b"not described",
        }
    )

    async def story(at: Pushing) -> None:
        state = await load(at, data, "zip")
        assert state["state"] == "completed", state
        first, second = sorted(await files_of(at), key=lambda each: each["_id"])
        assert first == {**DESCRIBED, "size": 2.0, "contentType": "image/webp"}
        assert second["contentType"] == "text/plain" and second["size"] == 13.0
        found = await at.backend.files.ask("getMetadata", {"storageId": other})
        assert found["sha256"] == hashlib.sha256(b"not described").hexdigest()

    tell(story, app())


REFUSED: dict[str, tuple[Entries, str]] = {
    "bytes": ({"_storage/documents.jsonl": json.dumps(DESCRIBED)}, "are not in the ZIP"),
    "size": (
        {
            "_storage/documents.jsonl": json.dumps({**DESCRIBED, "size": 3}),
            f"_storage/{ID}": b"hi",
        },
        "has 2 bytes in the ZIP, not 3",
    ),
    "digest": (
        {"_storage/documents.jsonl": json.dumps(DESCRIBED), f"_storage/{ID}": b"ho"},
        "SHA-256",
    ),
    "shape": (
        {"_storage/documents.jsonl": '{"_id": 7}', f"_storage/{ID}": b"hi"},
        "_storage/documents.jsonl",
    ),
    "document": ({f"_storage/{encode_id(10_001, bytes(16))}": b"hi"}, "the id of no file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_files_that_are_not_what_they_say_change_nothing(tell: Tell, case: str) -> None:
    entries, words = REFUSED[case]

    async def story(at: Pushing) -> None:
        state = await load(at, a_zip(**entries), "zip")
        assert state["state"] == "failed" and words in state["error_message"], state
        assert await files_of(at) == []

    tell(story, app())


def test_a_file_that_is_there_is_not_replaced_by_another(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        assert (await load(at, a_zip(**{f"_storage/{ID}": b"hi"}), "zip"))["state"] == "completed"
        for mode in ("requireEmpty", "append", "replaceAll"):
            state = await load(at, a_zip(**{f"_storage/{ID}": b"ho"}), "zip", None, mode)
            assert state["state"] == "failed", mode
        assert await bytes_of(at.backend.files, ID, 2) == b"hi"

    tell(story, app())


def test_a_file_too_large_for_this_deployment_stays_out(tell: Tell) -> None:
    """Nothing of the import comes in then."""

    async def story(at: Pushing) -> None:
        at.backend.limits = dataclasses.replace(at.backend.limits, file_size_bytes_max=1)
        entries: Entries = {f"_storage/{ID}": b"hi", "t/documents.jsonl": '{"a": 1}'}
        state = await load(at, a_zip(**entries), "zip")
        assert state["state"] == "failed" and "file_size_bytes_max" in state["error_message"]
        assert await files_of(at) == []

    tell(story, app())


def test_files_in_memory_are_told_apart(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        at.backend.files.store = MemoryFiles()
        with pytest.raises(BadRequestError) as caught:
            await at.deployer.exports.request(include_storage=True)
        assert caught.value.code == "ExportNotAvailable"
        state = await load(at, a_zip(**{f"_storage/{ID}": b"hi"}), "zip")
        assert state["state"] == "failed" and "in memory" in state["error_message"]

    tell(story, app())


def test_what_an_import_will_do_with_files_is_said_before(tell: Tell) -> None:
    from cupola.deploy.imports import FinishUpload, ImportSettings

    async def story(at: Pushing) -> None:
        imports = at.deployer.imports
        token = imports.start_upload()
        parts = [imports.part(token, "1", a_zip(**{f"_storage/{ID}": b"hi"}))]
        settings = ImportSettings("append", "zip")
        import_id = await imports.finish_upload(FinishUpload(token, parts, settings))
        while imports._tasks:
            for task in list(imports._tasks):
                await task
        said = (await state_of(at, import_id))["message_to_confirm"]
        assert "_storage | 1 | 0 files" in said
        await imports.cancel(import_id)

    tell(story, app())
