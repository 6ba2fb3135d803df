"""What the published command line reads, from a Python app: live, and for administrators only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cupola.errors import CupolaError
from cupola.system.deployment import UPDATE_ENVIRONMENT
from cupola.testing import Deployment

SCHEMA = """
    class Note(Table, name="notes", indexes={"by_body": ["body"]}):
        body: str
"""
NOTES = """
    from .schema import Note

    @query
    def list(ctx: QueryCtx, limit: int = 10) -> list[Note]:
        return ctx.db.query(Note).take(limit)

    @mutation
    def add(ctx: MutationCtx, body: str) -> Id[Note]:
        return ctx.db.insert(Note(body=body))

    @internal_action
    async def later(ctx: ActionCtx, **args: Any) -> None:
        pass
"""
PAGE = {"cursor": None, "numItems": 10_000}


@pytest.fixture
def app(write_app: Callable[..., Path]) -> Iterator[Deployment]:
    folder = write_app(
        schema=SCHEMA, notes="from typing import Any\n" + NOTES.replace("\n    ", "\n")
    )
    with Deployment(folder) as deployment:
        yield deployment


def ask(app: Deployment, path: str, /, **args: Any) -> Any:
    return app.as_admin().query(f"_system/cli/{path}", **args)


def test_tables_and_their_documents_come_in_pages(app: Deployment) -> None:
    for number in range(5):
        app.mutation("notes:add", body=f"note {number}")
    assert ask(app, "tables:default", paginationOpts=PAGE)["page"] == [{"name": "notes"}]

    first = ask(
        app, "tableData", table="notes", order="desc", paginationOpts={**PAGE, "numItems": 3}
    )
    assert [note["body"] for note in first["page"]] == ["note 4", "note 3", "note 2"]
    assert not first["isDone"]
    rest = {"cursor": first["continueCursor"], "numItems": 3}
    second = ask(app, "tableData:default", table="notes", order="desc", paginationOpts=rest)
    assert [note["body"] for note in second["page"]] == ["note 1", "note 0"]
    assert second["isDone"]
    assert ask(app, "tableSize", tableName="notes") == 5
    assert ask(app, "tableSize", tableName="nothing") == 0


def test_no_page_is_too_large_for_one_call(app: Deployment) -> None:
    for number in range(1500):
        app.run(lambda ctx, number=number: ctx.db.insert("notes", {"body": str(number)}))
    page = ask(app, "tableData", table="notes", order="asc", paginationOpts=PAGE)
    assert len(page["page"]) == 1000 and not page["isDone"]


def test_watching_a_table_hears_of_every_change(app: Deployment) -> None:
    watcher = app.as_admin().connect()
    signals = watcher.subscribe("_system/cli/queryTable:default", tableName="notes")
    first = signals.value
    app.mutation("notes:add", body="x")
    assert signals.value != first


def test_the_spec_of_functions_has_validators_of_python(app: Deployment) -> None:
    add, later, listed = ask(app, "modules:apiSpec")
    assert add["identifier"] == "notes.js:add"
    assert add["functionType"] == "Mutation" and add["visibility"] == {"kind": "public"}
    assert add["args"] == {
        "type": "object",
        "value": {"body": {"fieldType": {"type": "string"}, "optional": False}},
    }
    assert add["returns"] == {"type": "id", "tableName": "notes"}
    assert later["functionType"] == "Action" and later["visibility"] == {"kind": "internal"}
    assert later["args"] == {"type": "any"}
    assert listed["args"]["value"]["limit"] == {"fieldType": {"type": "number"}, "optional": True}


def test_environment_variables_are_set_and_removed(app: Deployment) -> None:
    def update(*changes: dict[str, Any]) -> None:
        app.as_admin().mutation(UPDATE_ENVIRONMENT, changes=list(changes))

    live = app.as_admin().connect().subscribe("_system/cli/queryEnvironmentVariables:default")
    update({"name": "B", "value": "2"}, {"name": "A", "value": "1"})
    assert [(v["name"], v["value"]) for v in live.value] == [("A", "1"), ("B", "2")]
    update({"name": "A", "value": "3"}, {"name": "B", "value": None}, {"name": "C", "value": None})
    assert [(v["name"], v["value"]) for v in live.value] == [("A", "3")]
    assert ask(app, "queryEnvironmentVariables:get", name="A") == {"name": "A", "value": "3"}
    assert ask(app, "queryEnvironmentVariables:get", name="B") is None


@pytest.mark.parametrize("name", ["", "1A", "A-B", "CONVEX_CLOUD_URL", "A" * 257])
def test_bad_names_of_variables_change_nothing(app: Deployment, name: str) -> None:
    changes = [{"name": "GOOD", "value": "1"}, {"name": name, "value": "1"}]
    with pytest.raises(CupolaError, match="environment variable"):
        app.as_admin().mutation(UPDATE_ENVIRONMENT, changes=changes)
    assert ask(app, "queryEnvironmentVariables:default") == []


def test_nobody_else_may_ask(app: Deployment) -> None:
    """The words are those that the command line looks for."""
    with pytest.raises(CupolaError, match="do not have permission to perform this operation"):
        app.query("_system/cli/tables:default", paginationOpts=PAGE)
    with pytest.raises(CupolaError, match="do not have permission to perform this operation"):
        app.as_user("ada").mutation(UPDATE_ENVIRONMENT, changes=[])
