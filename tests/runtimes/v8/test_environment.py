"""What a query sees of the world: clocks stand still, randomness has a seed, nothing leaks."""

import pytest

pytestmark = pytest.mark.node


def test_clocks_stand_still(server):
    seen = server.query("messages:clock")
    now, imported_at = seen.pop("now"), seen.pop("importedAt")
    assert seen == {
        "same": True,
        "intl": True,
        "parts": True,
        "temporal": True,
        "zone": "UTC",
        "offset": 0,
        "text": "string",
        "subclass": True,
        "performance": True,
    }
    assert now == int(now) > 1_700_000_000_000
    assert imported_at == 1_700_000_000_000


def test_randomness_differs_between_runs_but_not_at_module_level(server):
    one = server.call("mutation", "messages:randomMutation").value
    two = server.call("mutation", "messages:randomMutation").value
    assert one != two


def test_nested_calls_have_randomness_of_their_own(server):
    assert len(set(server.mutation("messages:twoUuids"))) == 3


def test_random_values_have_their_shapes(server):
    seen = server.query("messages:random")
    assert 0 <= seen["a"] < 1
    assert seen["a"] != seen["b"]
    assert len(seen["uuid"]) == 36
    assert seen["uuid"][14] == "4"
    assert all(0 <= byte < 256 for byte in seen["bytes"])


def test_each_call_has_its_own_globals_and_module_state(server):
    assert server.mutation("messages:countedMutation") == 1
    assert server.mutation("messages:countedMutation") == 1
    assert server.mutation("messages:globalMutation") == [None, None, None]
    assert server.mutation("messages:globalMutation") == [None, None, None]


def test_a_timer_fails_the_call_even_where_it_is_caught(server):
    text = server.failure("query", "messages:timer")
    assert text.startswith("Uncaught Error: Can't use setTimeout in queries and mutations.")


def test_fetch_rejects_and_can_be_caught(server):
    assert server.query("messages:fetches").startswith("Can't use fetch() in queries and mutations")


def test_true_randomness_is_refused(server):
    assert "Can't use cryptographic randomness" in server.failure("query", "messages:generatesKey")


def test_environment_variables_are_those_of_the_deployment(server):
    assert server.query("messages:environment") == ["hello", None, 0, False]


def test_webassembly_runs(server):
    assert server.query("messages:compiled") == 5


def test_code_from_text_and_dynamic_imports_are_refused(server):
    assert server.query("messages:codeFromText") == ["EvalError", "EvalError"]
    assert server.query("messages:imports") == [True, "TypeError"]


LOGGED = """\
[LOG] 'a' {
  b: 1
} [ 1, 2, [ 'x' ] ] -0 5n undefined null
[WARN] [Error: boom] Map (1) {
  1 => {
    a: 2
  }
} Set (1) {
  's'
} [Function (anonymous)]
[ERROR] [
  {
    a: 1
  }
] 'it\\'s\\n' [Function: A] Symbol(s)"""


def test_console_lines_look_as_documented(server):
    assert "\n".join(server.logs("query", "messages:logs")) == LOGGED


def test_the_log_has_a_bound(server):
    lines = server.logs("query", "messages:manyLogs")
    assert len(lines) == 256
    assert lines[0] == "[LOG] 0"
    assert "Log overflow" in lines[-1]
