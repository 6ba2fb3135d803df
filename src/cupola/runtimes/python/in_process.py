"""Python queries and mutations as plain calls on the loop's thread: about a microsecond around user
code.

The guard makes the outside world stand still, the budget ends calls that keep the loop; what was
ended is thrown away (a query is pure, a mutation has only an overlay) and belongs in a worker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from cupola.errors import OperatorError
from cupola.functions.call import Call, NeedsWorker
from cupola.functions.context import MutationCtx, QueryCtx
from cupola.functions.definitions import Function, Kind
from cupola.functions.execution import Execution, execute
from cupola.functions.javascript import JavaScriptFunction
from cupola.runtimes.python import guard
from cupola.runtimes.python.budget import Budget, CallTooLong, never_interrupt
from cupola.runtimes.python.guarded_call import GuardedCall

__all__ = ["CallTooLong", "InProcessRuntime"]

_SYSTEM_TIME_S: Final = 5.0
"""How long a function of the system may keep the thread: no worker has those, and what they do is
bounded. Less than the time after which a server that stands still is started again."""


class InProcessRuntime:
    """Runs queries and mutations here and now. Belongs to the thread that makes it."""

    def __init__(self, time_s: float, environment: Mapping[str, str] | None = None) -> None:
        """`time_s`: how long one call may keep the thread."""
        self.budget = Budget()
        self.unguarded = guard.install(self.budget)
        self.time_s = time_s
        self.on_enter: Callable[[str], None] | None = None
        self.environment = dict(environment or {})

    def run(self, call: Call, function: Function[Any, Any], args: bytes) -> Execution:
        """Run a call to its end.

        Raises:
            CallTooLong: It kept the thread too long, or needs a worker; nothing of it counts.
        """
        if isinstance(function, JavaScriptFunction):
            return Execution(None, _no_workers(function), [])
        if self.on_enter is not None:
            self.on_enter(function.path)
        self.prepare(call)
        if function.is_systems:
            call.invoke = partial(self._invoke, time_s=_SYSTEM_TIME_S)
        context = MutationCtx if function.kind is Kind.MUTATION else QueryCtx
        try:
            return execute(call, function, args, context)
        except NeedsWorker:
            raise CallTooLong from None

    def prepare(self, call: Call) -> None:
        """Put guard and budget around the Python that runs in a call."""
        call.invoke = self._invoke
        call.interruption = self.budget

    def _invoke(self, call: Call, code: Callable[[], Any], time_s: float | None = None) -> Any:
        guarded = GuardedCall(
            call.now_ns,
            call.seed,
            call.kind.value,
            self.environment,
            call.logs.add,
        )
        budget = self.budget
        guard.enter(guarded)
        try:
            budget.enter(budget.deadline_after(self.time_s if time_s is None else time_s))
            value = code()
        finally:
            too_long = budget.leave()
            guard.leave()
            if guarded.observed_time:
                call.observe_time()
            if too_long:  # whatever the call made of the interruption
                raise CallTooLong
        return value


def _no_workers(function: JavaScriptFunction) -> OperatorError:
    return OperatorError(
        f"`{function.path}` is JavaScript, which runs in workers, and this deployment has none.",
        code="NoJavaScriptRuntime",
    )


# A tick that lands here, with a call around this one, would leave one of the two behind.
never_interrupt(InProcessRuntime._invoke, guard.enter, guard.leave)
