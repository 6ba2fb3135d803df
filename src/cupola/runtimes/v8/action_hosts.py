"""Which Deno process runs an action: several, so that one that takes all the memory ends few.

No bound of V8 holds for one thread of a process, so a process that grows too large is ended with
all that run in it. Nobody can tell then who was to blame: every function that was running is a
suspect, and runs in a process of its own until it has ended by itself once. So a function that
always runs out of memory ends others once, and later only itself.
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
_ALONE_WAIT_S = 1.0
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
        self._retiring: asyncio.TimerHandle | None = None

    @contextlib.asynccontextmanager
    async def host_for(self, path: str) -> AsyncIterator[ActionHost]:
        """A process for one run of a function. What the body raises decides whether the function
        is a suspect from now on.
        """
        is_alone = path in self._suspects and await self._is_room_alone()
        place = self._alone_with() if is_alone else self._among_others()
        try:
            async with place as host:
                yield host
        except DeveloperError as error:
            if error.code == ENDED:
                self._suspect(path)
            else:
                self._suspects.pop(path, None)
            raise
        self._suspects.pop(path, None)

    async def _is_room_alone(self) -> bool:
        """Takes a place. Who holds one may wait for another suspect that it has called, so nobody
        waits for long.
        """
        try:
            async with asyncio.timeout(_ALONE_WAIT_S):
                return await self._alone.acquire()
        except TimeoutError:
            return False

    @contextlib.asynccontextmanager
    async def _alone_with(self) -> AsyncIterator[ActionHost]:
        """A process of its own, in a place that was taken."""
        try:
            host = self._make()
            await host.start()
            try:
                yield host
            finally:
                host.close()
        finally:
            self._alone.release()

    @contextlib.asynccontextmanager
    async def _among_others(self) -> AsyncIterator[ActionHost]:
        try:
            yield await self._shared()
        finally:
            if len(self._hosts) > 1 and self._retiring is None:
                loop = asyncio.get_running_loop()
                self._retiring = loop.call_later(_IDLE_S, self._retire)

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
        self._retiring = None
        for host in self._hosts[1:]:
            if host.load == 0:
                self._hosts.remove(host)
                host.close()
        if len(self._hosts) > 1:
            self._retiring = asyncio.get_running_loop().call_later(_IDLE_S, self._retire)
