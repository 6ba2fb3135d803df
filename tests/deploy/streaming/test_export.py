"""A mirror that follows the cursor equals the database, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from cupola.backend import Backend
from cupola.clock import ManualClock
from cupola.deploy.streaming.export import Change, StreamingExport, SyncPage
from cupola.deploy.streaming.selection import Selection
from cupola.errors import BadRequestError
from cupola.functions.app import App
from cupola.functions.definitions import Function, Kind, Visibility
from cupola.persistence import MemoryPersistence
from cupola.values import decode_canonical

from ..conftest import Pushing
from ..test_imports import app as importing_app
from ..test_imports import exported, load

Tell = Callable[..., None]
Mirror = dict[tuple[str, str], Any]
EVERYTHING = Selection()
TEXTS = ["x" * size for size in (0, 10, 1000, 3000)]


def churn(ctx: Any, seed: float) -> None:
    """Some inserts, patches and deletes, in several tables."""
    random = Random(seed)
    for _ in range(random.randint(1, 30)):
        table = random.choice(["pears", "apples", "plums"])
        found = ctx.db.query(table).take(40)
        chance = random.random()
        if not found or chance < 0.5:
            ctx.db.insert(table, {"n": random.random(), "text": random.choice(TEXTS)})
        elif chance < 0.8:
            ctx.db.patch(random.choice(found)["_id"], {"n": random.random()})
        else:
            ctx.db.delete(random.choice(found)["_id"])


def everything(ctx: Any) -> Any:
    return {table: ctx.db.query(table).collect() for table in ("pears", "apples", "plums")}


def app() -> App:
    return App(
        {
            "fruit:churn": Function(churn, Kind.MUTATION, Visibility.PUBLIC),
            "fruit:all": Function(everything, Kind.QUERY, Visibility.PUBLIC),
        },
        {},
    )


def apply(mirror: Mirror, values: list[Change]) -> None:
    for change in values:
        if change.body is None:
            mirror.pop((change.table, change.id))
        else:
            document: Any = decode_canonical(change.body)
            mirror[change.table, document["_id"]] = document


async def database(at: Pushing) -> Mirror:
    tables = await at.value("fruit:all")
    return {(name, row["_id"]): row for name, rows in tables.items() for row in rows}


def test_a_mirror_under_load_equals_the_database(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The snapshot is read while mutations go on; each page of deltas is whole transactions."""

    monkeypatch.setattr("cupola.deploy.streaming.export._PAGE_ROWS", 40)

    async def story(at: Pushing) -> None:
        export = StreamingExport(at.backend)
        ended = asyncio.Event()

        async def load_it() -> None:
            for seed in range(150):
                await at.value("fruit:churn", json.dumps({"seed": seed}).encode())
            ended.set()

        for seed in range(1000, 1060):
            await at.value("fruit:churn", json.dumps({"seed": seed}).encode())
        task = asyncio.create_task(load_it())
        mirror: Mirror = {}
        snapshot, cursor, pages = None, None, 0
        while True:
            page = export.list_snapshot(snapshot, cursor, EVERYTHING)
            assert all(change.ts <= page.snapshot for change in page.values)
            apply(mirror, page.values)
            snapshot, cursor, pages = page.snapshot, page.cursor, pages + 1
            if cursor is None:
                break
            await asyncio.sleep(0)
        assert pages > 5
        ts, times = snapshot, 0
        while True:
            done = ended.is_set()
            deltas = export.document_deltas(ts, EVERYTHING)
            assert [c.ts for c in deltas.values] == sorted(c.ts for c in deltas.values)
            assert all(ts < change.ts <= deltas.cursor for change in deltas.values)
            apply(mirror, deltas.values)
            assert deltas.cursor >= ts
            ts, times = deltas.cursor, times + 1
            if done and not deltas.has_more:
                break
            await asyncio.sleep(0)
        await task
        assert mirror == await database(at)
        assert times > 3

    tell(story, app())


def test_a_snapshot_stays_as_it_was(tell: Tell) -> None:
    """Its pages tell of one moment, though the documents have changed since and some are gone."""

    async def story(at: Pushing) -> None:
        export = StreamingExport(at.backend)
        for seed in range(30):
            await at.value("fruit:churn", json.dumps({"seed": seed}).encode())
        before = await database(at)
        first = export.list_snapshot(None, None, EVERYTHING)
        for seed in range(100, 160):
            await at.value("fruit:churn", json.dumps({"seed": seed}).encode())
        mirror: Mirror = {}
        apply(mirror, first.values)
        cursor = first.cursor
        while cursor is not None:
            page = export.list_snapshot(first.snapshot, cursor, EVERYTHING)
            apply(mirror, page.values)
            cursor = page.cursor
        assert mirror == before

    tell(story, app())


