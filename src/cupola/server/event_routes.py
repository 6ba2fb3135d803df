"""The history of a deployment over HTTP (spec: deploy API, section 15). It needs an admin key,
which may be read-only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from cupola.auth import Identity
from cupola.backend import Backend, CallRequest
from cupola.errors import BadRequestError
from cupola.server.messages import Request, Response
from cupola.system.event_queries import LIST
from cupola.values import clean_from_encoded, encode

Handler = Callable[[Request], Awaitable[Response]]

_LIMIT_DEFAULT = "15"
_LIMIT_MAX = 100


class EventRoutes:
    """Handlers, by path and method in `routes`."""

    def __init__(self, backend: Backend, require_admin: Callable[[Request], None]) -> None:
        self._backend = backend
        self._require_admin = require_admin
        self.routes: dict[str, dict[str, Handler]] = {
            "/api/v1/list_audit_log_events": {"GET": self._list},
        }

    async def _list(self, request: Request) -> Response:
        """Events since `from` (ms), in order; at most `limit` of them, and where the next are."""
        self._require_admin(request)
        query = request.query()
        limit = min(_whole(query.get("limit", _LIMIT_DEFAULT), "limit"), _LIMIT_MAX)
        since = _whole(query.get("from", ""), "from")
        args = {"since": since, "limit": max(limit, 1), "cursor": query.get("cursor")}
        admin = Identity("admin")
        call = CallRequest("query", LIST, encode(args), admin, visibility="any")
        result = await self._backend.call(call)
        if result.value is None:
            raise result.error or BadRequestError(result.error_message or "")
        found = orjson.loads(clean_from_encoded(result.value))
        answer = {
            "items": [_item(event) for event in found["events"]],
            "pagination": {"hasMore": found["cursor"] is not None, "nextCursor": found["cursor"]},
        }
        return Response(200, orjson.dumps(answer))


def _item(event: dict[str, Any]) -> dict[str, Any]:
    """Who changed something is not known: admin keys have no names."""
    return {
        "actor": {"kind": "system"},
        "action": event["action"],
        "createTime": int(event["_creationTime"]),
        "metadata": event["metadata"],
        "clientIp": None,
        "clientUserAgent": None,
    }


def _whole(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise BadRequestError(
            f"`{name}` is a whole number, such as `?from=0&limit=100`; `from` is a time in "
            "milliseconds since 1970.",
            code="BadQueryArgs",
        )
    return int(text)
