"""Files become documents: each format's values, ids that stay, and bad rows that change nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import shutil
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from cupola.database.ranges import EVERYTHING
from cupola.deploy.import_plans import Plan, TablePlan
from cupola.deploy.import_works import works_of
from cupola.deploy.imports import FinishUpload, ImportSettings
from cupola.errors import BadRequestError, DatabaseUseError, OverloadedError
from cupola.functions.app import App
from cupola.functions.definitions import Function, Kind, Visibility
from cupola.limits import Limits
from cupola.schema import SchemaDefinition
from cupola.values import decode_id, encode_id

from ..database.by_hand import Database
from .conftest import Pushing, notes

Tell = Callable[..., None]
Story = Callable[[Pushing], Awaitable[None]]


def documents_of(ctx: Any, table: str) -> Any:
    return ctx.db.query(table).collect()


def add(ctx: Any, table: str, document: dict[str, Any]) -> Any:
    return ctx.db.insert(table, document)


def app(*tables: Any) -> App:
    functions = {
        "data:all": Function(documents_of, Kind.QUERY, Visibility.PUBLIC),
        "data:add": Function(add, Kind.MUTATION, Visibility.PUBLIC),
    }
    schema = SchemaDefinition.from_json({"tables": list(tables), "schemaValidation": True})
    return App(functions, {}, schema=schema)


async def all_of(at: Pushing, table: str) -> Any:
    return await at.value("data:all", json.dumps({"table": table}).encode())


async def insert(at: Pushing, table: str, **document: Any) -> str:
    args = {"table": table, "document": document}
    return str(await at.value("data:add", json.dumps(args).encode()))


async def ended(at: Pushing) -> None:
    while at.deployer.imports._tasks:
        for task in list(at.deployer.imports._tasks):
            await task


async def state_of(at: Pushing, import_id: str) -> dict[str, Any]:
    args = json.dumps({"importId": import_id}).encode()
    return dict((await at.value("_system/cli/queryImport:default", args))["state"])


async def load(
    at: Pushing,
    data: bytes,
    form: str,
    table: str | None = None,
    mode: str = "requireEmpty",
    component: str | None = None,
) -> dict[str, Any]:
    """Upload in parts of ten bytes, confirm, and wait: the import's last state."""
    imports = at.deployer.imports
    token = imports.start_upload()
    pieces = [data[i : i + 10] for i in range(0, len(data), 10)] if len(data) < 200 else [data]
    parts = [imports.part(token, str(n), piece) for n, piece in enumerate(pieces, 1)]
    settings = ImportSettings(mode, form, table, component)
    import_id = await imports.finish_upload(FinishUpload(token, parts, settings))
    await ended(at)
    state = await state_of(at, import_id)
    if state["state"] == "waiting_for_confirmation":
        await imports.perform(import_id)
        await ended(at)
        state = await state_of(at, import_id)
    assert list((Path(str(at.backend.data_path)).parent / "imports").iterdir()) == []
    return state


def plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if not k.startswith("_")} for row in rows]


FORMATS: dict[str, tuple[bytes, list[dict[str, Any]]]] = {
    "csv": (
        b'name, age\nada,36\n"bob, the second",\n',
        [{"name": "ada", "age": 36.0}, {"name": "bob, the second", "age": ""}],
    ),
    "jsonLines": (
        b'{"a": 1}\n\n{"a": [1, "x"], "b": null}\n',
        [{"a": 1.0}, {"a": [1.0, "x"], "b": None}],
    ),
    "csv of a spreadsheet": (b"\xef\xbb\xbfname\r\nada\r\n", [{"name": "ada"}]),
    "jsonLines with a mark": (b'\xef\xbb\xbf{"A": 1}\n{}\n', [{"A": 1.0}, {}]),
    "jsonArray": (b'[{"a": 1.5}, {"a": {"b": true}}]', [{"a": 1.5}, {"a": {"b": True}}]),
}


