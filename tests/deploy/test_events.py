"""What pushes, imports, exports and deletions leave in the history of a deployment."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cupola.deploy import deployer
from cupola.deploy.deletions import delete_component, delete_tables
from cupola.deploy.requests import FinishPush, PushReference, VariableChange
from cupola.deploy.streaming.importing import StreamingImport
from cupola.errors import CupolaError
from cupola.functions.app import load_app

from .conftest import Json, Pushing, module, notes, schema
from .test_components import APP, pushed, table
from .test_exports import finished as export_finished
from .test_imports import app as python_app
from .test_imports import insert, load

Tell = Callable[..., None]

ONE = module("m.js", "export const f = query(async () => 1);")
TWO = module("m.js", "export const f = query(async () => 2);")
PUSH = "push_config_with_components"


async def events(at: Pushing) -> list[Json]:
    """In order, as dashboards see them."""
    path = "_system/frontend/listDeploymentEventsFromTime:default"
    return list(await at.value(path, b'{"fromTimestamp":0}'))


async def told(at: Pushing) -> list[tuple[str, Json]]:
    return [(event["action"], event["metadata"]) for event in await events(at)]


async def last_push(at: Pushing) -> Any:
    return await at.value("_system/frontend/deploymentEvents:lastPushEvent")


def root_of(event: Json) -> Json:
    ((path, diff),) = (
        (each["component_path"], each["component_diff"])
        for each in event["metadata"]["component_diffs"]
    )
    assert path is None
    return dict(diff)


# ------------------------------------------------------------------------------- pushed JavaScript


def test_a_push_tells_what_it_changed(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        assert await last_push(at) is None
        await at.push(ONE, app={"schema": schema(notes())})
        first = root_of(await last_push(at))
        assert first["diffType"] == {"type": "create"}
        assert first["moduleDiff"] == {"added": ["m.js"], "removed": []}
        assert "notes" not in first["schemaDiff"]["previous_schema"]
        assert "notes" in first["schemaDiff"]["next_schema"]

        answer = await at.push(
            module("n.js", "export const f = query(async () => 1);"),
            app={"schema": schema(notes(indexes=("by_body",)))},
        )
        second = await last_push(at)
        diff = root_of(second)
        assert diff["moduleDiff"] == {"added": ["n.js"], "removed": ["m.js"]}
        assert [index["name"] for index in diff["indexDiff"]["added_indexes"]] == ["notes.by_body"]
        assert "by_body" not in diff["schemaDiff"]["previous_schema"]
        assert "by_body" in diff["schemaDiff"]["next_schema"]
        assert diff == answer["componentDiffs"][""]
        assert second["metadata"]["auth_diff"] == {"added": [], "removed": []}
        assert "message" not in second["metadata"] and second["member_id"] is None

    tell(story)


def test_a_push_tells_of_its_components_in_a_list(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        await at.push(APP, **pushed("left", tables=table("rows")))
        diffs = (await last_push(at))["metadata"]["component_diffs"]
        assert [(each["component_path"], each["component_diff"]["diffType"]) for each in diffs] == [
            (None, {"type": "create"}),
            ("left", {"type": "create"}),
        ]

    tell(story)


def test_a_push_brings_its_message(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        for message in ("from CI: a fix", "long " * 1000):
            started = await at.start(ONE)
            await at.wait(started)
            reference = PushReference(started["cupolaPushId"])
            await at.deployer.finish_push(FinishPush(reference, message=message))
            kept = (await last_push(at))["metadata"]["message"]
            assert kept == message[:1000]

    tell(story)


def test_a_push_that_fails_leaves_no_event(tell: Tell) -> None:
    """Nor does one that is never finished, nor one that only looks."""
    add = module("n.js", "export const add = mutation(async (ctx) => insert('notes', ctx));")

    async def story(at: Pushing) -> None:
        await at.push(add)
        before = await events(at)
        started = await at.start(add, app={"schema": schema(notes("number"))})
        await at.wait(started)
        await at.value("n:add", b'{"body":"text"}')  # after the check, before the end
        with pytest.raises(CupolaError) as refused:
            await at.finish(started)
        assert refused.value.code == "SchemaEnforcementError"
        await at.wait(await at.start(TWO))
        dry = await at.start(TWO, dryRun=True)
        await at.deployer.finish_push(FinishPush(PushReference(dry["cupolaPushId"]), dry_run=True))
        assert await events(at) == before

    tell(story)


def test_a_push_that_is_not_committed_leaves_neither_code_nor_event(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are one transaction: what ends it after the code was written takes both back."""

    def fails(*args: Any) -> None:
        note(*args)
        raise CupolaError("the disk is full")

    note = deployer.note

    async def story(at: Pushing) -> None:
        await at.push(ONE)
        before = await events(at)
        with monkeypatch.context() as patch:
            patch.setattr(deployer, "note", fails)
            with pytest.raises(CupolaError, match="the disk is full"):
                await at.push(TWO)
        assert await at.value("m:f") == 1
        assert await events(at) == before
        await at.push(TWO)
        assert len(await events(at)) == len(before) + 1

    async def after(at: Pushing) -> None:
        assert await at.value("m:f") == 2
        assert len(await events(at)) == 2  # and none of this start

    tell(story)
    tell(after)


