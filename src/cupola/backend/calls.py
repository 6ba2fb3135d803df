"""What callers ask of a backend, and what they get."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal, Protocol

from cupola.auth import ANONYMOUS, Identity
from cupola.errors import CupolaError
from cupola.sync.frames import Frame

CallKind = Literal["query", "mutation", "action", "any"]


@dataclasses.dataclass(frozen=True, slots=True)
class CallRequest:
    """One call of a function. `args` is the JSON text of the arguments object, not yet decoded."""

    kind: CallKind
    path: str
    args: bytes = b"{}"
    identity: Identity = ANONYMOUS
    request_id: str | None = None
    component_path: str | None = None
    at_ts: int | None = None
    visibility: Literal["public", "any"] = "public"
    job: str | None = None
    """The scheduled job that this call is part of."""


@dataclasses.dataclass(frozen=True, slots=True)
class CallResult:
    """How a call ended. All bytes are encoded JSON.

    `error` is the typed error behind a failure; transport-level ones (overload, retention, bad
    path) have their own HTTP status, the others are answers of the function.
    """

    ok: bool
    value: bytes | None
    log_lines: bytes
    ts: int
    error_message: str | None = None
    error_data: bytes | None = None
    error: CupolaError | None = None


Done = Callable[[CallResult], None]


class Channel(Protocol):
    """The transport of one sync connection, as the backend sees it."""

    def send(self, *frames: Frame) -> None:
        """Send whole text messages, one each; never blocks. `bytes(frame)` is the text."""
        ...

    def close(self, code: int | None, reason: str) -> None:
        """Close after everything sent before."""
        ...
