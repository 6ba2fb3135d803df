"""How an action runs: as a coroutine of whichever loop it was given to."""

from __future__ import annotations

from typing import Any

from cupola.functions.context import ActionCaller, ActionCtx
from cupola.functions.deadline import action_deadline, is_own_cancellation
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
        async with action_deadline(limits):
            result = await function.handler(ActionCtx(caller), **kwargs)
        return Execution(encode_result(function, result, limits), None, logs.lines)
    except BaseException as error:  # whatever user code raises is its result, not our failure
        if is_own_cancellation(error):
            raise
        return Execution(None, error, logs.lines)
