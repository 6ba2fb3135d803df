"""What a careful Python developer writes by hand: Starlette, asyncpg, LISTEN/NOTIFY, re-query.

There is one live query per distinct (function, arguments), shared by its subscribers. A NOTIFY for
its topic marks it dirty; it is re-run once (coalesced while in flight), serialised once, and put
into each subscriber's mailbox, where the latest value wins. With NAIVE=1 each re-runs its own.

What it does not give: dependency tracking (topics are named by hand, once in a trigger and once
beside the query), serialisable transactions, resumption after a reconnect, one consistent view
across two live queries, more than one process.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

NAIVE = os.environ.get("NAIVE") == "1"
SCHEMA = """
create table if not exists messages(
    id bigserial primary key, channel text not null, body text not null,
    at timestamptz not null default now());
create index if not exists messages_channel on messages(channel, id);
create table if not exists counters(name text primary key, value bigint not null);
create table if not exists docs(grp text, i int, body text not null, primary key(grp, i));
create table if not exists items(id bigserial primary key, k bigint not null, body text not null);
create index if not exists items_k on items(k);
create or replace function notify_message() returns trigger language plpgsql as
    $$ begin perform pg_notify('changes', 'm:' || new.channel); return null; end $$;
create or replace function notify_doc() returns trigger language plpgsql as
    $$ begin perform pg_notify('changes', 'd:' || new.grp); return null; end $$;
create or replace trigger messages_notify after insert or update on messages
    for each row execute function notify_message();
create or replace trigger docs_notify after insert or update on docs
    for each row execute function notify_doc();
"""

Args = Mapping[str, Any]
Rows = list[dict[str, Any]]
pool: asyncpg.Pool


# --- queries: each with the topic whose changes concern it ---


async def list_messages(connection: asyncpg.Connection, args: Args) -> Rows:
    rows = await connection.fetch(
        "select id, channel, body, at from messages where channel = $1 order by id desc limit 50",
        args["channel"],
    )
    return [{"id": r[0], "channel": r[1], "body": r[2], "at": r[3]} for r in reversed(rows)]


async def list_docs(connection: asyncpg.Connection, args: Args) -> Rows:
    statement = "select i, body from docs where grp = $1 order by i limit 100"
    return [{"i": r[0], "body": r[1]} for r in await connection.fetch(statement, args["group"])]


async def range_items(connection: asyncpg.Connection, args: Args) -> Rows:
    statement = "select k, body from items where k >= $1 order by k limit $2"
    rows = await connection.fetch(statement, args["lo"], args["n"])
    return [{"k": r[0], "body": r[1]} for r in rows]


Query = Callable[[asyncpg.Connection, Args], Awaitable[Rows]]
QUERIES: dict[str, tuple[Query, Callable[[Args], str]]] = {
    "messages:list": (list_messages, lambda args: "m:" + args["channel"]),
    "docs:list": (list_docs, lambda args: "d:" + args["group"]),
    "items:range": (range_items, lambda args: "items"),
}


# --- mutations: single statements commit by themselves, triggers notify ---


async def send_message(connection: asyncpg.Connection, args: Args) -> None:
    statement = "insert into messages(channel, body) values ($1, $2)"
    await connection.execute(statement, args["channel"], args["body"])


async def seed_messages(connection: asyncpg.Connection, args: Args) -> None:
    statement = "insert into messages(channel, body) select $1, $2 from generate_series(1, $3)"
    await connection.execute(statement, args["channel"], args["body"], args["count"])


async def increment(connection: asyncpg.Connection, args: Args) -> int:
    """Read, modify, write under a row lock."""
    name = args["name"]
    async with connection.transaction():
        value = await connection.fetchval(
            "select value from counters where name = $1 for update", name
        )
        if value is None:
            return await connection.fetchval(
                "insert into counters values ($1, 1)"
                " on conflict(name) do update set value = counters.value + 1 returning value",
                name,
            )
        await connection.execute("update counters set value = $2 where name = $1", name, value + 1)
        return value + 1


async def seed_docs(connection: asyncpg.Connection, args: Args) -> None:
    rows = [(args["group"], i, "y" * args["size"]) for i in range(args["count"])]
    await connection.executemany("insert into docs values ($1, $2, $3)", rows)


async def touch_doc(connection: asyncpg.Connection, args: Args) -> None:
    statement = "update docs set body = $3 where grp = $1 and i = $2"
    await connection.execute(statement, args["group"], args["i"], args["body"])


async def insert_items(connection: asyncpg.Connection, args: Args) -> None:
    keys = range(args["start"], args["start"] + args["count"])
    records = [(k, args["body"]) for k in keys]
    await connection.copy_records_to_table("items", records=records, columns=["k", "body"])


MUTATIONS: dict[str, Callable[[asyncpg.Connection, Args], Awaitable[Any]]] = {
    "messages:send": send_message,
    "messages:seed": seed_messages,
    "counters:increment": increment,
    "docs:seed": seed_docs,
    "docs:touch": touch_doc,
    "items:insertMany": insert_items,
}


async def mutate(function: str, args: Args) -> Any:
    async with pool.acquire() as connection:
        return await MUTATIONS[function](connection, args)


async def query(function: str, args: Args) -> bytes:
    async with pool.acquire() as connection:
        return orjson.dumps(await QUERIES[function][0](connection, args))


# --- live queries ---


class Connection:
    """A socket with a mailbox: the latest value of each key waits to be sent."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._mailbox: dict[object, bytes] = {}
        self._filled = asyncio.Event()
        self.live: dict[int, LiveQuery] = {}

    def put(self, key: object, message: bytes) -> None:
        self._mailbox[key] = message
        self._filled.set()

    async def write(self) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            mailbox, self._mailbox = self._mailbox, {}
            for message in mailbox.values():
                await self._websocket.send({"type": "websocket.send", "bytes": message})


