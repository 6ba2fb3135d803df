"""Calls of the system's own mutations, by which exports, imports and variables are noted."""

from __future__ import annotations

from typing import Any, Final

from cupola.auth import Identity
from cupola.backend import Backend, CallRequest
from cupola.errors import BadRequestError
from cupola.values import decode, encode

_SYSTEM: Final = Identity("admin")


async def call_system(backend: Backend, path: str, args: dict[str, Any]) -> Any:
    """Run a mutation of the system; what it returned.

    Raises: what it failed with.
    """
    request = CallRequest("mutation", path, encode(args), _SYSTEM, visibility="any")
    result = await backend.call(request)
    if result.value is None:
        raise result.error or BadRequestError(result.error_message or "")
    return decode(result.value)