# ------------------------------------------------------------------------------ code of the folder


def test_python_code_is_a_push_when_it_has_changed(
    tell: Tell, write_app: Callable[..., Path]
) -> None:
    """Not when the server is started again with the same files."""
    rooms = "@query\ndef list(ctx: QueryCtx) -> float:\n    return {}\n"
    tables = 'class Note(Table, name="notes"):\n    body: str\n'
    folder = write_app(rooms=rooms.format(1))

    async def first(at: Pushing) -> None:
        ((action, _),) = await told(at)
        diff = root_of(await last_push(at))
        assert (action, diff["diffType"]) == (PUSH, {"type": "create"})
        assert diff["moduleDiff"] == {"added": ["rooms.py"], "removed": []}

    async def unchanged(at: Pushing) -> None:
        assert len(await events(at)) == 1
        await at.push(ONE)
        assert len(await events(at)) == 2

    async def changed(at: Pushing) -> None:
        assert len(await events(at)) == 3
        diff = root_of(await last_push(at))
        assert diff["diffType"] == {"type": "modify"}
        assert diff["moduleDiff"] == {"added": ["schema.py"], "removed": []}
        assert "notes" in diff["schemaDiff"]["next_schema"]
        assert await at.value("rooms:list") == 2

    tell(first, load_app(folder))
    tell(unchanged, load_app(folder))
    tell(unchanged_after(2), load_app(folder))
    write_app(rooms=rooms.format(2), schema=tables, folder=folder)
    tell(changed, load_app(folder))
    tell(unchanged_after(3), load_app(folder))


def unchanged_after(count: int) -> Callable[[Pushing], Any]:
    async def story(at: Pushing) -> None:
        assert len(await events(at)) == count

    return story


def test_starts_of_a_deployment_of_both_languages_are_no_pushes(
    tell: Tell, write_app: Callable[..., Path]
) -> None:
    """Whatever its schema declares: the one in force is compared with what the code makes."""
    tables = """
class Movie(
    Table,
    name="movies",
    indexes={
        "by_year": Aggregate("year", of="year"),
        "search": TextIndex("title", filters=["year"]),
        "near": VectorIndex("vector", dimensions=3),
    },
):
    title: str
    year: float
    vector: list[float]
"""
    python = load_app(write_app(schema=tables, rooms="@query\ndef f(ctx: QueryCtx) -> None: ..."))

    async def push(at: Pushing) -> None:
        await at.push(APP, **pushed("left", "right", tables=table("rows", "by_body")))

    tell(push, python)
    tell(unchanged_after(2), python)
    tell(unchanged_after(2), python)


def test_python_code_that_does_not_fit_the_data_leaves_no_event(
    tell: Tell, write_app: Callable[..., Path]
) -> None:
    source = 'class Note(Table, name="notes"):\n    body: {}\n'
    folder = write_app(schema=source.format("str"))

    async def story(at: Pushing) -> None:
        document = {"table": "notes", "documents": [{"body": "text"}]}
        await at.value("_system/frontend/addDocument:default", json.dumps(document).encode())
        other = load_app(write_app(schema=source.format("float"), folder=folder))
        with pytest.raises(CupolaError, match="does not match"):
            at.deployer.deploy_python_now(other)
        assert [action for action, _ in await told(at)] == [PUSH, "add_documents"]

    tell(story, load_app(folder))


def test_a_deployment_without_code_has_no_push(tell: Tell) -> None:
    tell(unchanged_after(0))


# --------------------------------------------------------------------- variables, and data as whole


