"""Files under `cupola serve`: in a folder, through worker processes, and over kill -9."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from cupola.files.opening import open_store

from ..files.conftest import bucket, s3  # noqa: F401  # fixtures
from .conftest import Server

FILES = """
from collections.abc import Sequence
from typing import Any
from cupola import ActionCtx, MutationCtx, QueryCtx, StorageId, action, mutation, query

@mutation
def upload_url(ctx: MutationCtx) -> str:
    return ctx.storage.generate_upload_url()

@query
def all(ctx: QueryCtx) -> Sequence[Any]:
    return [
        {**file, "url": ctx.storage.get_url(file["_id"])}
        for file in ctx.db.query("_storage").collect()
    ]

@mutation
def remove(ctx: MutationCtx, file: StorageId) -> None:
    ctx.storage.delete(file)

@action
async def copy(ctx: ActionCtx, file: StorageId) -> StorageId:
    found = await ctx.storage.get(file)
    return await ctx.storage.store(aiter(found), content_type="copy/" + (found.content_type or ""))

@action
async def store_and_die(ctx: ActionCtx) -> None:
    import os
    async def pieces():
        yield b"x" * 3_000_000
        os._exit(1)
    await ctx.storage.store(pieces())
"""
ROUNDS = 5
WITHIN_S = 30.0


@pytest.fixture
def files_app(app: Path) -> Path:
    (app / "functions" / "files.py").write_text(FILES)
    return app


def call(server: Server, kind: str, path: str, **args: Any) -> Any:
    body = {"path": path, "args": args, "format": "json"}
    answer = httpx.post(f"{server.url}/api/{kind}", json=body, timeout=WITHIN_S).json()
    assert answer["status"] == "success", answer
    return answer["value"]


def upload(server: Server, data: bytes) -> str:
    url = call(server, "mutation", "files:upload_url")
    answer = httpx.post(url, content=data, headers={"Content-Type": "x/y"}, timeout=WITHIN_S)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["storageId"])


def on_disk(app: Path) -> set[str]:
    return {file.name for file in (app / ".cupola" / "files").rglob("*") if file.is_file()}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


def sha256(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def test_an_action_streams_files_in_its_own_process(
    files_app: Path, start: Callable[..., Server]
) -> None:
    """The bytes pass from the folder to the worker and back, and never through the server."""
    server = start("serve")
    data = random.Random(1).randbytes(5_000_000)
    file = upload(server, data)
    copy = call(server, "action", "files:copy", file=file)
    assert copy != file
    shown = {each["_id"]: each for each in call(server, "query", "files:all")}
    assert shown[copy]["contentType"] == "copy/x/y"
    assert shown[copy]["sha256"] == shown[file]["sha256"] == sha256(data)
    assert httpx.get(shown[copy]["url"]).content == data
    assert on_disk(files_app) == {file, copy}


def test_files_live_in_an_object_store_if_it_is_said(
    files_app: Path,
    start: Callable[..., Server],
    bucket: str,  # noqa: F811
) -> None:
    """Server and action workers reach the same bucket; the data folder keeps none of the bytes."""
    server = start("serve", "--files", bucket)
    data = random.Random(2).randbytes(12_000_000)
    file = upload(server, data)
    copy = call(server, "action", "files:copy", file=file)
    urls = {each["_id"]: each["url"] for each in call(server, "query", "files:all")}
    assert httpx.get(urls[copy], timeout=WITHIN_S).content == data
    part = httpx.get(urls[file], headers={"Range": "bytes=5-9"}, timeout=WITHIN_S)
    assert (part.status_code, part.content) == (206, data[5:10])
    call(server, "mutation", "files:remove", file=file)
    store = open_store(bucket)

    async def names() -> set[str]:
        return {name async for some in store.names() for name in some}

    until(lambda: asyncio.run(names()) == {copy})
    assert on_disk(files_app) == set()


def test_behind_a_proxy_urls_are_those_of_the_world(
    files_app: Path, start: Callable[..., Server]
) -> None:
    """By an option as by a variable, for this process and for action workers."""
    server = start("serve", CUPOLA_CLOUD_URL="https://api.example.com/")
    url = call(server, "mutation", "files:upload_url")
    assert url.startswith("https://api.example.com/api/storage/upload?token=")
    path = url.removeprefix("https://api.example.com")
    answer = httpx.post(f"{server.url}{path}", content=b"x", timeout=WITHIN_S)
    (file,) = call(server, "query", "files:all")
    assert file["_id"] == answer.json()["storageId"]
    assert file["url"].startswith("https://api.example.com/api/storage/")


def test_a_worker_that_dies_while_storing_leaves_no_file(
    files_app: Path, start: Callable[..., Server]
) -> None:
    server = start("serve")
    body = {"path": "files:store_and_die", "args": {}}
    answer = httpx.post(f"{server.url}/api/action", json=body, timeout=WITHIN_S).json()
    assert answer["status"] == "error"
    assert call(server, "query", "files:all") == []
    server.stop()
    start("serve")
    assert on_disk(files_app) == set()


@pytest.mark.slow
def test_acknowledged_uploads_survive_kill_9_and_nothing_half_is_served(
    files_app: Path, start: Callable[..., Server]
) -> None:
    """Uploads of many sizes and deletions go on while the server is killed, again and again."""
    dice = random.Random(4711)
    kept: dict[str, str] = {}
    deleted: set[str] = set()
    for _ in range(ROUNDS):
        server = start("serve")
        check(server, files_app, kept, deleted)
        load(server, dice, kept, deleted)
    check(start("serve"), files_app, kept, deleted)
    assert len(kept) > ROUNDS


def load(server: Server, dice: random.Random, kept: dict[str, str], deleted: set[str]) -> None:
    """Three clients upload and one of them deletes too, until the server is killed."""
    enough = dice.randrange(3, 12)
    done = threading.Semaphore(0)
    pid = int(server.facts["pid"])

    def client(seed: int) -> None:
        own = random.Random(seed)
        mine: list[str] = []
        try:
            while True:
                data = own.randbytes(own.choice([0, 10, 70_000, 1_500_000, 6_000_000]))
                file = upload(server, data)
                kept[file] = sha256(data)
                mine.append(file)
                if seed % 3 == 0 and len(mine) > 2:
                    gone = mine.pop(0)
                    expected = kept.pop(gone)  # from now on either outcome is right
                    call(server, "mutation", "files:remove", file=gone)
                    deleted.add(gone)
                    assert expected
                done.release()
        except (httpx.HTTPError, OSError):
            pass

    seeds = [dice.randrange(1000) * 3 + number for number in range(3)]
    clients = [threading.Thread(target=client, args=(seed,)) for seed in seeds]
    for thread in clients:
        thread.start()
    for _ in range(enough):
        assert done.acquire(timeout=WITHIN_S)
    os.kill(pid, signal.SIGKILL)
    server.process.kill()
    for thread in clients:
        thread.join(WITHIN_S)
        assert not thread.is_alive()
    server.process.wait()


def check(server: Server, app: Path, kept: dict[str, str], deleted: set[str]) -> None:
    shown = {each["_id"]: each for each in call(server, "query", "files:all")}
    for file, digest in kept.items():
        assert shown[file]["sha256"] == digest
    assert not deleted & shown.keys()
    for file in shown.values():
        answer = httpx.get(file["url"], timeout=WITHIN_S)
        assert answer.status_code == 200
        assert sha256(answer.content) == file["sha256"]
        assert len(answer.content) == file["size"]
    until(lambda: not shown or on_disk(app) == set(shown))
