"""What dashboards read and write: the app's data through their filters, schemas, functions."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cupola.errors import CupolaError
from cupola.testing import Deployment

SCHEMA = """
    class Note(
        Table,
        name="notes",
        indexes={"by_rank": ["rank"], "search_body": TextIndex("body", filters=["rank"])},
    ):
        body: str
        rank: float | None = None
"""
NOTES = """
    @query
    def count(ctx: QueryCtx, table: str) -> float:
        return len(ctx.db.query(table).collect())
"""


@pytest.fixture
def app(write_app: Callable[..., Path]) -> Iterator[Deployment]:
    with Deployment(write_app(schema=SCHEMA, notes=NOTES)) as deployment:
        yield deployment


def ask(app: Deployment, path: str, /, **args: Any) -> Any:
    return app.as_admin().query(f"_system/frontend/{path}", **args)


def tell(app: Deployment, path: str, /, **args: Any) -> Any:
    return app.as_admin().mutation(f"_system/frontend/{path}", **args)


def add(app: Deployment, *ranks: float | None) -> list[Any]:
    documents = [{"body": f"rank {rank}", "rank": rank} for rank in ranks]
    assert tell(app, "addDocument:default", table="notes", documents=documents) == {"success": True}
    return bodies(app, {"order": "asc"}, "_id")


def bodies(app: Deployment, filters: dict[str, Any] | None, field: str = "rank") -> list[Any]:
    text = base64.b64encode(json.dumps(filters).encode()).decode() if filters else None
    options = {"cursor": None, "numItems": 100}
    page = ask(
        app,
        "paginatedTableDocuments:default",
        table="notes",
        filters=text,
        paginationOpts=options,
    )
    return [document[field] for document in page["page"]]


def clause(field: str, op: str, value: Any, **more: Any) -> dict[str, Any]:
    return {"field": field, "op": op, "value": value, **more}


def test_documents_come_newest_first_unless_told_otherwise(app: Deployment) -> None:
    add(app, 1.0, 2.0, 3.0)
    assert bodies(app, None) == [3.0, 2.0, 1.0]
    assert bodies(app, {"order": "asc"}) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("clauses", "shown"),
    [
        ([clause("rank", "eq", 2)], [2.0]),
        ([clause("rank", "neq", 2)], [None, 1.0, 3.0]),
        ([clause("rank", "gte", 2)], [2.0, 3.0]),
        ([clause("rank", "gt", 1), clause("rank", "lt", 3)], [2.0]),
        ([clause("rank", "anyOf", [1, 3])], [1.0, 3.0]),
        ([clause("rank", "noneOf", [1, 3])], [None, 2.0]),
        ([clause("rank", "type", "null")], [None]),
        ([clause("_id", "type", "id")], [None, 1.0, 2.0, 3.0]),
        ([clause("body", "type", "string")], [None, 1.0, 2.0, 3.0]),
        ([clause("nothing", "type", "unset")], [None, 1.0, 2.0, 3.0]),
        ([clause("rank", "eq", 2, enabled=False)], [None, 1.0, 2.0, 3.0]),
    ],
)
def test_clauses_filter(app: Deployment, clauses: list[dict[str, Any]], shown: list[Any]) -> None:
    add(app, None, 1.0, 2.0, 3.0)
    assert bodies(app, {"order": "asc", "clauses": clauses}) == shown


def test_an_index_narrows(app: Deployment) -> None:
    add(app, 3.0, 1.0, 2.0, None)
    bounds = {"type": "indexRange", "enabled": True, "lowerOp": "gt", "lowerValue": 1}
    index = {"name": "by_rank", "clauses": [bounds]}
    assert bodies(app, {"order": "asc", "index": index}) == [2.0, 3.0]
    equal = {"name": "by_rank", "clauses": [{"type": "indexEq", "enabled": True, "value": 3}]}
    assert bodies(app, {"index": equal}) == [3.0]


def test_a_text_index_searches(app: Deployment) -> None:
    add(app, 3.0, 1.0, 30.0)
    index: dict[str, Any] = {"name": "search_body", "search": "rank 3", "clauses": []}
    assert sorted(bodies(app, {"index": index})) == [1.0, 3.0, 30.0]
    rank = {"field": "rank", "enabled": True, "value": 3}
    assert bodies(app, {"index": {**index, "search": "3", "clauses": [rank]}}) == [3.0]
    assert bodies(app, {"index": {**index, "search": "4"}}) == []


def test_a_filter_that_is_none_is_refused(app: Deployment) -> None:
    options = {"cursor": None, "numItems": 100}
    with pytest.raises(CupolaError, match="filter makes no sense"):
        ask(
            app,
            "paginatedTableDocuments:default",
            table="notes",
            filters="%%%",
            paginationOpts=options,
        )


def test_documents_are_changed_under_the_schema(app: Deployment) -> None:
    first, second = add(app, 1.0, 2.0)
    patched = tell(
        app, "patchDocumentsFields:default", table="notes", fields={"rank": 9.0}, ids=[first]
    )
    assert patched == {"success": True}
    assert ask(app, "getById:default", id=first)["rank"] == 9.0
    replaced = tell(app, "replaceDocument:default", id=second, document={"body": "new"})
    assert replaced == {"success": True}
    assert "rank" not in ask(app, "listById:default", ids=[{"id": second, "tableName": "notes"}])[0]

    both = [{"body": "fine"}, {"body": 7.0}]
    refused = tell(app, "addDocument:default", table="notes", documents=both)
    assert not refused["success"] and "does not match" in refused["error"]
    assert app.query("notes:count", table="notes") == 2

    gone = [{"id": first, "tableName": "notes"}, {"id": first, "tableName": "notes"}]
    assert tell(app, "deleteDocuments:default", toDelete=gone) == {"success": True}
    assert ask(app, "getById:default", id=first) is None
    assert ask(app, "getById:default", id="nonsense") is None
    assert ask(app, "tableSize:default", tableName="notes") == 1


def test_a_table_is_cleared_in_pages(app: Deployment) -> None:
    add(app, *[float(number) for number in range(700)])
    page = tell(app, "clearTablePage:default", tableName="notes", cursor=None)
    assert (page["deleted"], page["hasMore"]) == (500, True)
    page = tell(app, "clearTablePage:default", tableName="notes", cursor=None)
    assert (page["deleted"], page["hasMore"]) == (200, False)


def test_a_table_whose_documents_draw_each_other_along_is_cleared(
    write_app: Callable[..., Path],
) -> None:
    """What went with another document of the page is not deleted twice."""
    schema = """
        class Task(
            Table,
            name="tasks",
            indexes={"by_part_of": ["part_of"]},
            references={"part_of": "cascade"},
        ):
            part_of: "Id[Task] | None" = None
    """
    with Deployment(write_app(schema=schema, notes=NOTES)) as app:
        for _ in range(3):
            tell(app, "addDocument:default", table="tasks", documents=[{"part_of": None}])
        first, _, last = sorted(rows(app, "tasks"), key=lambda row: row["_creationTime"])
        fields = {"part_of": last["_id"]}
        told = {"table": "tasks", "ids": [first["_id"]], "fields": fields}
        assert tell(app, "patchDocumentsFields:default", **told) == {"success": True}
        page = tell(app, "clearTablePage:default", tableName="tasks", cursor=None)
        assert not page["hasMore"] and app.query("notes:count", table="tasks") == 0


def rows(app: Deployment, table: str) -> list[dict[str, Any]]:
    options = {"cursor": None, "numItems": 100}
    path = "paginatedTableDocuments:default"
    return list(ask(app, path, table=table, filters=None, paginationOpts=options)["page"])


def test_tables_schemas_and_indexes_are_told(app: Deployment) -> None:
    tell(app, "createTable:default", table="extra")
    assert sorted(ask(app, "getTableMapping:default").values()) == ["extra", "notes"]
    active = json.loads(ask(app, "getSchemas:default")["active"])
    assert [table["tableName"] for table in active["tables"]] == ["notes"]
    index, text = ask(app, "indexes:default", tableName="notes", tableNamespace=None)
    assert index == {
        "name": "by_rank",
        "staged": False,
        "fields": ["rank", "_creationTime"],
        "backfill": {"state": "done"},
    }
    assert text["fields"] == {"searchField": "body", "filterFields": ["rank"]}


def test_functions_are_told_by_module(app: Deployment) -> None:
    ((component, modules),) = ask(app, "modules:listForAllComponents")
    assert component is None
    ((path, module),) = modules
    assert path == "notes.js"
    assert [function["name"] for function in module["functions"]] == ["count"]
    validator = json.loads(ask(app, "modules:argsValidator", function="notes:count"))
    assert validator["value"]["table"]["fieldType"] == {"type": "string"}
    assert ask(app, "modules:argsValidator", function="notes:nothing") is None


def test_a_scan_shows_the_newest_documents(app: Deployment) -> None:
    add(app, 1.0, 2.0, 3.0)

    def scan(table: str, limit: float) -> list[Any]:
        found = ask(app, "listTableScan:default", table=table, limit=limit, componentId=None)
        return [document["rank"] for document in found]

    assert scan("notes", 2) == [3.0, 2.0]
    assert scan("notes", 10) == [3.0, 2.0, 1.0]
    for nothing in (0, -1, float("nan")):
        assert scan("notes", nothing) == []
    assert scan("no_such_table", 1) == scan("_tables", 1) == scan("", 1) == []


def test_a_scan_of_large_documents_is_cut_short(app: Deployment) -> None:
    large = [{"body": "x" * 400_000, "rank": float(number)} for number in range(4)]
    assert tell(app, "addDocument:default", table="notes", documents=large) == {"success": True}
    found = ask(app, "listTableScan:default", table="notes", limit=4)
    assert [document["rank"] for document in found] == [3.0, 2.0]


@pytest.mark.parametrize(
    "path",
    [
        "backendState:backendState",
        "deploymentState:deploymentState",
        "components:list",
        "getVersion:default",
        "convexCloudUrl:default",
        "convexSiteUrl:default",
        "deploymentEvents:lastPushEvent",
        "listAuthProviders:default",
        "listCronJobs:default",
        "listEnvironmentVariables:default",
        "listConfiguredSinks:default",
        "fileStorageV2:numFiles",
        "latestExport:default",
        "latestExport:canExportFileStorage",
        "snapshotImport:list",
    ],
)
def test_what_every_page_asks_is_answered(app: Deployment, path: str) -> None:
    ask(app, path)
