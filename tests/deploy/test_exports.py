"""A snapshot as a ZIP: one moment, every value as it was, and clear states on the way."""

from __future__ import annotations

import asyncio
import json
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from cupola.backend import Backend
from cupola.clock import ManualClock
from cupola.deploy import Deployer
from cupola.deploy.exports import ExportNotFoundError
from cupola.errors import BadRequestError
from cupola.functions.app import App
from cupola.functions.definitions import Function, Kind, Visibility
from cupola.values import Int64

from .conftest import Pushing

Tell = Callable[..., None]

VALUES = {
    "whole": 7.0,
    "int64": Int64(2**62),
    "zero": -0.0,
    "infinite": float("inf"),
    "bytes": b"\x00\xff",
    "nested": {"list": [1.5, None, "ünïcode"]},
}


def app(*documents: dict[str, Any]) -> App:
    def add(ctx: Any) -> None:
        for document in documents:
            ctx.db.insert("things", document)

    return App({"things:add": Function(add, Kind.MUTATION, Visibility.PUBLIC)}, {})


async def finished(at: Pushing) -> dict[str, Any]:
    """The newest export, once it has ended."""
    assert at.deployer.exports._task is not None
    await at.deployer.exports._task
    return dict(await at.value("_system/cli/exports:getLatest"))


def text_of(path: Path, name: str) -> str:
    with zipfile.ZipFile(path) as archive:
        return archive.read(name).decode()


def test_an_export_holds_every_value_as_it_was(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        await at.value("things:add")
        await at.deployer.exports.request(include_storage=False)
        latest = await finished(at)
        assert latest["state"] == "completed"
        assert await at.value("_system/frontend/latestExport:default") == latest
        assert await at.value("_system/frontend/latestExport:canExportFileStorage") is True
        path, ts = at.deployer.exports.find(latest["_id"])
        assert at.deployer.exports.find(str(ts)) == (path, ts)

        (line,) = text_of(path, "things/documents.jsonl").splitlines()
        assert '"whole":7.0' in line and '"zero":-0.0' in line
        assert f'"int64":{2**62},' in line or f'"int64":{2**62}}}' in line
        document = json.loads(line)
        assert document["bytes"] == {"$bytes": "AP8="} and "$float" in document["infinite"]
        assert document["nested"] == VALUES["nested"]
        (table,) = map(json.loads, text_of(path, "_tables/documents.jsonl").splitlines())
        assert table["name"] == "things"

    tell(story, app(VALUES))


def test_only_one_export_is_made_at_a_time_and_few_are_kept(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        await at.deployer.exports.request(include_storage=False)
        with pytest.raises(BadRequestError) as caught:
            await at.deployer.exports.request(include_storage=False)
        assert caught.value.code == "ExportInProgress"
        first = (await finished(at))["_id"]
        for _ in range(5):
            await at.deployer.exports.request(include_storage=False)
            await finished(at)
        with pytest.raises(ExportNotFoundError):
            at.deployer.exports.find(first)
        folder = Path(str(at.backend.data_path)).parent / "exports"
        assert len(list(folder.iterdir())) == 5

    tell(story, app())


def test_of_two_that_are_asked_for_at_once_one_is_made(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        asked = (at.deployer.exports.request(include_storage=False) for _ in range(2))
        first, second = await asyncio.gather(*asked, return_exceptions=True)
        assert first is None
        assert isinstance(second, BadRequestError) and second.code == "ExportInProgress"
        assert (await finished(at))["state"] == "completed"

    tell(story, app())


def test_an_export_that_cannot_be_written_has_failed(tell: Tell) -> None:
    """The command line waits for one of the two."""

    async def story(at: Pushing) -> None:
        folder = Path(str(at.backend.data_path)).parent / "exports"
        folder.write_text("in the way")
        await at.deployer.exports.request(include_storage=False)
        assert (await finished(at))["state"] == "failed"
        folder.unlink()
        await at.deployer.exports.request(include_storage=False)
        assert (await finished(at))["state"] == "completed"

    tell(story, app())


def test_an_export_that_a_crash_cut_off_is_no_obstacle(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        exports = at.deployer.exports
        await exports._put(None, {"state": "in_progress", "start_ts": Int64(5)})
        with pytest.raises(BadRequestError, match="not finished"):
            exports.find("5")
        await exports.request(include_storage=False)
        assert (await finished(at))["state"] == "completed"
        with pytest.raises(ExportNotFoundError):
            exports.find("5")

    tell(story, app())


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_an_export_that_fails_leaves_no_part_of_a_file(tell: Tell, tmp_path: Path) -> None:
    """It fails where the disk is full, too."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"some bytes"

    async def story(at: Pushing) -> None:
        await at.backend.files.upload(pieces(), None)
        for file in files_in(tmp_path / "files"):
            file.unlink()
        await at.deployer.exports.request(include_storage=True)
        assert (await finished(at))["state"] == "failed"
        assert files_in(tmp_path / "exports") == []

    tell(story, app())


def test_what_a_killed_server_left_of_an_export_goes_with_the_next_one(
    tell: Tell, tmp_path: Path
) -> None:
    """Its process writes on for a while, or is killed too."""

    async def story(at: Pushing) -> None:
        lost = await at.deployer.exports._put(None, {"state": "in_progress", "start_ts": Int64(5)})
        folder = tmp_path / "exports"
        folder.mkdir()
        for name in (f"{lost}.new", "of another server.zip"):
            (folder / name).write_bytes(b"PK")
        for kept in (1, 2):
            await at.deployer.exports.request(include_storage=False)
            assert (await finished(at))["state"] == "completed"
            assert len(files_in(folder)) == kept

    tell(story, app())


def test_data_in_memory_cannot_be_exported() -> None:

    backend = Backend(clock=ManualClock())
    backend.deploy_now(App({}, {}))
    with pytest.raises(BadRequestError) as caught:
        asyncio.run(Deployer(backend).exports.request(include_storage=False))
    assert caught.value.code == "ExportNotAvailable"
