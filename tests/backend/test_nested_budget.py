"""A tick between the two things that end a nested call must not leave one of them undone."""

import signal
from typing import Any

import pytest

from cupola.runtimes.python import guard
from cupola.runtimes.python.in_process import InProcessRuntime


class Call:
    """As much of a call as `_invoke` looks at."""

    now_ns, seed = 0, b"seed"

    class kind:
        value = "query"

    class logs:
        add = staticmethod(lambda level, text: None)


def test_a_tick_while_a_nested_call_is_left_undoes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the clock would stand still for the engine itself, from then on."""
    runtime = InProcessRuntime(0.0)  # every call is past its deadline at once
    call: Any = Call()
    leave = guard.leave

    def leave_during_tick() -> None:
        runtime.budget._tick(signal.SIGALRM, _frame_of_invoke(runtime))
        leave()

    def outer() -> None:
        monkeypatch.setattr(guard, "leave", leave_during_tick)
        runtime._invoke(call, lambda: None)

    runtime._invoke(call, outer)
    monkeypatch.undo()
    assert guard._active is None
    assert not runtime.budget._outer


def _frame_of_invoke(runtime: InProcessRuntime) -> Any:
    class Frame:
        f_code = runtime._invoke.__func__.__code__  # type: ignore[attr-defined]

    return Frame()
