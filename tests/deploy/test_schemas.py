"""Tables of two languages in one schema, and what a push says that it changes."""

from __future__ import annotations

from typing import Any

import pytest

from cupola.backend import Backend
from cupola.clock import ManualClock
from cupola.deploy.schemas import index_diffs, joined_schema
from cupola.errors import SchemaError
from cupola.functions.app import App
from cupola.schema import ANY, SchemaDefinition


def table(name: str, kind: str = "string", indexes: dict[str, list[str]] | None = None) -> Any:
    def plain(staged: bool) -> list[Any]:
        return [
            {"indexDescriptor": index.removesuffix("!"), "fields": fields}
            for index, fields in (indexes or {}).items()
            if index.endswith("!") is staged
        ]

    fields = {name: {"fieldType": {"type": kind}, "optional": False} for name in ("a", "b")}
    return {
        "tableName": name,
        "indexes": plain(staged=False),
        "stagedDbIndexes": plain(staged=True),
        "documentType": {"type": "object", "value": fields},
    }


def schema(*tables: Any, validate: bool = True) -> SchemaDefinition:
    return SchemaDefinition.from_json({"schemaValidation": validate, "tables": list(tables)})


def test_tables_of_both_languages_are_one_schema() -> None:
    joined = joined_schema(schema(table("notes")), schema(table("rooms")))
    assert joined == schema(table("notes"), table("rooms"))


def test_one_language_alone_keeps_its_schema_as_it_is() -> None:
    pushed = schema(table("rooms"), validate=False)
    assert joined_schema(schema(), pushed) == pushed
    assert joined_schema(schema(table("notes")), None) == schema(table("notes"))


def test_a_table_may_be_declared_in_both_if_they_agree() -> None:
    python = schema(table("notes", indexes={"by_a": ["a"]}))
    pushed = schema(table("notes", indexes={"by_b": ["b"]}))
    expected = schema(table("notes", indexes={"by_a": ["a"], "by_b": ["b"]}))
    assert joined_schema(python, pushed) == expected


def test_rules_declared_in_python_hold_where_typescript_declares_the_plain_index() -> None:
    python = table("notes", indexes={"by_a": ["a"]})
    python["indexes"][0]["unique"] = True
    pushed = schema(table("notes", indexes={"by_a": ["a"]}))
    assert joined_schema(schema(python), pushed) == schema(python)


@pytest.mark.parametrize(
    "pushed",
    [table("notes", "number"), table("notes", indexes={"by_a": ["b"]})],
    ids=["fields", "indexes"],
)
def test_a_table_declared_in_two_ways_is_refused(pushed: Any) -> None:
    python = schema(table("notes", indexes={"by_a": ["a"]}))
    with pytest.raises(SchemaError, match="`notes`"):
        joined_schema(python, schema(pushed))


def test_unchecked_tables_of_typescript_do_not_uncheck_those_of_python() -> None:
    joined = joined_schema(schema(table("notes")), schema(table("rooms"), validate=False))
    assert joined.validate
    assert joined.tables["rooms"].document == ANY
    assert joined.tables["notes"] == schema(table("notes")).tables["notes"]


def test_the_index_diff_names_what_a_push_does() -> None:
    before = schema(
        table("notes", indexes={"same": ["a"], "gone": ["b"], "other": ["a", "b"]}),
        table("rooms", indexes={"late!": ["a"], "early": ["b"]}),
    )
    after = schema(
        table("notes", indexes={"same": ["a"], "other": ["b", "a"], "new!": ["b"]}),
        table("rooms", indexes={"late": ["a"], "early!": ["b"]}),
    )
    backend = Backend(clock=ManualClock())
    backend.deploy_now(App({}, {}, schema=before))

    diff = index_diffs(backend.node.committer.catalog, after, ())[""]
    assert {kind: [index["name"] for index in found] for kind, found in diff.items()} == {
        "added_indexes": ["notes.other", "notes.new"],
        "removed_indexes": ["notes.gone", "notes.other"],
        "enabled_indexes": ["rooms.late"],
        "disabled_indexes": ["rooms.early"],
    }
    assert diff["added_indexes"][1] == {
        "name": "notes.new",
        "type": "database",
        "fields": ["b", "_creationTime"],
        "staged": True,
    }