@pytest.mark.parametrize("form", FORMATS)
def test_rows_become_documents(tell: Tell, form: str) -> None:
    data, expected = FORMATS[form]

    async def story(at: Pushing) -> None:
        state = await load(at, data, form.partition(" ")[0], "things")
        assert state["state"] == "completed"
        assert plain(await all_of(at, "things")) == expected

    tell(story, app())


BAD: dict[str, tuple[str, bytes, str]] = {
    "csv cells": ("csv", b"a,b\n1\n", "Line 2 has 1 cells"),
    "csv empty": ("csv", b"", "no line with names"),
    "csv text": ("csv", b"a\n\xff\n", "codec"),
    "json line": ("jsonLines", b'{"a": 1}\n{"a": }\n', "Line 2"),
    "no object": ("jsonLines", b"[1]\n", "Line 1 is no object"),
    "dollar": ("jsonLines", b'{"a": {"$integer": "AA=="}}\n', "Row 1 of `things`"),
    "nested": ("jsonLines", b'{"a":' + b"[" * 200 + b"]" * 200 + b"}\n", "Row 1 of `things`"),
    "no array": ("jsonArray", b'{"a": 1}', "no JSON array"),
    "no json": ("jsonArray", b"[", "no JSON"),
    "id": ("jsonLines", b'{"_id": "nonsense"}\n', "Row 1 of `things`"),
    "no id": ("jsonLines", b'{"_id": null}\n', "Row 1 of `things`"),
    "time": ("jsonLines", b'{"_creationTime": "now"}\n', "_creationTime"),
    "schema": ("jsonLines", b'{"body": "fine"}\n{"body": 7}\n', "Row 2 of `notes`"),
}


