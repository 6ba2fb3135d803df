"""What a tool asks for: tables, columns, and nothing that makes no sense."""

from __future__ import annotations

from typing import Any

import pytest

from cupola.deploy.streaming.export import Change, document_json
from cupola.deploy.streaming.selection import FORMS, Selection, form_named
from cupola.errors import BadRequestError

BODY = b'{"_id":"x","a":1.0,"b":{"$integer":"BQAAAAAAAAA="}}'


@pytest.mark.parametrize(
    ("tree", "tables"),
    [
        (None, ["a", "b"]),
        ({"_other": "included"}, ["a", "b"]),
        ({"_other": "excluded"}, []),
        ({"_other": "excl", "": {"_other": "excl", "a": {"_other": "incl"}}}, ["a"]),
        ({"": {"_other": "included", "a": "excluded"}}, ["b"]),
        ({"": {"a": {"_other": "excluded"}}}, ["a"]),
    ],
)
def test_named_tables_decide_and_the_rest_follows(tree: Any, tables: list[str]) -> None:
    selection = Selection(tree)
    assert [name for name in ("a", "b") if selection.has(name)] == tables


def test_columns_are_left_out_but_for_the_id() -> None:
    tree = {"": {"_other": "included", "t": {"_other": "included", "a": "excluded"}}}
    change = Change("t", 5, "x", BODY)
    text = document_json(change, Selection(tree), FORMS["convex_encoded_json"])
    assert text == b'{"_id":"x","b":{"$integer":"BQAAAAAAAAA="}}'
    only_id = {"": {"t": {"_other": "excluded"}}}
    assert document_json(change, Selection(only_id), FORMS["json"]) == b'{"_id":"x"}'


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (None, b'{"_id":"x","a":1.0,"b":"5"}'),
        ("json", b'{"_id":"x","a":1.0,"b":"5"}'),
        ("export_json", b'{"_id":"x","a":1.0,"b":5}'),
        ("convex_encoded_json", BODY),
    ],
)
def test_values_are_written_as_asked(name: str | None, text: bytes) -> None:
    assert document_json(Change("t", 5, "x", BODY), Selection(), form_named(name)) == text


@pytest.mark.parametrize(
    "wanted",
    [
        {"tree": 7},
        {"tree": {"_other": "maybe"}},
        {"tree": {"": 5}},
        {"tree": {}, "table": "t"},
        {"component": "other"},
    ],
)
def test_a_selection_that_makes_no_sense_is_refused(wanted: Any) -> None:
    with pytest.raises(BadRequestError) as caught:
        Selection.of(**wanted).has("t")
    assert caught.value.code == "BadSelection"


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(BadRequestError) as caught:
        form_named("xml")
    assert caught.value.code == "BadFormat"
