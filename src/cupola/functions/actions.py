"""How an action runs: as a coroutine of whichever loop it was given to."""

from __future__ import annotations

import asyncio
from typing import Any

from cupola.errors import DeveloperError
from cupola.functions.context import ActionCaller, ActionCtx
from cupola.functions.definitions import Function
from cupola.functions.execution import Execution, bind_arguments, encode_result
from cupola.functions.log_lines import LogBuffer
from cupola.limits import Limits


async def run_action(
    function: Function[Any, Any],
    args: bytes,
    caller: ActionCaller,
    logs: LogBuffer,
    limits: Limits,
) -> Execution:
    """Run one action to its end, whatever that is."""
    try:
        kwargs = bind_arguments(function, args, limits)
        deadline = asyncio.timeout(limits.action_time_s)
        try:
            async with deadline:
                result = await function.handler(ActionCtx(caller), **kwargs)
        except TimeoutError:
            if not deadline.expired():
                raise
            raise DeveloperError(
                f"Function execution timed out (maximum duration: {limits.action_time_s:g}s).",
                code="FunctionTimeout",
            ) from None
        return Execution(encode_result(function, result, limits), None, logs.lines)
    except BaseException as error:  # whatever user code raises is its result, not our failure
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise  # this action itself was cancelled, and not something that it awaited
        return Execution(None, error, logs.lines)
