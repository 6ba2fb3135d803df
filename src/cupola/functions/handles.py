"""Function handles: strings that give whoever has one the right to call a function.

    function://COMPONENT;PATH;SEAL        `function://;messages:send;5f0c…` is of the app itself

A component may call only what it owns or uses; with a handle it calls back into whoever made it. So
handles must not be guessed: the seal is an HMAC (RFC 2104) under a key of the deployment. The same
function has the same handle as long as the deployment has its instance secret.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from cupola.errors import InvalidPathError
from cupola.values import qualified, split_qualified

_SCHEME: Final = "function://"
_SEAL_BYTES: Final = 16


def handle_key(secret: bytes) -> bytes:
    """The key of a deployment's handles, which says nothing of its secret."""
    return hmac.digest(secret, b"cupola function handle", hashlib.sha256)


class FunctionHandles:
    """Makes and reads the handles of one deployment."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def handle_of(self, path: str) -> str:
        """The handle of the function at a qualified path."""
        component, name = split_qualified(path)
        return f"{_SCHEME}{component};{name};{self._seal(path)}"

    def path_in(self, handle: str) -> str:
        """The qualified path of the function that a handle stands for.

        Raises:
            InvalidPathError: It was not made here.
        """
        component, _, rest = handle.removeprefix(_SCHEME).partition(";")
        name, _, seal = rest.partition(";")
        path = qualified(component, name)
        is_ours = handle.startswith(_SCHEME) and hmac.compare_digest(
            seal.encode(), self._seal(path).encode()
        )
        if not is_ours:
            raise InvalidPathError(f"{handle[:200]!r} is no function handle of this deployment.")
        return path

    def _seal(self, path: str) -> str:
        return hmac.digest(self._key, path.encode(), hashlib.sha256)[:_SEAL_BYTES].hex()
