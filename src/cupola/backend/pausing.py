"""Pausing a deployment: its functions do not run until it is resumed.

Calls get an error at once, live queries show it, scheduled functions wait, and cron jobs are
skipped. Functions of the system, pushes, files, exports and imports go on. What is running when it
is paused runs on, but what it calls does not. That a deployment is paused is a document, so it is
still so after a restart.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cupola.auth import Identity
from cupola.backend.calls import CallRequest
from cupola.database.catalog import DEPLOYMENT
from cupola.database.load import load_documents
from cupola.errors import BadRequestError
from cupola.system.deployment import CHANGE_STATE, is_paused
from cupola.values import encode

if TYPE_CHECKING:
    from cupola.backend.backend import Backend

_LOG = logging.getLogger("cupola")
_SYSTEM = Identity("admin")


class Pausing:
    """Of one deployment. Used on the loop's thread."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        backend.node.is_paused = self._is_stored()

    async def pause(self) -> None:
        """Returns when it is durable. Pausing again changes nothing."""
        await self._change(paused=True)

    async def resume(self) -> None:
        """Raises: BadRequestError: It is not paused."""
        await self._change(paused=False)

    async def _change(self, *, paused: bool) -> None:
        backend = self._backend
        args = encode({"paused": paused})
        request = CallRequest("mutation", CHANGE_STATE, args, _SYSTEM, visibility="any")
        result = await backend.call(request)
        if result.value is None:
            raise result.error or BadRequestError(result.error_message or "")
        backend.node.is_paused = self._is_stored()
        _LOG.info("The deployment is %s.", "paused" if backend.node.is_paused else "running")
        backend.passes.everything_stale()
        backend.scheduler.paused_or_resumed()

    def _is_stored(self) -> bool:
        reader = self._backend.node.persistence.reader
        return is_paused(load_documents(reader, DEPLOYMENT).values())
