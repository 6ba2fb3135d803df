"""Audit logs: what functions record about who did what, for both languages.

A body is a JSON object. Inside it, `{"$var": "ip"}` and the like stand for what is known only when
the entry is emitted: a query's result may be shared, and each caller it is shown to makes an entry
with their own address and time (spec: function runtime, section 6.3).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import msgspec

from cupola.auth import Identity
from cupola.errors import DeveloperError
from cupola.functions.log_lines import LogBuffer

_SENTINEL = "$var"
_NESTING_MAX = 32


class AuditVar(enum.Enum):
    """What stands in an audit log for something that is known when it is emitted."""

    IP = "ip"
    USER_AGENT = "userAgent"
    REQUEST_ID = "requestId"
    NOW = "now"
    """Milliseconds since 1970, by the real clock."""
    ADMIN = "convexActor"
    """Who the administrator is, if one has called, maybe acting as a user; else null."""


_VARIABLES = frozenset(each.value for each in AuditVar)


def audit(logs: LogBuffer, body: Any) -> None:
    """Add an entry to what a call leaves behind.

    Raises:
        DeveloperError (BadAuditLog): The body is no JSON object, or uses names that begin with `$`.
        LimitError (AuditLogTooLarge): The call has recorded too much.
    """
    if not isinstance(body, Mapping):
        raise _bad("its body must be an object")
    try:
        text = msgspec.json.encode(_checked(body, 0)).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise _bad(str(error)) from None
    logs.audit(text)


def _checked(value: Any, depth: int) -> Any:
    if depth > _NESTING_MAX:
        raise _bad(f"it is nested more than {_NESTING_MAX} levels deep")
    match value:
        case AuditVar():
            return {_SENTINEL: value.value}
        case Mapping():
            if _SENTINEL in value:
                if len(value) != 1 or value[_SENTINEL] not in _VARIABLES:
                    raise _bad(f"`{_SENTINEL}` is one of {', '.join(sorted(_VARIABLES))}")
                return dict(value)
            for name in value:
                if not isinstance(name, str) or name.startswith("$"):
                    raise _bad(f"its names are texts that do not begin with `$`, unlike {name!r}")
            return {name: _checked(each, depth + 1) for name, each in value.items()}
        case list() | tuple():
            return [_checked(each, depth + 1) for each in value]
        case None | bool() | int() | float() | str():
            return value
    raise _bad(f"a {type(value).__name__} is no JSON")


def resolved(text: str, identity: Identity, request_id: str, now_ns: int) -> str:
    """An entry as it is emitted, JSON on one line."""
    if _SENTINEL not in text:
        return text
    admin = None
    if identity.kind == "admin":
        admin = {"type": "admin", "isReadOnly": identity.read_only}
    values: dict[str, Any] = {
        "ip": identity.origin.ip,
        "userAgent": identity.origin.user_agent,
        "requestId": request_id,
        "now": now_ns // 1_000_000,
        "convexActor": admin,
    }

    def put_in(tree: Any) -> Any:
        match tree:
            case {"$var": name}:
                return values[name]
            case dict():
                return {name: put_in(each) for name, each in tree.items()}
            case list():
                return [put_in(each) for each in tree]
        return tree

    return msgspec.json.encode(put_in(msgspec.json.decode(text))).decode()


def _bad(reason: str) -> DeveloperError:
    return DeveloperError(f"This cannot be recorded in an audit log: {reason}.", code="BadAuditLog")
