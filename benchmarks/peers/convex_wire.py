"""One user of any server that speaks the Convex sync protocol: WebSocket, and HTTP for reads.

Raw on purpose, so that little of the generator's time is measured; that the published clients agree
with it is what `tests/conformance` is for.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any, Self

import orjson

from benchmarks.peers import Args, OnResult
from benchmarks.wire import HttpConnection, WebSocket

CLIENT_VERSION = "1.48.0"
HOST = "127.0.0.1"


class SyncClient:
    """Subscribes and mutates over one socket; opens an HTTP connection when it first needs one."""

    _socket: WebSocket

    def __init__(self, port: int) -> None:
        self._port = port
        self._http: HttpConnection | None = None
        self._query_set = 0
        self._next_query = 0
        self._next_request = 0
        self._live_query: int | None = None
        self._live_answer: asyncio.Future[None] | None = None
        self._first_results: dict[int, asyncio.Future[None]] = {}
        self._on_result: list[OnResult] = []
        self._responses: dict[int, asyncio.Future[None]] = {}
        self._chunks: dict[str, list[str]] = {}

    @classmethod
    async def open(cls, port: int) -> Self:
        client = cls(port)
        url = f"ws://{HOST}:{port}/api/{CLIENT_VERSION}/sync"
        client._socket = await WebSocket.open(url, client._on_message)
        client._send(
            type="Connect",
            sessionId=str(uuid.uuid4()),
            connectionCount=0,
            lastCloseReason="InitialConnect",
            clientTs=0,
        )
        return client

    @property
    def received_bytes(self) -> int:
        return self._socket.received_bytes

    async def subscribe(self, function: str, args: Args, on_result: OnResult) -> None:
        query = self._new_query()
        self._first_results[query] = first = asyncio.get_running_loop().create_future()
        self._on_result.append(on_result)
        self._modify([_add(query, function, args)])
        await asyncio.wait_for(first, 30)

    async def mutate(self, function: str, args: Args) -> None:
        request, self._next_request = self._next_request, self._next_request + 1
        self._responses[request] = response = asyncio.get_running_loop().create_future()
        self._send(type="Mutation", requestId=request, udfPath=function, args=[args])
        await response

    async def query(self, function: str, args: Args) -> bytes:
        if self._http is None:
            self._http = await HttpConnection.open(HOST, self._port)
        body = orjson.dumps({"path": function, "format": "json", "args": args})
        status, answer = await self._http.request("POST", "/api/query", body)
        if status != 200 or b'"status":"error"' in answer[:200]:
            raise RuntimeError(f"{status} {answer[:200]!r}")
        return answer

    async def query_live(self, function: str, args: Args) -> None:
        query = self._new_query()
        modifications = [_add(query, function, args)]
        if self._live_query is not None:
            modifications.insert(0, {"type": "Remove", "queryId": self._live_query})
        self._live_query = query
        self._live_answer = asyncio.get_running_loop().create_future()
        self._modify(modifications)
        await self._live_answer

    async def close(self) -> None:
        if self._http:
            self._http.close()
        await self._socket.close()

    def _new_query(self) -> int:
        query, self._next_query = self._next_query, self._next_query + 1
        return query

    def _modify(self, modifications: list[dict[str, Any]]) -> None:
        base, self._query_set = self._query_set, self._query_set + 1
        self._send(
            type="ModifyQuerySet",
            baseVersion=base,
            newVersion=self._query_set,
            modifications=modifications,
        )

    def _send(self, **message: Any) -> None:
        self._socket.send(orjson.dumps(message))

    def _on_message(self, message: bytes) -> None:
        """A Transition is handed on as bytes; everything else is small, and parsed."""
        if b'"Transition"' in message[:40]:
            self._on_transition(message)
            return
        match orjson.loads(message):
            case {"type": "MutationResponse", "requestId": request, "success": True}:
                self._responses.pop(request).set_result(None)
            case {"type": "MutationResponse", "requestId": request, "result": error}:
                self._responses.pop(request).set_exception(RuntimeError(str(error)[:300]))
            case {"type": "TransitionChunk", "transitionId": id, "chunk": text, **rest}:
                parts = self._chunks.setdefault(id, [])
                parts.append(text)
                if len(parts) == rest["totalParts"]:
                    self._on_message("".join(self._chunks.pop(id)).encode())
            case {"type": "FatalError" | "AuthError", "error": error}:
                self._fail(RuntimeError(str(error)[:300]))

    def _on_transition(self, message: bytes) -> None:
        if self._live_answer and b'"queryId":%d' % self._live_query in message:
            answer, self._live_answer = self._live_answer, None
            if b'"QueryFailed"' in message:
                answer.set_exception(RuntimeError(message[:300].decode()))
            else:
                answer.set_result(None)
        for query in [q for q in self._first_results if b'"queryId":%d' % q in message]:
            first = self._first_results.pop(query)
            if b'"QueryFailed"' in message:
                first.set_exception(RuntimeError(message[:300].decode()))
            else:
                first.set_result(None)
        for on_result in self._on_result:
            on_result(message)

    def _fail(self, error: Exception) -> None:
        for waiting in (*self._responses.values(), *self._first_results.values()):
            if not waiting.done():
                waiting.set_exception(error)


def _add(query: int, function: str, args: Args) -> dict[str, Any]:
    return {"type": "Add", "queryId": query, "udfPath": function, "args": [args]}
