"""Warnings of calls that come near a limit: the same words in both languages."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cupola.functions.app import load_app
from cupola.functions.javascript import PushedCode
from cupola.functions.log_lines import LogBuffer
from cupola.functions.near_limits import _BOUNDS, CLIENT_GONE, code_of, warn_of_time
from cupola.limits import DEFAULT_LIMITS

from .conftest import HERE, Server

pytestmark = pytest.mark.node

SMALL = dataclasses.replace(
    DEFAULT_LIMITS,
    documents_read_max=100,
    documents_written_max=100,
    functions_scheduled_max=100,
    arguments_size_bytes_max=10_000,
    result_size_bytes_max=10_100,
    user_time_s=0.4,
    scheduled_arguments_bytes_max=40_000,
)


@pytest.fixture(scope="module")
def small(code: PushedCode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("small")
    (folder / "functions").mkdir()
    (folder / "functions" / "snakes.py").write_text((HERE / "functions.py.txt").read_text())
    server = Server(code, Path(folder) / "data.sqlite3", SMALL, load_app(folder))
    server.mutation("limits:writes", count=100)
    yield server
    server.close()


def warnings(server: Server, kind: str, path: str, **args: Any) -> list[str]:
    assert server.call(kind, path, **args).ok
    return server.logs(kind, path, **args)


CASES = [
    ("query", "reads", "documents_read_max: 80 of 100 documents read", {"count": 80}),
    ("mutation", "writes", "documents_written_max: 80 of 100 documents written", {"count": 80}),
    ("mutation", "schedules", "functions_scheduled_max: 80 of 100", {"count": 80}),
]


@pytest.mark.parametrize("module", ["limits", "snakes"])
@pytest.mark.parametrize(("kind", "name", "said", "args"), CASES)
def test_the_last_fifth_is_warned_of(
    small: Server, module: str, kind: str, name: str, said: str, args: dict[str, Any]
) -> None:
    assert warnings(small, kind, f"{module}:{name}", **args) == []
    (line,) = warnings(small, kind, f"{module}:{name}", count=81)
    assert line.startswith(f"[WARN] Near the limit {said.replace('80', '81')}")
    (line,) = warnings(small, kind, f"{module}:{name}", count=100)
    assert said.partition(":")[0] in line


@pytest.mark.parametrize("module", ["limits", "snakes"])
@pytest.mark.parametrize(("kind", "name"), [("query", "echoes"), ("action", "echoesOutside")])
def test_large_arguments_and_results_are_warned_of(
    small: Server, module: str, kind: str, name: str
) -> None:
    path = f"{module}:{name}"
    assert warnings(small, kind, path, text="x" * 7900) == []
    first, second = warnings(small, kind, path, text="x" * 9000)
    assert first.startswith("[WARN] Near the limit arguments_size_bytes_max: 9,0")
    assert second.startswith("[WARN] Near the limit result_size_bytes_max: 9,002 of 10,100 bytes")


@pytest.mark.parametrize("module", ["limits", "snakes"])
def test_one_function_that_is_scheduled_with_much_is_warned_of(small: Server, module: str) -> None:
    """A quarter of what all of them may have together."""
    assert warnings(small, "mutation", f"{module}:schedulesLarge", size=1000) == []
    (line,) = warnings(small, "mutation", f"{module}:schedulesLarge", size=12_000)
    assert line.startswith("[WARN] Near the limit scheduled_arguments_bytes_max: `")
    assert "bytes. Store large data" in line


def test_both_languages_say_the_same(small: Server) -> None:
    for kind, name, _, _ in CASES:
        paths = f"limits:{name}", f"snakes:{name}"
        said = [warnings(small, kind, path, count=90) for path in paths]
        assert said[0] == said[1] != []


@pytest.mark.parametrize("module", ["limits", "snakes"])
def test_a_slow_call_is_warned_of(small: Server, module: str) -> None:
    """A tenth more work each time: once it takes between 80 and 100 % of its time."""
    for _ in range(5):
        times = 1_000_000
        while (result := small.call("query", f"{module}:spins", times=times)).ok:
            if b"[WARN] Near the limit user_time_s: 0." in result.log_lines:
                return
            times = times * 11 // 10
        assert "timed out" in str(result.error_message)  # a busy machine: once more
    raise AssertionError("no warning in five tries")


def test_the_time_of_an_action_is_told_too() -> None:
    logs = LogBuffer(DEFAULT_LIMITS)
    warn_of_time(logs, DEFAULT_LIMITS, "action_time_s", 480.0)
    assert logs.lines == []
    warn_of_time(logs, DEFAULT_LIMITS, "action_time_s", 480.1)
    (line,) = logs.lines
    assert line.startswith("[WARN] Near the limit action_time_s: 480.1 of 600.0 seconds. ")


def test_log_streams_have_the_codes_of_the_reference() -> None:
    assert code_of("Near the limit bytes_read_max: 9 of 10") == "warning:TooManyBytesRead"
    assert code_of("Near the limit of my patience: 9") is None
    assert code_of("hello") is None
    unawaited = "2 unawaited operations: [runQuery, runQuery]. Async operations should be awaited"
    assert code_of(unawaited) == "warning:UnawaitedOperations"
    assert code_of("The response was cut off: Error: no") == "error:httpAction"
    assert code_of(CLIENT_GONE) == "info:httpActionClientDisconnect"
    fields = {field.name for field in dataclasses.fields(DEFAULT_LIMITS)}
    assert set(_BOUNDS) <= fields
