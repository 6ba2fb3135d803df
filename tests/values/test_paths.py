"""Function paths and identifiers."""

from __future__ import annotations

import pytest

from cupola.errors import InvalidPathError, SchemaError
from cupola.values import (
    FunctionPath,
    check_identifier,
    is_component_path,
    is_identifier,
    parse_function_path,
    qualified,
    split_qualified,
)

PATHS = [
    ("messages:list", "messages", "list", "messages:list"),
    ("messages.js:list", "messages", "list", "messages:list"),
    ("messages", "messages", "default", "messages:default"),
    ("messages.js", "messages", "default", "messages:default"),
    ("messages:default", "messages", "default", "messages:default"),
    ("ai/chat:ask", "ai/chat", "ask", "ai/chat:ask"),
    ("v1.2/chat.js:ask", "v1.2/chat", "ask", "v1.2/chat:ask"),
    ("_system/cli/tables:default", "_system/cli/tables", "default", "_system/cli/tables:default"),
    ("a" * 64 + ":_f1", "a" * 64, "_f1", "a" * 64 + ":_f1"),
]


@pytest.mark.parametrize(("text", "module", "function", "canonical"), PATHS)
def test_paths(text, module, function, canonical):
    path = parse_function_path(text)
    assert path == FunctionPath(module, function)
    assert str(path) == canonical
    assert parse_function_path(canonical) == path


BAD_PATHS = ["", ":", ":f", "m:", ".js:f", "m:f:g", "a:b/c", "/m:f", "m/:f", "a//b:f", "./m:f"]
BAD_PATHS += ["../m:f", "a/../m:f", "my-module:f", "m.ts:f", "m.js.js:f", "_/m:f", "m:1f", "m:__"]
BAD_PATHS += ["m:f.g", "m:f\n", "é:f", "m:é", "a" * 65 + ":f", "m:" + "f" * 65, "x" * 100_000]


@pytest.mark.parametrize("text", BAD_PATHS, ids=[text[:20] for text in BAD_PATHS])
def test_what_is_no_path_is_refused(text):
    with pytest.raises(InvalidPathError, match="is not a valid path to a Convex function") as error:
        parse_function_path(text)
    assert error.value.code == "BadConvexFunctionIdentifier"
    assert len(error.value.message) < 500


@pytest.mark.parametrize("name", ["a", "_a", "__1", "A1_", "x" * 64])
def test_identifiers(name):
    assert is_identifier(name)
    check_identifier(name, "table")


@pytest.mark.parametrize("name", ["", "_", "__", "1a", "a-b", "a b", "a\n", "é", "٣a", "x" * 65])
def test_what_is_no_identifier_is_refused(name):
    assert not is_identifier(name)
    with pytest.raises(SchemaError, match="cannot be the name of a table") as refusal:
        check_identifier(name, "table")
    assert refusal.value.code == "InvalidIdentifier"


def test_names_of_components_are_qualified_and_come_apart_again():
    assert qualified("", "messages:list") == "messages:list"
    assert qualified("a/b", "messages:list") == "a/b//messages:list"
    assert split_qualified("messages:list") == ("", "messages:list")
    assert split_qualified("a/b//messages:list") == ("a/b", "messages:list")
    with pytest.raises(InvalidPathError):
        parse_function_path("a/b//messages:list")


def test_a_component_path_is_names_joined_by_slashes():
    assert all(map(is_component_path, ("", "a", "a/b-c/D_1")))
    assert not any(map(is_component_path, ("/a", "a//b", "a/", "a b", "../a", "x" * 65)))