class LiveQuery:
    """One (function, arguments) with everybody who watches it."""

    def __init__(self, key: str, function: str, args: Args) -> None:
        self.key, self.topic = key, QUERIES[function][1](args)
        self._function, self._args = function, args
        self.listeners: dict[tuple[int, int], tuple[Connection, int]] = {}
        self.running = self._dirty = False
        self.result: bytes | None = None

    async def run(self) -> None:
        """Run again, and once more if it was marked dirty meanwhile."""
        if self.running:
            self._dirty = True
            return
        self.running = True
        try:
            while True:
                self._dirty = False
                result = await query(self._function, self._args)
                if result != self.result:
                    self.result = result
                    self._push()
                if not self._dirty:
                    break
        finally:
            self.running = False

    def _push(self) -> None:
        for connection, number in self.listeners.values():
            connection.put(number, self.message(number))

    def message(self, number: int) -> bytes:
        return b'{"t":"data","id":%d,"value":%s}' % (number, self.result)


live_queries: dict[str, LiveQuery] = {}
by_topic: dict[str, set[LiveQuery]] = {}
tasks: set[asyncio.Task[None]] = set()


def on_notify(_connection: object, _pid: int, _channel: str, topic: str) -> None:
    for live in by_topic.get(topic, ()):
        task = asyncio.create_task(live.run())
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def subscribe(connection: Connection, number: int, function: str, args: Args) -> None:
    key = function + orjson.dumps(args, option=orjson.OPT_SORT_KEYS).decode()
    if NAIVE:
        key += f"#{id(connection)}"
    live = live_queries.get(key)
    if live is None:
        live = live_queries[key] = LiveQuery(key, function, args)
        by_topic.setdefault(live.topic, set()).add(live)
    live.listeners[id(connection), number] = connection, number
    connection.live[number] = live
    if live.result is not None:  # a newer one, if in flight, follows
        connection.put(number, live.message(number))
    elif not live.running:
        await live.run()


def unsubscribe(connection: Connection, number: int) -> None:
    live = connection.live.pop(number, None)
    if live is None:
        return
    live.listeners.pop((id(connection), number), None)
    if live.listeners:
        return
    live_queries.pop(live.key, None)
    by_topic[live.topic].discard(live)
    if not by_topic[live.topic]:
        del by_topic[live.topic]


# --- transport ---


async def answer_mutation(connection: Connection, message: dict[str, Any]) -> None:
    number = message["id"]
    try:
        value = await mutate(message["fn"], message["args"])
        answer = {"t": "ok", "id": number, "value": value}
    except Exception as error:  # whatever went wrong is the answer
        answer = {"t": "err", "id": number, "error": str(error)}
    connection.put(("m", number), orjson.dumps(answer))


async def receive(connection: Connection, message: dict[str, Any]) -> None:
    match message["t"]:
        case "sub":
            await subscribe(connection, message["id"], message["fn"], message["args"])
        case "unsub":
            unsubscribe(connection, message["id"])
        case "mut":
            await answer_mutation(connection, message)


async def sync(websocket: WebSocket) -> None:
    await websocket.accept()
    connection = Connection(websocket)
    writer = asyncio.create_task(connection.write())
    try:
        while (event := await websocket.receive())["type"] != "websocket.disconnect":
            await receive(connection, orjson.loads(event.get("text") or event["bytes"]))
    except WebSocketDisconnect:
        pass
    finally:
        writer.cancel()
        for number in list(connection.live):
            unsubscribe(connection, number)


async def answer_query(request: Request) -> Response:
    call = orjson.loads(await request.body())
    return Response(await query(call["fn"], call["args"]), media_type="application/json")


async def keep_session(_connection: object) -> None:
    """Instead of the pool's reset, a round trip per release: nothing here changes a session."""


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[None]:
    global pool
    dsn = os.environ["DSN"]
    pool = await asyncpg.create_pool(dsn, min_size=10, max_size=20, reset=keep_session)
    await pool.execute(SCHEMA)
    listener = await asyncpg.connect(dsn)
    await listener.add_listener("changes", on_notify)
    yield
    await listener.close()
    await pool.close()


app = Starlette(
    routes=[WebSocketRoute("/sync", sync), Route("/query", answer_query, methods=["POST"])],
    lifespan=lifespan,
)
