"""Records of other systems become documents: appended, or one per primary key."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from cupola.deploy.streaming.importing import StreamingImport
from cupola.deploy.streaming.records import Records
from cupola.errors import CupolaError

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
