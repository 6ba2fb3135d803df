"""What a push would do to stored documents, told before it, and what they look like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from cupola.deploy.requests import StartPush
from cupola.deploy.samples import shapes_of_tables

from .conftest import Pushing, module, notes, schema

CODE = module(
    "notes.js",
    'export const add = mutation(async (args) => await insert("notes", args[0] ?? args));',
)


async def evaluated(pushing: Pushing, *tables: Any) -> Any:
    app = {"schema": schema(*tables), "udfServerVersion": "1.48.0"}
    push = msgspec.convert({"appDefinition": app}, StartPush)
    found = await pushing.deployer.evaluate_schema(push)
    assert found["newComponentDefinitions"] == []
    return found["componentSchemaEvaluations"][""]


async def add(pushing: Pushing, count: int) -> None:
    for number in range(count):
        result = await pushing.call("notes:add", b'{"body":"note %d"}' % number)
        assert result.ok, result.error_message


def test_a_push_is_told_what_it_would_build_drop_and_check(tell: Callable[..., None]) -> None:
    async def story(pushing: Pushing) -> None:
        await pushing.push(CODE, app={"schema": schema(notes(indexes=("old",)))})
        await add(pushing, 3)

        found = await evaluated(pushing, notes(indexes=("new",)))
        (table,) = found["tables"]
        assert (table["outcome"], table["numDocs"]) == ("supersetOfEnforced", 3)
        assert 150 < table["sizeBytes"] < 1500
        indexes = {
            each["name"]: (each["change"], each["needsBackfill"], each["numDocs"])
            for each in found["indexes"]
        }
        assert indexes == {"notes.new": ("added", True, 3), "notes.old": ("dropped", False, 3)}

        found = await evaluated(pushing, notes("number", indexes=("old",)))
        assert (found["tables"][0]["outcome"], found["indexes"]) == ("mustWalk", [])

    tell(story)


def test_a_new_table_has_nothing_to_walk_and_no_index_to_fill(tell: Callable[..., None]) -> None:
    async def story(pushing: Pushing) -> None:
        before = pushing.backend.status()["commits"]
        found = await evaluated(pushing, notes(indexes=("new",)))
        assert [(each["name"], each["numDocs"]) for each in found["tables"]] == [("notes", 0)]
        assert [each["needsBackfill"] for each in found["indexes"]] == [False]
        assert pushing.backend.status()["commits"] == before

    tell(story)


def test_shapes_are_those_of_the_stored_documents(tell: Callable[..., None]) -> None:
    async def story(pushing: Pushing) -> None:
        await pushing.push(CODE)
        await add(pushing, 2)
        assert (await pushing.call("notes:add", b'{"more":[1]}')).ok
        shapes = await shapes_of_tables(pushing.backend)
        fields = {each["fieldName"]: each for each in shapes["notes"]["fields"]}
        assert shapes.keys() == {"notes"}
        assert fields["_id"]["shape"] == {"type": "Id", "tableName": "notes"}
        assert fields["body"] == {
            "fieldName": "body",
            "optional": True,
            "shape": {"type": "String"},
        }
        assert fields["more"]["shape"]["type"] == "Array"

    tell(story)
