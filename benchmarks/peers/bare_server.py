"""The bare server's program: just enough of the sync protocol for the benches and a curious client.

uvicorn benchmarks.peers.bare_server:app --port 3210 --ws websockets-sansio
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import struct
import time
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

Version = tuple[int, int, int]  # query set, timestamp, identity
Topic = tuple[str, str]  # query function, and the argument that selects its data


class Store:
    """Everything there is, in dicts, and the newest timestamp."""

    def __init__(self) -> None:
        self.messages: dict[str, list[dict[str, Any]]] = {}
        self.counters: dict[str, int] = {}
        self.docs: dict[str, dict[int, dict[str, Any]]] = {}
        self.items: list[int] = []
        self.ts = time.time_ns()

    def query(self, function: str, args: Mapping[str, Any]) -> Any:
        match function:
            case "messages:list":
                return self.messages.get(args["channel"], [])[-50:]
            case "docs:list":
                return list(self.docs.get(args["group"], {}).values())
            case "items:range":
                lo, n = int(args["lo"]), int(args["n"])
                return [{"k": k, "body": "x" * 100} for k in self.items[lo : lo + n]]
            case "counters:get":
                return self.counters.get(args["name"], 0)
        raise KeyError(function)

    def mutate(self, function: str, args: Mapping[str, Any]) -> tuple[Any, Topic]:
        """The result, and the query that it makes stale."""
        self.ts += 1
        match function:
            case "messages:send" | "messages:seed":
                channel, count = args["channel"], int(args.get("count", 1))
                fields = {"channel": channel, "body": args["body"]}
                new = [self._document(i, fields) for i in range(count)]
                self.messages.setdefault(channel, []).extend(new)
                return None, ("messages:list", channel)
            case "counters:increment":
                name = args["name"]
                self.counters[name] = self.counters.get(name, 0) + 1
                return self.counters[name], ("counters:get", name)
            case "docs:seed":
                group, body = args["group"], "y" * int(args["size"])
                self.docs[group] = {
                    i: self._document(i, {"group": group, "i": i, "body": body})
                    for i in range(int(args["count"]))
                }
                return None, ("docs:list", group)
            case "docs:touch":
                self.docs[args["group"]][int(args["i"])]["body"] = args["body"]
                return None, ("docs:list", args["group"])
            case "items:insertMany":
                start = int(args["start"])
                self.items.extend(range(start, start + int(args["count"])))
                return None, ("items:range", "")
        raise KeyError(function)

    def _document(self, i: int, fields: Mapping[str, Any]) -> dict[str, Any]:
        return {"_id": f"d{self.ts}{i}", "_creationTime": time.time() * 1000, **fields}


store = Store()
live: dict[Topic, dict[Connection, set[int]]] = {}


def topic_of(function: str, args: Mapping[str, Any]) -> Topic:
    return function, args.get("channel") or args.get("group") or args.get("name") or ""


class Connection:
    """One socket: its version, its queries, and what waits to be sent."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._outbox: list[bytes] = []
        self._filled = asyncio.Event()
        self.version: Version = (0, 0, 0)
        self.topics: dict[int, Topic] = {}

    async def write(self) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            messages, self._outbox = self._outbox, []
            for message in messages:
                await self._websocket.send({"type": "websocket.send", "text": message.decode()})

    def send(self, message: bytes) -> None:
        self._outbox.append(message)
        self._filled.set()

    def transition(self, query_set: int, identity: int, modifications: list[bytes]) -> None:
        start, self.version = self.version, (query_set, store.ts, identity)
        self.send(
            b'{"type":"Transition","startVersion":%s,"endVersion":%s,"modifications":[%s]}'
            % (_version(start), _version(self.version), b",".join(modifications))
        )

    def receive(self, message: dict[str, Any]) -> None:
        match message:
            case {"type": "ModifyQuerySet", "newVersion": new, "modifications": modifications}:
                self.transition(new, self.version[2], [self._modify(m) for m in modifications])
            case {"type": "Mutation"}:
                self._mutate(message)
            case {"type": "Authenticate", "baseVersion": base}:
                self.transition(self.version[0], base + 1, [])

    def forget(self) -> None:
        for query in list(self.topics):
            self._remove(query)

    def _modify(self, modification: dict[str, Any]) -> bytes:
        query = modification["queryId"]
        if modification["type"] == "Remove":
            self._remove(query)
            return b'{"type":"QueryRemoved","queryId":%d}' % query
        function, args = modification["udfPath"].replace(".js:", ":"), modification["args"][0]
        self.topics[query] = topic = topic_of(function, args)
        live.setdefault(topic, {}).setdefault(self, set()).add(query)
        return _updated(query, orjson.dumps(store.query(function, args)))

    def _remove(self, query: int) -> None:
        connections = live.get(topic := self.topics.pop(query), {})
        connections[self].discard(query)
        if not connections[self]:
            del connections[self]
        if not connections:
            live.pop(topic, None)

    def _mutate(self, message: dict[str, Any]) -> None:
        request, args = message["requestId"], message["args"][0]
        try:
            result, topic = store.mutate(message["udfPath"].replace(".js:", ":"), args)
        except Exception as error:  # whatever went wrong is the answer
            failure = {"success": False, "result": repr(error), "logLines": []}
            self.send(orjson.dumps({"type": "MutationResponse", "requestId": request, **failure}))
            return
        self.send(
            b'{"type":"MutationResponse","requestId":%d,"success":true,"result":%s,"ts":"%s",'
            b'"logLines":[]}' % (request, orjson.dumps(result), _ts64(store.ts))
        )
        listeners = live.get(topic, {})
        if listeners:
            _, key = topic
            args = {"channel": key, "group": key, "name": key, "lo": 0, "n": 100}
            value = orjson.dumps(store.query(topic[0], args))
            for other, queries in listeners.items():
                query_set, _, identity = other.version
                other.transition(query_set, identity, [_updated(q, value) for q in queries])
        if self not in listeners:
            self.transition(self.version[0], self.version[2], [])


def _ts64(ts: int) -> bytes:
    return base64.b64encode(struct.pack("<Q", ts))


def _version(version: Version) -> bytes:
    query_set, ts, identity = version
    return b'{"querySet":%d,"ts":"%s","identity":%d}' % (query_set, _ts64(ts), identity)


def _updated(query: int, value: bytes) -> bytes:
    return b'{"type":"QueryUpdated","queryId":%d,"value":%s,"logLines":[],"journal":null}' % (
        query,
        value,
    )


async def sync(websocket: WebSocket) -> None:
    await websocket.accept()
    connection = Connection(websocket)
    writer = asyncio.ensure_future(connection.write())
    try:
        while (event := await websocket.receive())["type"] != "websocket.disconnect":
            connection.receive(orjson.loads(event.get("text") or event["bytes"]))
    finally:
        writer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await writer
        connection.forget()


async def query(request: Request) -> Response:
    call = orjson.loads(await request.body())
    args = call["args"][0] if isinstance(call["args"], list) else call["args"]
    value = orjson.dumps(store.query(call["path"], args))
    body = b'{"status":"success","value":%s,"logLines":[]}' % value
    return Response(body, media_type="application/json")


app = Starlette(
    routes=[
        WebSocketRoute("/api/{version}/sync", sync),
        WebSocketRoute("/api/sync", sync),
        Route("/api/query", query, methods=["POST"]),
    ]
)
