"""API keys: an app that keeps users itself says whose they are, by one of its functions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from cupola.auth import ANONYMOUS
from cupola.backend.calls import CallRequest, CallResult
from cupola.errors import CupolaError, OperatorError, UnauthenticatedError
from cupola.values import decode, encode

if TYPE_CHECKING:
    from cupola.backend.backend import Backend


def exchange_api_key(
    backend: Backend, key: str, exchanged: Callable[[str | CupolaError], None]
) -> None:
    """A token of the user whom a key stands for. Asked anew each time: a revoked key is no key."""
    path = backend.app.api_key_exchange
    if path is None:
        exchanged(_refused("This app has no API keys."))
        return

    def done(result: CallResult) -> None:
        value = decode(result.value) if result.value is not None else None
        match value:
            case {"token": str(token)}:
                exchanged(token)
            case _ if result.ok:
                exchanged(_refused("This API key is unknown, or was revoked."))
            case _:
                exchanged(result.error or OperatorError(result.error_message or ""))

    secret_hash = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    args = encode({"secret_hash": secret_hash})
    backend.submit(CallRequest("mutation", path, args, ANONYMOUS, visibility="any"), done)


def _refused(text: str) -> UnauthenticatedError:
    return UnauthenticatedError(text, code="InvalidAuthHeader")
