"""What dashboards ask of a platform around the deployment: limits of usage, and log streams to
other services. There are none here, which is an honest answer to who lists them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from cupola.errors import BadRequestError
from cupola.server.messages import Request, Response

Handler = Callable[[Request], Awaitable[Response]]


class PlatformRoutes:
    """Handlers, by path and method in `routes`."""

    def __init__(self, require_admin: Callable[[Request], None]) -> None:
        self._require_admin = require_admin
        usage = {"metrics": {}, "seedStatus": "complete"}
        self.routes: dict[str, dict[str, Handler]] = {
            "/api/v1/list_usage_limits": {"GET": self._answering({"usageLimits": []})},
            "/api/v1/get_current_usage": {"GET": self._answering(usage)},
            "/api/v1/list_log_streams": {"GET": self._answering([])},
            "/api/v1/create_usage_limit": {"POST": self._refuse_limit},
            "/api/v1/create_log_stream": {"POST": self._refuse_stream},
        }

    def _answering(self, answer: Any) -> Handler:
        body = orjson.dumps(answer)

        async def handle(request: Request) -> Response:
            self._require_admin(request)
            return Response(200, body)

        return handle

    async def _refuse_limit(self, request: Request) -> Response:
        self._require_admin(request)
        raise BadRequestError(
            "Usage is not metered here, so there are no usage limits. What a call, a session or a "
            "deployment may use is bounded by the options that `docs/reference/limits.md` lists.",
            code="UsageLimitsNotSupported",
        )

    async def _refuse_stream(self, request: Request) -> Response:
        self._require_admin(request)
        raise BadRequestError(
            "This server sends no log streams to other services. Read "
            "`/api/stream_function_logs`, or what `cupola serve` prints.",
            code="LogStreamsNotSupported",
        )