@pytest.mark.parametrize("step", ["_plan", "_store_files"])
def test_an_import_that_meets_a_full_disk_has_failed(
    tell: Tell, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The command line waits for one of the two."""

    async def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async def story(at: Pushing) -> None:
        with monkeypatch.context() as disk:
            disk.setattr(at.deployer.imports, step, full)
            state = await load(at, b'{"a":1}\n', "jsonLines", "things")
        assert state["state"] == "failed" and "No space left" in state["error_message"]
        state = await load(at, b'{"a":1}\n', "jsonLines", "things")
        assert state["state"] == "completed"

    tell(story, app())


def test_an_upload_that_is_gone_when_it_is_confirmed_stops_nothing_else(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        imports = at.deployer.imports
        token = imports.start_upload()
        parts = [imports.part(token, "1", b'{"a":1}\n')]
        settings = ImportSettings("append", "jsonLines", "things", None)
        import_id = await imports.finish_upload(FinishUpload(token, parts, settings))
        await ended(at)
        shutil.rmtree(imports._plans[import_id][1])
        await imports.perform(import_id)
        await ended(at)
        state = await state_of(at, import_id)
        assert state["state"] == "failed" and "cannot be read" in state["error_message"]
        assert await insert(at, "things", a=2.0)

    tell(story, app())


@pytest.mark.parametrize("case", BAD)
def test_a_bad_row_changes_nothing(tell: Tell, case: str) -> None:
    form, data, words = BAD[case]
    table = "notes" if case == "schema" else "things"

    async def story(at: Pushing) -> None:
        state = await load(at, data, form, table)
        assert state["state"] == "failed" and words in state["error_message"]
        assert await all_of(at, table) == []

    tell(story, app(notes()))


def test_a_table_that_has_documents_is_appended_to_or_replaced(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        for number in range(250):
            await insert(at, "things", old=number)
        row = b'{"new": 1}\n'
        refused = await load(at, row, "jsonLines", "things")
        assert "has 250 documents already" in refused["error_message"]
        assert (await load(at, row, "jsonLines", "things", "append"))["state"] == "completed"
        assert len(await all_of(at, "things")) == 251
        assert (await load(at, row * 230, "jsonLines", "things", "replace"))["state"] == "completed"
        assert plain(await all_of(at, "things")) == [{"new": 1.0}] * 230

    tell(story, app())


def test_an_id_that_is_taken_cannot_come_twice(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        taken = await insert(at, "things", a=1)
        rows = b'{"a": 2}\n' * 500 + json.dumps({"_id": taken, "a": 2}).encode()
        state = await load(at, rows, "jsonLines", "things", "append")
        assert state["state"] == "failed" and taken in state["error_message"]
        assert plain(await all_of(at, "things")) == [{"a": 1.0}]

    tell(story, app())


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_an_id_that_occurs_twice_in_a_file_changes_nothing(tell: Tell, mode: str) -> None:
    """It is found before anything is stored, or goes, however far apart the two are."""

    async def story(at: Pushing) -> None:
        here = await insert(at, "things", a=1)
        ids = [encode_id(decode_id(here)[0], n.to_bytes(16)) for n in [*range(500), 0]]
        rows = b"\n".join(json.dumps({"_id": each, "a": 2}).encode() for each in ids)
        state = await load(at, rows, "jsonLines", "things", mode)
        assert state["state"] == "failed"
        assert f'"{ids[0]}" occurs twice' in state["error_message"]
        assert [row["_id"] for row in await all_of(at, "things")] == [here]

    tell(story, app())


def test_a_table_that_is_replaced_has_what_the_file_has(tell: Tell) -> None:
    """And nothing that somebody wrote between its check and the confirmation."""

    async def story(at: Pushing) -> None:
        imports = at.deployer.imports
        for table in ("things", "others"):
            await insert(at, table, older=1)
            emptied = await load(at, b"", "jsonLines", table, "replace")
            assert emptied["state"] == "completed"
        token = imports.start_upload()
        parts = [imports.part(token, "1", export(things=(10_001, [json.dumps({"new": 1.0})])))]
        settings = ImportSettings("replaceAll", "zip")
        import_id = await imports.finish_upload(FinishUpload(token, parts, settings))
        await ended(at)
        for table in ("things", "others"):
            await insert(at, table, old=1)
        await imports.perform(import_id)
        await ended(at)
        assert (await state_of(at, import_id))["state"] == "completed"
        assert plain(await all_of(at, "things")) == [{"new": 1.0}]
        assert await all_of(at, "others") == []

    tell(story, app())


def export(**tables: tuple[int, list[str]]) -> bytes:
    """A ZIP as exports write it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        lines = [json.dumps({"name": name, "id": n}) for name, (n, _) in tables.items()]
        archive.writestr("_tables/documents.jsonl", "\n".join(lines))
        for name, (_, rows) in tables.items():
            archive.writestr(f"{name}/documents.jsonl", "\n".join(rows))
            archive.writestr(f"{name}/generated_schema.jsonl", '"uniform"\n')
    return file.getvalue()


async def exported(at: Pushing) -> bytes:
    await at.deployer.exports.request(include_storage=False)
    assert at.deployer.exports._task is not None
    await at.deployer.exports._task
    latest = await at.value("_system/cli/exports:getLatest")
    return at.deployer.exports.find(latest["_id"])[0].read_bytes()


def test_an_export_comes_back_with_ids_values_and_references(tell: Tell, tmp_path: Path) -> None:
    """Also where tables have each other's numbers, and one that is empty has one that is needed."""
    kept: dict[str, Any] = {}

    async def source(at: Pushing) -> None:
        first = await insert(at, "first", n=1)
        await insert(at, "second", points_to=first, float={"$float": "AAAAAAAA8H8="})
        await insert(at, "second", whole={"$integer": "AQAAAAAAAAA="}, data={"$bytes": "AP8="})
        kept["zip"] = await exported(at)
        kept["rows"] = [await all_of(at, "first"), await all_of(at, "second")]

    async def target(at: Pushing) -> None:
        for table in ("second", "first"):
            await insert(at, table, old=True)
        state = await load(at, kept["zip"], "zip", None, "replaceAll")
        assert state["state"] == "completed", state
        assert [await all_of(at, "first"), await all_of(at, "second")] == kept["rows"]
        await insert(at, "first", n=2)
        assert len(await all_of(at, "first")) == 2

    tell(source, app())
    (tmp_path / "data.sqlite3").unlink()
    for file in tmp_path.glob("data.sqlite3-*"):
        file.unlink()
    tell(target, app(*({**notes(), "tableName": n, "documentType": {"type": "any"}} for n in "xy")))


def test_what_the_limits_of_a_deployment_allow_goes_out_and_comes_in(tell: Tell) -> None:
    """Its own limits, not the usual ones."""
    limits = Limits(array_length_max=10_000, document_size_bytes_max=1 << 21)
    large = {"list": [1.0] * 9000, "text": "x" * 1_100_000}
    kept: list[bytes] = []

    async def story(at: Pushing) -> None:
        row = json.dumps(large).encode()
        assert (await load(at, row, "jsonLines", "things"))["state"] == "completed"
        kept.append(await exported(at))
        assert (await load(at, kept[0], "zip", None, "replace"))["state"] == "completed"
        assert plain(await all_of(at, "things")) == [large]

    async def elsewhere(at: Pushing) -> None:
        state = await load(at, kept[0], "zip", None, "replace")
        assert state["state"] == "failed" and "too long" in state["error_message"]

    tell(story, app(), limits=limits)
    tell(elsewhere, app(), limits=Limits(array_length_max=8000))


def test_numbers_of_tables_with_documents_are_never_taken(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        mine = await insert(at, "mine", a=1)
        row = json.dumps({"_id": mine[:-1] + mine[-1], "_creationTime": 1.5})
        data = export(other=(10_001, [row]))
        state = await load(at, data, "zip", None, "replace")
        assert state["state"] == "failed" and "`mine`, which is not empty" in state["error_message"]
        assert plain(await all_of(at, "mine")) == [{"a": 1.0}]

    tell(story, app())


def test_an_import_takes_no_number_that_a_table_has_got_meanwhile(tell: Tell) -> None:
    """Between the check of a file and its confirmation others go on, and create tables."""

    async def story(at: Pushing) -> None:
        await insert(at, "mine", a=1)
        assert (await load(at, b"", "jsonLines", "mine", "replace"))["state"] == "completed"
        imports = at.deployer.imports
        token = imports.start_upload()
        row = json.dumps({"_id": encode_id(10_001, bytes(16)), "_creationTime": 1.5})
        parts = [imports.part(token, "1", export(theirs=(10_001, [row])))]
        settings = ImportSettings("replace", "zip")
        import_id = await imports.finish_upload(FinishUpload(token, parts, settings))
        await ended(at)
        new = await insert(at, "new", a=1)

        await imports.perform(import_id)
        await ended(at)

        state = await state_of(at, import_id)
        assert state["state"] == "failed" and "Import it again" in state["error_message"]
        assert [row["_id"] for row in await all_of(at, "new")] == [new]
        assert await all_of(at, "mine") == []

    tell(story, app())


@pytest.mark.parametrize("replaces", [True, False])
def test_what_is_written_during_an_import_stays_in_its_table(
    tmp_path: Path, replaces: bool
) -> None:
    """Two tables get each other's numbers, by which documents are found; the app writes to one
    between all the import's transactions.
    """
    database = Database()
    for name in ("one", "two"):
        transaction = database.begin()
        document_id = transaction.insert(name, {"of": name})
        database.commit(transaction)
        if not replaces:
            transaction = database.begin()
            transaction.delete(document_id)
            database.commit(transaction)
    numbers = {"one": 10_002, "two": 10_001}
    tables = [TablePlan(name, n, int(replaces), 0, None, replaces) for name, n in numbers.items()]
    works = works_of(Plan(tables, numbers), tmp_path, lambda name, rows: None)

    def run() -> None:
        for work in works:
            transaction = database.begin()
            work(transaction)
            database.commit(transaction)
            transaction = database.begin()
            transaction.insert("one", {"of": "one"})
            database.commit(transaction)

    if replaces:
        run()
        assert database.committer.catalog.numbers.items() >= numbers.items()
    else:  # nobody has said that documents may go
        with pytest.raises(DatabaseUseError, match="Import it again"):
            run()
    transaction = database.begin()
    for name in ("one", "two"):
        table = transaction.table(name)
        assert table is not None
        for _, document in transaction.scan(table.primary, EVERYTHING):
            assert document.value["of"] == name


def test_a_damaged_zip_is_refused_by_name_of_what_is_damaged(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        data = export(things=(10_001, ['{"a": 1}']))
        state = await load(at, data.replace(b'"a": 1', b'"b": 1'), "zip")
        assert state["state"] == "failed"
        assert "things/documents.jsonl: Bad CRC-32" in state["error_message"]
        assert await all_of(at, "things") == []

    tell(story, app())


@pytest.mark.parametrize(
    ("name", "words"),
    [("_storage/kg2abc.png", "the id of no file")],
)
def test_what_cannot_come_in_is_not_dropped_in_silence(tell: Tell, name: str, words: str) -> None:
    async def story(at: Pushing) -> None:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(name, "{}")
        state = await load(at, file.getvalue(), "zip")
        assert state["state"] == "failed" and words in state["error_message"]
        assert (await load(at, b"no zip", "zip"))["state"] == "failed"

    tell(story, app())


def test_uploads_are_bounded_and_checked(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        imports = at.deployer.imports
        tokens = [imports.start_upload() for _ in range(9)]
        with pytest.raises(BadRequestError):
            imports.part(tokens[0], "1", b"")
        for number in ("0", "10000", "x", "../1", "²", "9" * 5000):
            with pytest.raises(BadRequestError):
                imports.part(tokens[-1], number, b"")
        for settings, parts in (
            (ImportSettings("append", "csv"), []),
            (ImportSettings("append", "zip", "t"), []),
            (ImportSettings("magic", "csv", "t"), []),
            (ImportSettings("append", "csv", "t"), ["../../data.sqlite3"]),
        ):
            with pytest.raises(BadRequestError):
                await imports.finish_upload(FinishUpload(tokens[-1], parts, settings))
        with pytest.raises(BadRequestError):
            await imports.perform("nothing")

    tell(story, app())


@pytest.mark.parametrize(
    ("table", "words"),
    [(None, "--table NAME"), ("_storage", "is the system's"), ("_tables", "is the system's")],
)
def test_rows_need_a_table_of_the_app(tell: Tell, table: str | None, words: str) -> None:
    async def story(at: Pushing) -> None:
        imports = at.deployer.imports
        settings = ImportSettings("append", "csv", table)
        with pytest.raises(BadRequestError, match=words):
            await imports.finish_upload(FinishUpload(imports.start_upload(), [], settings))

    tell(story, app())


def test_a_cancelled_import_stores_nothing(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        imports = at.deployer.imports
        token = imports.start_upload()
        parts = [imports.part(token, "1", b'{"a": 1}')]
        settings = ImportSettings("append", "jsonLines", "things")
        import_id = await imports.finish_upload(FinishUpload(token, parts, settings))
        await ended(at)
        await imports.cancel(import_id)
        assert (await state_of(at, import_id))["state"] == "failed"
        with pytest.raises(BadRequestError):
            await imports.perform(import_id)
        assert await all_of(at, "things") == []

    tell(story, app())


def people_and_pets() -> App:
    def fields(**kinds: Any) -> Any:
        return {
            "type": "object",
            "value": {k: {"fieldType": kind, "optional": False} for k, kind in kinds.items()},
        }

    people = {
        "tableName": "people",
        "indexes": [{"indexDescriptor": "by_name", "fields": ["name"], "unique": True}],
        "documentType": fields(name={"type": "string"}),
    }
    pets = {
        "tableName": "a_pets",
        "indexes": [{"indexDescriptor": "by_owner", "fields": ["owner"], "aggregate": []}],
        "documentType": fields(owner={"type": "id", "tableName": "people"}),
        "references": [{"field": "owner", "table": "people", "onDelete": "cascade"}],
    }
    return app(people, pets)


def test_replacing_a_table_draws_nothing_along(tell: Tell) -> None:
    """The ids come back, and with them all that refers to them."""

    async def story(at: Pushing) -> None:
        ada = await insert(at, "people", name="ada")
        await insert(at, "a_pets", owner=ada)
        line = json.dumps({"_id": ada, "name": "Ada"}).encode()
        state = await load(at, line, "jsonLines", "people", "replace")
        assert state["state"] == "completed"
        assert plain(await all_of(at, "a_pets")) == [{"owner": ada}]
        assert plain(await all_of(at, "people")) == [{"name": "Ada"}]

    tell(story, people_and_pets())


def test_an_import_that_leaves_a_reference_without_its_document_says_so(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        ada = await insert(at, "people", name="ada")
        await insert(at, "a_pets", owner=ada)
        state = await load(at, b'{"name": "bob"}', "jsonLines", "people", "replace")
        assert state["state"] == "failed"
        assert f'refers to "{ada}"' in state["error_message"]

    tell(story, people_and_pets())


def test_an_import_keeps_unique_indexes(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        ada = await insert(at, "people", name="ada")
        state = await load(at, b'{"name": "ada"}', "jsonLines", "people", "append")
        assert state["state"] == "failed"
        assert ada in state["error_message"]

    tell(story, people_and_pets())


async def body(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def test_a_file_is_imported_in_one_request(tell: Tell) -> None:
    """For scripts: nobody is asked, and a bad row is the answer."""

    async def story(at: Pushing) -> None:
        imports = at.deployer.imports
        settings = ImportSettings("replace", "jsonLines", "things")
        assert await imports.import_at_once(settings, body(b'{"a": 1}\n{"a"', b": 2}")) == 2
        assert await imports.import_at_once(settings, body(b'{"a": 3}')) == 1
        assert plain(await all_of(at, "things")) == [{"a": 3.0}]
        with pytest.raises(BadRequestError, match="Line 1") as caught:
            await imports.import_at_once(settings, body(b"nonsense"))
        assert caught.value.code == "ImportRefused"
        assert plain(await all_of(at, "things")) == [{"a": 3.0}]

    tell(story, app())


def test_an_import_that_a_crash_cut_off_is_told_and_cleared_away(
    tell: Tell, tmp_path: Path
) -> None:
    left = tmp_path / "imports" / "of a killed server"
    kept: list[str] = []

    async def killed(at: Pushing) -> None:
        left.mkdir(parents=True)
        fields: Any = {"state": {"state": "in_progress"}, "mode": "Append"}
        kept.append(await at.deployer.imports._put(None, fields))

    async def later(at: Pushing) -> None:
        state = await load(at, b'{"a": 1}', "jsonLines", "things")
        assert state["state"] == "completed" and not left.exists()
        lost = await state_of(at, kept[0])
        assert lost["state"] == "failed" and "import again" in lost["error_message"]

    tell(killed, app())
    tell(later, app())


def test_an_import_ends_though_the_server_has_more_to_do_than_it_can(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How far it is cannot be noted then, until there is room for that in the queue."""
    monkeypatch.setattr("cupola.deploy.system_calls._RETRY_S", 0.01)

    async def story(at: Pushing) -> None:
        imports, node = at.deployer.imports, at.backend.node
        token = imports.start_upload()
        parts = [imports.part(token, "1", b'{"a": 1}')]
        settings = ImportSettings("append", "jsonLines", "things")
        import_id = await imports.finish_upload(FinishUpload(token, parts, settings))
        await ended(at)

        await imports.perform(import_id)
        limits, node.limits = node.limits, dataclasses.replace(node.limits, queued_calls_max=0)
        while "things" not in node.committer.catalog.by_name:
            await asyncio.sleep(0)
        (task,) = imports._tasks
        while not (await asyncio.wait([task], timeout=0.1))[0]:
            node.limits = limits

        assert (await state_of(at, import_id))["state"] == "completed"

    tell(story, app())


def test_an_import_waits_on_though_the_server_has_no_room_for_the_answer(
    tell: Tell, tmp_path: Path
) -> None:
    """Whoever confirms or cancels it may do so again; one that cannot be noted leaves nothing."""

    async def story(at: Pushing) -> None:
        imports, node = at.deployer.imports, at.backend.node
        token, other = imports.start_upload(), imports.start_upload()
        settings = ImportSettings("append", "jsonLines", "things")
        body = FinishUpload(token, [imports.part(token, "1", b'{"a": 1}')], settings)
        import_id = await imports.finish_upload(body)
        await ended(at)
        late = FinishUpload(other, [imports.part(other, "1", b'{"a": 2}')], settings)

        limits, node.limits = node.limits, dataclasses.replace(node.limits, queued_calls_max=0)
        for answer in (imports.perform, imports.cancel):
            with pytest.raises(OverloadedError):
                await answer(import_id)
        with pytest.raises(OverloadedError):
            await imports.finish_upload(late)
        assert len(list((tmp_path / "imports").iterdir())) == 1

        node.limits = limits
        await imports.perform(import_id)
        await ended(at)
        assert (await state_of(at, import_id))["state"] == "completed"

    tell(story, app())


def test_an_upload_that_is_cut_off_leaves_nothing(tell: Tell, tmp_path: Path) -> None:
    async def cut_off() -> AsyncIterator[bytes]:
        yield b'{"a": 1}'
        raise ConnectionResetError

    async def story(at: Pushing) -> None:
        settings = ImportSettings("append", "jsonLines", "things")
        with pytest.raises(ConnectionResetError):
            await at.deployer.imports.import_at_once(settings, cut_off())
        assert list((tmp_path / "imports").iterdir()) == []

    tell(story, app())


def test_imports_that_nobody_confirms_do_not_gather(
    tell: Tell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each keeps its file; whoever asked for it may have gone away."""
    monkeypatch.setattr("cupola.deploy.imports._WAITING_MAX", 2)

    async def story(at: Pushing) -> None:
        imports, ids = at.deployer.imports, []
        for _ in range(3):
            token = imports.start_upload()
            parts = [imports.part(token, "1", b'{"a": 1}')]
            settings = ImportSettings("append", "jsonLines", "things")
            ids.append(await imports.finish_upload(FinishUpload(token, parts, settings)))
            await ended(at)
        states = [(await state_of(at, import_id))["state"] for import_id in ids]
        assert states == ["failed", "waiting_for_confirmation", "waiting_for_confirmation"]
        assert len(list((tmp_path / "imports").iterdir())) == 2
        await imports.perform(ids[1])
        await ended(at)
        assert (await state_of(at, ids[1]))["state"] == "completed"

    tell(story, app())


def test_few_imports_are_remembered(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cupola.deploy.imports._KEPT_MAX", 2)

    async def story(at: Pushing) -> None:
        for _ in range(4):
            await load(at, b'{"a": 1}', "jsonLines", "things", "append")
        listed = await at.value("_system/cli/queryImport:list")
        assert len(listed) == 3
        assert await at.value("_system/frontend/snapshotImport:list") == listed

    tell(story, app())