def test_the_whole_log_makes_the_database(tell: Tell) -> None:
    """From cursor 0 on, over tables that were emptied, given other numbers, and filled again."""

    async def story(at: Pushing) -> None:
        add = b'{"table": "%s", "document": {"n": %d}}'
        for number in range(3):
            await at.value("data:add", add % (b"first", number))
            await at.value("data:add", add % (b"second", number))
        data = await exported(at)
        export = StreamingExport(at.backend)
        row = b'{"n": 7}'
        assert (await load(at, row, "jsonLines", "first", "replace"))["state"] == "completed"
        assert (await load(at, data, "zip", None, "replaceAll"))["state"] == "completed"
        mirror: Mirror = {}
        cursor, has_more = 0, True
        while has_more:
            page = export.document_deltas(cursor, EVERYTHING)
            apply(mirror, page.values)
            cursor, has_more = page.cursor, page.has_more
        expected = {}
        for table in ("first", "second"):
            args = json.dumps({"table": table}).encode()
            for document in await at.value("data:all", args):
                expected[table, document["_id"]] = document
        assert mirror == expected and len(mirror) == 6

    tell(story, importing_app())


def drive(
    export: StreamingExport, mirror: Mirror, cursor: str | None, wanted: Selection
) -> SyncPage:
    """Sync until the mirror is up to date."""
    while True:
        page = export.sync(cursor, wanted)
        for table in page.truncates:
            for key in [key for key in mirror if key[0] == table]:
                del mirror[key]
        apply(mirror, page.values)
        cursor = page.cursor
        if page.is_up_to_date:
            return page


def test_one_cursor_makes_a_mirror_and_keeps_it(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        export = StreamingExport(at.backend)
        for seed in range(40):
            await at.value("fruit:churn", json.dumps({"seed": seed}).encode())
        first = export.sync(None, EVERYTHING)
        assert first.truncates == ["apples", "pears", "plums"] and first.ts is None
        await at.value("fruit:churn", b'{"seed": 900}')
        mirror: Mirror = {}
        apply(mirror, first.values)
        page = drive(export, mirror, first.cursor, EVERYTHING)
        assert mirror == await database(at)
        await at.value("fruit:churn", b'{"seed": 901}')
        later = drive(export, mirror, page.cursor, EVERYTHING)
        assert mirror == await database(at) and later.sync_id == first.sync_id
        assert export.active_syncs()[0]["status"]["type"] == "upToDate"

        only = Selection.of("pears")
        drive(export, mirror, later.cursor, only)
        assert {k: v for k, v in mirror.items() if k[0] == "pears"} == {
            k: v for k, v in (await database(at)).items() if k[0] == "pears"
        }
        kept = export.sync_cursor(later.ts or 0, EVERYTHING)
        assert export.sync(kept, EVERYTHING).truncates == []

    tell(story, app())


def test_nothing_is_told_before_it_is_durable() -> None:
    persistence = MemoryPersistence()
    backend = Backend(persistence, clock=ManualClock())
    backend.deploy_now(app())
    export = StreamingExport(backend)
    start = backend.newest_durable_ts()
    persistence.delay_durability()
    from cupola.auth import ANONYMOUS
    from cupola.backend import CallRequest

    backend.submit(
        CallRequest("mutation", "fruit:churn", b'{"seed": 5}', ANONYMOUS), lambda result: None
    )
    backend.run_until_idle()
    assert backend.node.head_ts > start
    assert export.document_deltas(start, EVERYTHING) == ([], start, False)
    assert export.list_snapshot(None, None, EVERYTHING).values == []
    persistence.release_durability()
    assert len(export.document_deltas(start, EVERYTHING).values) > 0


@pytest.mark.parametrize(
    ("snapshot", "cursor", "code"),
    [
        (2**62, None, "SnapshotTooNew"),
        (1, None, "SnapshotTooOld"),
        (None, "nonsense", "InvalidListSnapshotCursor"),
        (None, "e30=", "InvalidListSnapshotCursor"),
        (None, "eyJ0YWJsZSI6MTAwMDEsImtleSI6IiEifQ==", "InvalidListSnapshotCursor"),
    ],
)
def test_bad_places_are_told(tell: Tell, snapshot: int | None, cursor: str, code: str) -> None:
    async def story(at: Pushing) -> None:
        await at.value("fruit:churn", b'{"seed": 1}')
        export = StreamingExport(at.backend)
        with pytest.raises(BadRequestError) as caught:
            export.list_snapshot(snapshot, cursor, EVERYTHING)
        assert caught.value.code == code

    tell(story, app())


def test_cursors_of_other_deployments_are_told(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        export = StreamingExport(at.backend)
        ahead = export.sync_cursor(2**62, EVERYTHING)
        for cursor in (ahead, "nonsense", "e30="):
            with pytest.raises(BadRequestError) as caught:
                export.sync(cursor, EVERYTHING)
            assert caught.value.code == "InvalidDataSyncCursor"

    tell(story, app())
