"""What `cupola dev` prints of executions: enough to follow, and no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from cupola.backend import ExecutionLog
from cupola.cli.dev_screen import Screen, local_zone
from cupola.clock import ManualClock
from cupola.functions.app import App
from cupola.functions.bundles import AnalyzedFunction
from cupola.functions.javascript import JavaScriptFunction

AT_NOON_NS = 1_767_268_800 * 10**9  # 2026-01-01 12:00:00 UTC


def execution(path: str, *lines: str) -> ExecutionLog:
    return ExecutionLog("mutation", path, "0", 0.001, list(lines), None)


def test_repeats_within_a_second_are_folded_into_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A chat of fifty windows sends fifty heartbeats; what logs something is always shown."""
    clock = ManualClock(AT_NOON_NS)
    screen = Screen(Path(), clock)
    for _ in range(50):
        screen.executed(execution("presence:beat"))
    screen.executed(execution("presence:beat", "[LOG] 'late'"))
    screen.executed(execution("messages:send"))
    clock.advance(1)
    screen.executed(execution("messages:send"))

    lines = [line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()]

    assert lines == [
        "mutation presence:beat 1.0 ms",
        "mutation presence:beat 1.0 ms",
        "'late'",
        "mutation messages:send 1.0 ms",
        "mutation presence:beat 49 more times in that second",
        "mutation messages:send 1.0 ms",
    ]


@pytest.mark.parametrize(
    ("zone", "shown"),
    [("Asia/Tokyo", "21:00:00"), (None, "12:00:00"), ("no such zone", "12:00:00")],
)
def test_times_are_in_the_zone_of_who_reads_them(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    zone: str | None,
    shown: str,
) -> None:
    """The process itself keeps to UTC, so that functions answer alike everywhere."""
    if zone is None:
        monkeypatch.delenv("CUPOLA_LOCAL_TZ", raising=False)
    else:
        monkeypatch.setenv("CUPOLA_LOCAL_TZ", zone)
    Screen(Path(), ManualClock(AT_NOON_NS)).executed(execution("m:f"))
    assert capsys.readouterr().out.startswith(shown)


def test_an_empty_zone_is_the_machine_s() -> None:
    assert local_zone({"CUPOLA_LOCAL_TZ": ""}) is not None


def test_a_push_is_shown_with_what_it_brought(capsys: pytest.CaptureFixture[str]) -> None:
    """Functions of the app's folder are not counted: they came another way."""
    analyzed = AnalyzedFunction("list", "query", "public", None, None)
    pushed = JavaScriptFunction("messages.js", analyzed)
    Screen(Path(), ManualClock(AT_NOON_NS)).pushed(App({"messages:list": pushed}, {}))
    assert "Pushed 1 function in TypeScript" in capsys.readouterr().out
