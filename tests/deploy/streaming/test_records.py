"""Records of other systems become documents: appended, or one per primary key."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from cupola.backend import Backend
from cupola.deploy.streaming.importing import StreamingImport
from cupola.deploy.streaming.records import Records
from cupola.errors import CupolaError
from cupola.functions.app import App
from cupola.limits import Limits
from cupola.persistence import MemoryPersistence

from ..conftest import Pushing, notes
from ..test_imports import all_of, app, insert, plain

Tell = Callable[..., None]


def records(key: Any, *rows: Any, table: str = "users") -> Records:
    body = {
        "tables": {table: {"primaryKey": key, "jsonSchema": {}}},
        "messages": [{"tableName": table, "data": row} for row in rows],
    }
    return msgspec.json.decode(json.dumps(body), type=Records)


def test_the_newest_record_of_a_key_is_the_document(tell: Tell) -> None:
    """Its id stays, also when a request is sent again; a deleted one goes."""

    async def story(at: Pushing) -> None:
        stream = StreamingImport(at.backend)
        key = [["id"], ["at", "zone"]]
        ada = {"id": 1, "at": {"zone": "x"}, "name": "ada"}
        bob = {"id": 2, "at": {"zone": "x"}, "name": "bob"}
        await stream.store(records(key, ada, bob, {**ada, "name": "Ada"}))
        before = await all_of(at, "users")
        assert sorted(row["name"] for row in before) == ["Ada", "bob"]
        await stream.store(records(key, ada, bob, {**ada, "name": "Ada"}))
        assert {row["_id"] for row in await all_of(at, "users")} == {r["_id"] for r in before}
        gone = {**bob, "_ab_cdc_deleted_at": "2026-01-01"}
        await stream.store(records(key, gone, gone, {**ada, "_ab_cdc_deleted_at": None}))
        assert plain(await all_of(at, "users")) == [{**ada, "id": 1.0}]

    tell(story, app())


def test_records_without_a_key_are_appended(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        stream = StreamingImport(at.backend)
        rows = [{"n": n} for n in range(250)]
        await stream.store(records(None, *rows))
        await stream.store(records(None, {"n": 250, "_airbyte_id": "x", "größe": {"$a": 1}}))
        found = plain(await all_of(at, "users"))
        assert [row["n"] for row in found] == [float(n) for n in range(251)]
        assert found[-1]["source_airbyte_id"] == "x" and found[-1]["gr__e"] == {"source_a": 1.0}

    tell(story, app())


BAD: dict[str, tuple[Records, str]] = {
    "no object": (records(None, 7), "BadRecord"),
    "no object but an int64": (records(None, {"$integer": "AAAAAAAAAAA="}), "BadRecord"),
    "no key": (records([["id"]], {"id": 1}, {"x": 1}), "BadRecord"),
    "empty key": (records([], {"id": 1}), "EmptyPrimaryKey"),
    "two names": (records(None, {"_a": 1, "source_a": 2}), "BadRecord"),
    "table": (records(None, {"a": 1}, table="not a table"), "InvalidIdentifier"),
    "unknown": (
        Records({}, records(None, {"a": 1}).messages),
        "BadRecord",
    ),
    "schema": (records(None, {"body": 7}, table="notes"), "SchemaEnforcementError"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_record_is_told(tell: Tell, case: str) -> None:
    bad, code = BAD[case]

    async def story(at: Pushing) -> None:
        with pytest.raises(CupolaError) as caught:
            await StreamingImport(at.backend).store(bad)
        assert caught.value.code == code
        assert await all_of(at, "users") == [] and await all_of(at, "notes") == []

    tell(story, app(notes()))


def test_records_are_as_large_as_the_deployment_allows(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        row = {"text": "x" * 1_100_000}
        await StreamingImport(at.backend).store(records(None, row))
        assert plain(await all_of(at, "users")) == [row]

    tell(story, app(), limits=Limits(document_size_bytes_max=1 << 21))


def test_tables_are_emptied(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        stream = StreamingImport(at.backend)
        for number in range(130):
            await insert(at, "users", n=number)
        await stream.clear(["users", "nothing"])
        assert await all_of(at, "users") == []
        with pytest.raises(CupolaError):
            await stream.clear(["_storage"])

    tell(story, app())


# ---------------------------------------------------------------- a disk that takes its time


def beside(story: Callable[[Backend, MemoryPersistence], Awaitable[None]]) -> None:
    """Runs a story against a deployment whose log says when it is durable."""

    async def main() -> None:
        log = MemoryPersistence()
        backend = Backend(log)
        backend.deploy_now(App({}, {}))
        backend.attach(asyncio.get_running_loop())
        try:
            await story(backend, log)
        finally:
            log.release_durability()
            await backend.close()

    asyncio.run(main())


async def stored_rows(backend: Backend, count: int) -> None:
    """Returns once so many users are in the database, durable or not."""
    while True:
        catalog, reader = backend.node.committer.catalog, backend.node.persistence.reader
        table = catalog.by_name.get("users")
        if table and reader.count(table.primary.number, b"", None, limit=1000) >= count:
            return
        await asyncio.sleep(0)


def test_who_streams_hears_of_success_when_a_power_cut_cannot_undo_it() -> None:
    """It then forgets the records, or moves its cursor on."""

    async def story(backend: Backend, log: MemoryPersistence) -> None:
        log.delay_durability()
        storing = asyncio.create_task(StreamingImport(backend).store(records(None, {"a": 1})))
        await stored_rows(backend, 1)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not storing.done()
        log.release_durability()
        await storing

    beside(story)


def test_who_streams_may_go_away_meanwhile() -> None:
    """As a server that stops sends its clients away; what they sent comes in all the same."""

    async def story(backend: Backend, log: MemoryPersistence) -> None:
        rows = [{"n": n} for n in range(250)]
        storing = asyncio.create_task(StreamingImport(backend).store(records(None, *rows)))
        await asyncio.sleep(0)
        storing.cancel()
        await stored_rows(backend, 250)
        await asyncio.sleep(0)
        assert storing.cancelled() and backend.state == "ready"

    beside(story)
