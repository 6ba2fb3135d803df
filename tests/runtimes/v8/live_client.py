"""The client's half of a sync connection, for tests that run on the backend's own loop."""

import asyncio
import json
import time
from uuid import uuid4

from cupola.sync.client_session import ClientSession, ResultsChanged
from cupola.sync.effects import Send
from cupola.values import decode


class Client:
    """The client's half of a sync connection, on the same loop."""

    def __init__(self, server) -> None:
        self._session = ClientSession(uuid4())
        self._changed = asyncio.Event()
        self.values: dict[int, list] = {}
        self._host = server.backend.open_session(self)
        self._carry_out(self._session.opened(time.time_ns() // 1_000_000))

    def send(self, *frames: bytes) -> None:
        for frame in frames:
            asyncio.get_running_loop().call_soon(self._receive, bytes(frame))

    def close(self, code, reason) -> None:
        raise AssertionError(reason)

    def _receive(self, frame: bytes) -> None:
        self._carry_out(self._session.receive(frame))

    def _carry_out(self, effects) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._host.receive(effect.frame)
            elif isinstance(effect, ResultsChanged):
                for query_id in effect.query_ids:
                    result = self._session.results[query_id]
                    value = result.error_message if result.value is None else decode(result.value)
                    self.values.setdefault(query_id, []).append(value)
                self._changed.set()

    def subscribe(self, path: str, **args) -> int:
        query_id, effects = self._session.subscribe(path, json.dumps(args).encode())
        self._carry_out(effects)
        return query_id

    async def until(self, holds) -> None:
        async with asyncio.timeout(30):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    def leave(self) -> None:
        self._host.disconnected()
