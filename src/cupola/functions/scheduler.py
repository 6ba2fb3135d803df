"""`ctx.scheduler`: functions that run later."""

from __future__ import annotations

import datetime
import math
from collections.abc import Awaitable, Mapping
from typing import Any, Final, Protocol

from cupola.errors import DeveloperError
from cupola.functions import jobs
from cupola.functions.call import Call
from cupola.functions.conversion import value_of
from cupola.functions.definitions import Function, path_of
from cupola.functions.execution import encode_arguments

SCHEDULE: Final = "_system/scheduling/jobs:schedule"
CANCEL: Final = "_system/scheduling/jobs:cancel"
OF_ACTIONS: Final = frozenset({SCHEDULE, CANCEL})
"""The system's mutations that an action may run."""


class Scheduler:
    """Schedules as part of the mutation: if it fails, nothing was scheduled."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def run_after(
        self,
        delay_s: float | datetime.timedelta,
        function: Function[Any, Any] | str,
        /,
        **args: Any,
    ) -> str:
        """Run a mutation or action in `delay_s` seconds; 0: once this mutation has committed.

        Returns: the id of a document that tells how it goes; see `ctx.db.system`.
        """
        return self._schedule(self._call.now_ns / 1e6 + delay_ms_of(delay_s), function, args)

    def run_at(
        self, when: datetime.datetime | float, function: Function[Any, Any] | str, /, **args: Any
    ) -> str:
        """Run a mutation or action at a time: a datetime with a time zone, or ms since 1970. Else
        as `run_after`.
        """
        return self._schedule(time_ms_of(when), function, args)

    def cancel(self, id: str) -> None:
        """Let a function not run, or not schedule any more if it is an action that runs. One that
        has ended stays as it is.
        """
        self._call.interruption.pause()
        try:
            jobs.cancel(self._call, id)
        finally:
            self._call.interruption.resume()

    def _schedule(
        self, time_ms: float, function: Function[Any, Any] | str, args: dict[str, Any]
    ) -> str:
        self._call.interruption.pause()
        try:
            return jobs.schedule(self._call, path_of(function), encode_arguments(args), time_ms)
        finally:
            self._call.interruption.resume()


class SystemCaller(Protocol):
    """How an action reaches the system's mutations."""

    def call_system(self, path: str, args: Mapping[str, Any]) -> Awaitable[Any]: ...


class ActionScheduler:
    """Schedules at once: it is durable when the call returns, whatever becomes of the action."""

    def __init__(self, caller: SystemCaller) -> None:
        self._caller = caller

    async def run_after(
        self,
        delay_s: float | datetime.timedelta,
        function: Function[Any, Any] | str,
        /,
        **args: Any,
    ) -> str:
        """Run a mutation or action in `delay_s` seconds. Returns: as in mutations."""
        return await self._schedule(delay=delay_ms_of(delay_s), function=function, args=args)

    async def run_at(
        self, when: datetime.datetime | float, function: Function[Any, Any] | str, /, **args: Any
    ) -> str:
        """Run a mutation or action at a time: a datetime with a time zone, or ms since 1970."""
        return await self._schedule(time=time_ms_of(when), function=function, args=args)

    async def cancel(self, id: str) -> None:
        """As in mutations."""
        await self._caller.call_system(CANCEL, {"id": id})

    async def _schedule(
        self, *, function: Function[Any, Any] | str, args: dict[str, Any], **when: float
    ) -> str:
        values = {name: value_of(item) for name, item in args.items()}
        request = {"function": path_of(function), "args": values, **when}
        return str(await self._caller.call_system(SCHEDULE, request))


def delay_ms_of(delay_s: object) -> float:
    """Raises: DeveloperError: It is no number of seconds from 0 on."""
    if isinstance(delay_s, datetime.timedelta):
        delay_s = delay_s.total_seconds()
    if (
        isinstance(delay_s, bool)
        or not isinstance(delay_s, int | float)
        or not 0 <= delay_s < math.inf
    ):
        raise DeveloperError(
            f"A delay is a number of seconds, 0 or more, not {delay_s!r}.",
            code="InvalidScheduledTime",
        )
    return float(delay_s) * 1000


def time_ms_of(when: object) -> float:
    """Raises: DeveloperError: It names no moment."""
    if isinstance(when, datetime.datetime) and when.tzinfo is not None:
        return when.timestamp() * 1000
    if isinstance(when, int | float) and not isinstance(when, bool) and math.isfinite(when):
        return float(when)
    raise DeveloperError(
        f"A time is a datetime with a time zone, or milliseconds since 1970, not {when!r}.",
        code="InvalidScheduledTime",
    )
