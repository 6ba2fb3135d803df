"""Calls of the system's own mutations, by which exports, imports and variables are noted; and work
of its own that takes many transactions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from cupola.auth import Identity
from cupola.backend import Backend, CallRequest
from cupola.database.system_commits import Work
from cupola.errors import BadRequestError, OverloadedError
from cupola.values import decode, encode

_SYSTEM: Final = Identity("admin")
_RETRY_S: Final = 0.5


async def call_system(
    backend: Backend, path: str, args: dict[str, Any], *, is_patient: bool = False
) -> Any:
    """Run a mutation of the system; what it returned. `is_patient`: nobody waits who could try
    again, so wait for a place in the queue if it is full.

    Raises: what it failed with.
    """
    request = CallRequest("mutation", path, encode(args), _SYSTEM, visibility="any")
    result = await backend.call(request)
    while is_patient and isinstance(result.error, OverloadedError):
        await asyncio.sleep(_RETRY_S)
        result = await backend.call(request)
    if result.value is None:
        raise result.error or BadRequestError(result.error_message or "")
    return decode(result.value)


async def commit_all(backend: Backend, name: str, works: Iterable[Work]) -> None:
    """Commit each of `works`, in slices beside the calls; it goes on if the caller is cancelled.

    Returns once all of it is durable. Raises: what ended it early; what came before that stays.
    """
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def done(error: BaseException | None) -> None:
        if error is not None:
            ended.set_exception(error)
        else:
            backend.node.outbox.put(backend.node.head_ts, lambda: ended.set_result(None))

    backend.pushes.commit_in_slices(name, works, done)
    await asyncio.shield(ended)
