"""Streaming export over HTTP: what tools that mirror a database send and get."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from .test_deploy_routes import Client, Story, tell_of

SCHEMA = """
    from cupola import Int64, Table

    class Note(Table, name="notes"):
        text: str
        count: Int64
        tags: list[str]
        maybe: float | None = None
"""
NOTES = """
    from cupola import Id, Int64
    from .schema import Note

    @mutation
    def add(ctx: MutationCtx, text: str) -> Id[Note]:
        return ctx.db.insert(Note(text=text, count=Int64(5), tags=["a"]))

    @mutation
    def loose(ctx: MutationCtx) -> None:
        ctx.db.insert("loose", {"x": 1, "y": {"z": b"b"}})

    @mutation
    def remove(ctx: MutationCtx, id: Id[Note]) -> None:
        ctx.db.delete(id)
"""


@pytest.fixture
def tell(write_app: Callable[..., Path]) -> Callable[[Story], None]:
    return lambda story: tell_of(write_app(schema=SCHEMA, notes=NOTES), story)


async def get(at: Client, path: str, **query: Any) -> httpx.Response:
    return await at.http.get(path, params=query, headers=at.headers)


def test_a_snapshot_and_what_came_after_it(tell: Callable[[Story], None]) -> None:
    async def story(at: Client) -> None:
        first = (await at.call("notes:add", text="one"))["value"]
        page = (await get(at, "/api/list_snapshot", format="json")).json()
        (row,) = page["values"]
        assert row == {
            "_component": "",
            "_table": "notes",
            "_ts": row["_ts"],
            "_id": first,
            "_creationTime": row["_creationTime"],
            "text": "one",
            "count": "5",
            "tags": ["a"],
            "maybe": None,
        }
        assert (page["cursor"], page["hasMore"]) == (None, False)
        assert row["_ts"] <= page["snapshot"]

        await at.call("notes:remove", id=first)
        await at.call("notes:loose")
        deltas = (
            await get(at, "/api/document_deltas", cursor=page["snapshot"], format="export_json")
        ).json()
        removed, loose = deltas["values"]
        assert removed == {
            "_component": "",
            "_table": "notes",
            "_ts": removed["_ts"],
            "_deleted": True,
            "_id": first,
        }
        assert loose["_deleted"] is False and loose["y"] == {"z": {"$bytes": "Yg=="}}
        assert deltas["cursor"] >= loose["_ts"] > removed["_ts"] and not deltas["hasMore"]

        tree = {"": {"_other": "excluded", "loose": {"_other": "excluded", "x": "included"}}}
        chosen = await at.post("/api/document_deltas", {"cursor": 0, "selection": tree})
        (value,) = chosen.json()["values"]
        assert sorted(value) == ["_component", "_deleted", "_id", "_table", "_ts", "x"]
        other = (await get(at, "/api/list_snapshot", tableName="notes")).json()
        assert other["values"] == []

    tell(story)


def test_one_cursor_syncs(tell: Callable[[Story], None]) -> None:
    async def story(at: Client) -> None:
        note = (await at.call("notes:add", text="one"))["value"]
        first = (await at.post("/api/v1/data/sync", {})).json()
        assert first["truncates"] == [{"component": "", "table": "notes"}]
        assert first["status"]["type"] == "upToDate"
        (value,) = first["values"]
        assert value["value"]["count"] == 5 and value["deleted"] is False
        await at.call("notes:remove", id=note)
        cursor = first["pagination"]["nextCursor"]
        second = (await at.post("/api/v1/data/sync", {"cursor": cursor})).json()
        assert [v["value"] for v in second["values"]] == [{"_id": note}]
        assert second["syncId"] == first["syncId"] and second["truncates"] == []
        active = (await get(at, "/api/v1/data/list_active_syncs", limit=5)).json()
        assert [sync["syncId"] for sync in active["syncs"]] == [first["syncId"]]
        converted = await at.post("/api/data_sync_cursor_from_deltas", {"cursor": 5})
        assert isinstance(converted.json()["cursor"], str)

    tell(story)


def test_tables_are_described(tell: Callable[[Story], None]) -> None:
    """By the schema, or by what documents have."""

    async def story(at: Client) -> None:
        await at.call("notes:loose")
        names = (await get(at, "/api/get_table_column_names")).json()
        assert names == {
            "byComponent": {
                "": [
                    {"name": "loose", "columns": ["_creationTime", "_id", "x", "y"]},
                    {
                        "name": "notes",
                        "columns": ["_creationTime", "_id", "count", "maybe", "tags", "text"],
                    },
                ]
            }
        }
        schemas = (await get(at, "/api/json_schemas", format="export_json")).json()
        notes = schemas["notes"]
        assert notes["properties"]["count"] == {"type": "integer"}
        assert notes["properties"]["tags"] == {"type": "array", "items": {"type": "string"}}
        assert notes["additionalProperties"] is False and "text" in notes["required"]
        assert schemas["loose"]["additionalProperties"] is True
        deltas = await get(at, "/api/json_schemas", deltaSchema="true", byComponent="true")
        assert "_deleted" in deltas.json()[""]["notes"]["properties"]
        assert (await get(at, "/api/test_streaming_export_connection")).text == "null"

    tell(story)


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("/api/document_deltas", {}, "DocumentDeltasCursorRequired"),
        ("/api/document_deltas", {"cursor": "x"}, "BadQueryArgs"),
        ("/api/list_snapshot", {"snapshot": "x"}, "BadQueryArgs"),
        ("/api/list_snapshot", {"format": "xml"}, "BadFormat"),
        ("/api/list_snapshot", {"component": "c"}, "BadSelection"),
        ("/api/json_schemas", {"format": "xml"}, "BadFormat"),
        ("/api/v1/data/list_active_syncs", {"limit": "0"}, "LimitOutOfRange"),
        ("/api/v1/data/list_active_syncs", {"limit": "²"}, "LimitOutOfRange"),
        ("/api/v1/data/list_active_syncs", {"limit": "9" * 5000}, "LimitOutOfRange"),
        ("/api/document_deltas", {"cursor": str(2**63)}, "BadQueryArgs"),
        ("/api/document_deltas", {"cursor": "9" * 5000}, "BadQueryArgs"),
    ],
)
def test_bad_requests_are_told(
    tell: Callable[[Story], None], path: str, query: dict[str, str], code: str
) -> None:
    async def story(at: Client) -> None:
        answer = await get(at, path, **query)
        assert (answer.status_code, answer.json()["code"]) == (400, code)

    tell(story)


def test_a_key_is_needed_and_may_be_read_only(tell: Callable[[Story], None]) -> None:
    async def story(at: Client) -> None:
        assert (await at.http.get("/api/list_snapshot")).status_code == 403
        key = at.backend.admin_keys.issue(read_only=True)
        headers = {"authorization": f"Convex {key}"}
        answer = await at.http.get("/api/list_snapshot", headers=headers)
        assert answer.status_code == 200

    tell(story)


def test_records_of_other_systems_come_in(tell: Callable[[Story], None]) -> None:
    """The requests of Airbyte's destination, in the order in which it makes them."""
    base = "/api/streaming_import/"

    async def story(at: Client) -> None:
        indexes = {"indexes": {"users": [["id"]]}}
        added = await at.http.put(
            base + "add_primary_key_indexes", json=indexes, headers=at.headers
        )
        ready = await get(at, base + "primary_key_indexes_ready")
        assert added.status_code == 200 and ready.json() == {"indexesReady": True}
        schema = (await get(at, base + "get_schema")).json()
        assert [table["tableName"] for table in schema["tables"]] == ["notes"]
        body = {
            "tables": {"users": {"primaryKey": [["id"]], "jsonSchema": {}}},
            "messages": [{"tableName": "users", "data": {"id": 1, "name": "ada"}}] * 2,
        }
        assert (await at.post(base + "import_airbyte_records", body)).status_code == 200
        (row,) = (await get(at, "/api/list_snapshot", tableName="users")).json()["values"]
        assert row["name"] == "ada"
        cleared = await at.http.put(
            base + "clear_tables", json={"tableNames": ["users"]}, headers=at.headers
        )
        assert cleared.status_code == 200
        page = (await get(at, "/api/list_snapshot", tableName="users")).json()
        assert page["values"] == []
        refused = await at.post(base + "replace_tables", {})
        assert refused.json()["code"] == "OverwriteNotSupported"
        key = at.backend.admin_keys.issue(read_only=True)
        headers = {"authorization": f"Convex {key}"}
        denied = await at.http.post(base + "import_airbyte_records", json=body, headers=headers)
        assert denied.status_code == 403

    tell(story)
