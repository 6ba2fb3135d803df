"""Which Deno process runs an action: several, so that one that takes all the memory ends few.

No bound of V8 holds for one thread of a process, so a process that grows too large is ended with
all that run in it. Nobody can tell then who was to blame: every function that was running is a
suspect, and runs in a process of its own until it has ended well once. So a function that always
runs out of memory ends others once, and later only itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from cupola.errors import DeveloperError
from cupola.runtimes.v8.action_host import ENDED, ActionHost

_HOSTS_MAX = 4
_CALM = 8  # so many actions run in one process before another is started
_ALONE_MAX = 4
_SUSPECTS_MAX = 1000
_IDLE_S = 30.0


class ActionHosts:
    """The processes of one action worker."""

    def __init__(self, make: Callable[[], ActionHost]) -> None:
        """`make`: a process that is not started yet."""
        self._make = make
        self._hosts: list[ActionHost] = []
        self._starting = asyncio.Lock()
        self._alone = asyncio.Semaphore(_ALONE_MAX)
        self._suspects: dict[str, None] = {}

    @contextlib.asynccontextmanager
    async def host_for(self, path: str) -> AsyncIterator[ActionHost]:
        """A process for one run of a function. What the body raises decides whether the function
        is a suspect from now on.
        """
        if path in self._suspects:
            async with self._alone, self._own() as host:
                yield host
            del self._suspects[path]
            return
        host = await self._shared()
        try:
            yield host
        except DeveloperError as error:
            if error.code == ENDED:
                self._suspect(path)
            raise
        finally:
            asyncio.get_running_loop().call_later(_IDLE_S, self._retire)

    @contextlib.asynccontextmanager
    async def _own(self) -> AsyncIterator[ActionHost]:
        host = self._make()
        await host.start()
        try:
            yield host
        finally:
            host.close()

    async def _shared(self) -> ActionHost:
        async with self._starting:
            self._hosts = [host for host in self._hosts if not host.is_ended]
            calm = next((host for host in self._hosts if host.load < _CALM), None)
            if calm is not None:
                return calm
            if len(self._hosts) >= _HOSTS_MAX:
                return min(self._hosts, key=lambda host: host.load)
            host = self._make()
            await host.start()
            self._hosts.append(host)
            return host

    def _suspect(self, path: str) -> None:
        self._suspects[path] = None
        while len(self._suspects) > _SUSPECTS_MAX:
            del self._suspects[next(iter(self._suspects))]

    def _retire(self) -> None:
        """One process stays; others go when nothing runs in them any more."""
        for host in self._hosts[1:]:
            if host.load == 0:
                self._hosts.remove(host)
                host.close()