def test_variables_that_were_refused_leave_no_event(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        with pytest.raises(CupolaError):
            await at.deployer.update_environment(
                [VariableChange("FINE", "1"), VariableChange("not a name", "2")]
            )
        assert await events(at) == []
        await at.deployer.update_environment([VariableChange("FINE", "a secret")])
        assert await told(at) == [("create_environment_variable", {"variable_name": "FINE"})]

    tell(story)


def test_tables_and_components_are_told_of_when_they_are_gone(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        await at.push(APP, **pushed("left", tables=table("rows")))
        await at.value("app:add", b'{"to":"left"}')
        with pytest.raises(CupolaError):
            await delete_tables(at.backend, ["rows", "nothing"], "left")
        await delete_tables(at.backend, ["rows"], "left")
        with pytest.raises(CupolaError):
            await delete_component(at.backend, "left")
        await at.push(APP)
        await delete_component(at.backend, "left")
        of_left = {"component": "left", "component_id": "left"}
        assert [each for each in await told(at) if each[0] != PUSH] == [
            ("delete_tables", {**of_left, "table_names": ["rows"]}),
            ("delete_component", of_left),
        ]

    tell(story)


def test_what_takes_long_is_done_and_told_of(tell: Tell) -> None:
    """Functions of the system have the time they need: no worker knows them."""

    async def story(at: Pushing) -> None:
        at.backend.node.runtime.time_s = 0.01
        documents = [{"body": "text", "number": number} for number in range(4096)]
        args = {"table": "notes", "documents": documents}
        body = json.dumps(args).encode()
        added = await at.value("_system/frontend/addDocument:default", body)
        assert added == {"success": True}
        ((action, metadata),) = await told(at)
        assert (action, metadata["table"]) == ("add_documents", "notes")
        assert len(metadata["document_ids"]) == 4096 - metadata["left_out"] == 1024

    tell(story)


def test_tables_that_a_stream_empties(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        await insert(at, "users", n=1)
        await StreamingImport(at.backend).clear(["users", "nothing"])
        assert await told(at) == [("clear_tables", {"table_names": ["users", "nothing"]})]

    tell(story, python_app())


def test_what_a_dashboard_changes_in_a_component_names_it(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        await at.push(APP, **pushed("left", tables=table("rows")))
        args = {"table": "rows", "documents": [{"body": "one"}], "componentId": "left"}
        added = await at.value("_system/frontend/addDocument:default", json.dumps(args).encode())
        assert added == {"success": True}
        where = {"component": "left", "component_id": "left", "table": "rows"}
        (_, (action, metadata)) = await told(at)
        assert (action, {**metadata, **where}) == ("add_documents", metadata)
        assert len(metadata["document_ids"]) == 1

    tell(story)


def test_an_import_is_told_of_when_it_is_complete(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        refused = await load(at, b"a,b\n1\n", "csv", "things")
        assert refused["state"] == "failed"
        assert await events(at) == []
        await load(at, b'{"body":"one"}\n', "jsonLines", "things")
        await insert(at, "others", body="gone with the next import")
        await load(at, b'{"body":"two"}\n', "jsonLines", "things", "replaceAll")
        (_, first), (_, second) = await told(at)
        assert first == {
            "table_names": [{"component": None, "table_names": ["things"]}],
            "table_count": {"$integer": "AQAAAAAAAAA="},
            "import_mode": "RequireEmpty",
            "import_format": {"format": "jsonl", "table": "things"},
            "requestor": {"type": "snapshotImport"},
            "table_names_deleted": [],
            "table_count_deleted": {"$integer": "AAAAAAAAAAA="},
        }
        assert second["table_names_deleted"] == [{"component": None, "table_names": ["others"]}]

    tell(story, python_app())


def test_an_export_is_told_of_when_it_is_asked_for_and_does_not_hold_the_history(
    tell: Tell, tmp_path: Path
) -> None:
    async def story(at: Pushing) -> None:
        await insert(at, "things", body="one")
        await at.deployer.exports.request(include_storage=False)
        document = await export_finished(at)
        (action, metadata), *more = await told(at)
        assert (action, more) == ("request_export", [])
        assert metadata == {
            "id": document["_id"],
            "component": None,
            "component_id": None,
            "format": "zip",
            "requestor": "snapshotExport",
        }
        path, _ = at.deployer.exports.find(document["_id"])
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        assert "things/documents.jsonl" in names
        assert not any("_deployment_events" in name for name in names)

    tell(story, python_app())


def test_an_event_of_a_large_push_is_bounded(tell: Tell) -> None:
    """Its schemas are left out, and the push serves."""
    fields = {
        f"field_{number}_{'x' * 50}": {"fieldType": {"type": "string"}, "optional": True}
        for number in range(700)
    }
    large = {
        "tableName": "large",
        "indexes": [],
        "documentType": {"type": "object", "value": fields},
    }

    async def story(at: Pushing) -> None:
        await at.push(ONE, app={"schema": schema(large)})
        event = await last_push(at)
        limit = at.backend.limits.deployment_event_bytes_max
        assert len(msgspec.json.encode(event["metadata"])) <= limit
        assert root_of(event)["schemaDiff"] == {"previous_schema": None, "next_schema": None}
        assert root_of(event)["moduleDiff"]["added"] == ["m.js"]
        assert event["metadata"]["left_out"] == 2

    tell(story)


def test_providers_of_tokens_are_told_of(tell: Tell) -> None:
    text = json.dumps({"providers": [{"domain": "https://id.example", "applicationID": "app"}]})
    source = f"export default {text};"

    async def story(at: Pushing) -> None:
        await at.push(ONE, module("auth.config.js", source, head=""))
        (added,) = (await last_push(at))["metadata"]["auth_diff"]["added"]
        assert json.loads(added)["domain"] == "https://id.example"
        await at.push(ONE)
        assert (await last_push(at))["metadata"]["auth_diff"]["removed"] == [added]
        assert at.backend.app.auth_providers == ()

    tell(story)
