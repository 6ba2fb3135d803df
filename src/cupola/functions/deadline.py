"""How long an action may take, and whether it was cancelled itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from cupola.errors import DeveloperError
from cupola.limits import Limits


@contextlib.asynccontextmanager
async def action_deadline(limits: Limits) -> AsyncGenerator[None, None]:
    """Raises DeveloperError (FunctionTimeout) inside an action that takes too long. A TimeoutError
    of the action's own passes unchanged.
    """
    deadline = asyncio.timeout(limits.action_time_s)
    try:
        async with deadline:
            yield
    except TimeoutError:
        if not deadline.expired():
            raise
        raise DeveloperError(
            f"Function execution timed out (maximum duration: {limits.action_time_s:g}s).",
            code="FunctionTimeout",
        ) from None


def is_own_cancellation(error: BaseException) -> bool:
    """Whether the action that runs here was cancelled, and not something that it awaited."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
