"""What a session asks its host to do: the effects of a message, and the update to be computed."""

import msgspec

from cupola.sync.messages import TokenType


class Effect(msgspec.Struct, frozen=True):
    """Something that the host must carry out, in the order given."""


class Send(Effect, frozen=True):
    """Send this frame: one whole text message."""

    frame: bytes


class RunMutation(Effect, frozen=True):
    """Run a mutation, after those before it, as the identity of this moment; then answer it.

    The answer is `mutation_response` or `mutation_failure`.
    `args` is the JSON text of the arguments, an object unless the client is at fault (then the
    call fails).
    """

    request_id: int
    path: str
    args: bytes
    component_path: str | None


class RunAction(Effect, frozen=True):
    """Start an action at once, as the identity of this moment; then call `action_response`."""

    request_id: int
    path: str
    args: bytes
    component_path: str | None


class CheckIdentity(Effect, frozen=True):
    """Verify a token; then call `auth_accepted` or `auth_rejected`, now or later.

    `value` is the token or admin key, empty for "None"; `impersonating` the JSON text of the
    attributes of the user whom an admin acts for.
    """

    token_type: TokenType
    value: str
    impersonating: bytes | None


class ScheduleUpdate(Effect, frozen=True):
    """`update_due` is true now: begin an update when it suits."""


class Close(Effect, frozen=True):
    """Close the socket, after everything sent before. No code means a close frame without one."""

    code: int | None
    reason: str


class AddedQuery(msgspec.Struct, frozen=True):
    """A query to subscribe to; `args` as in RunMutation, `journal` from an earlier connection."""

    query_id: int
    path: str
    args: bytes
    journal: str | None
    component_path: str | None


class Update(msgspec.Struct, frozen=True):
    """What changed since the last update was begun.

    Attributes:
        added: Queries to run. The client waits for their outcomes, changed or not.
        removed: Queries to forget. Handle these before `added`: an id may be in both.
        identity_changed: All live queries must be looked at again, as the identity of this moment.
    """

    added: list[AddedQuery]
    removed: list[int]
    identity_changed: bool
