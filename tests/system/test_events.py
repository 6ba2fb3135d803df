"""The history of a deployment: what an administrator changes leaves an event, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cupola.database.catalog import EVENTS, system_index
from cupola.errors import CupolaError
from cupola.limits import DEFAULT_LIMITS, Limits
from cupola.system.events import bounded
from cupola.testing import Deployment
from cupola.values import Int64, encode

SCHEMA = """
    class Note(Table, name="notes"):
        body: str
"""
NOTES = """
    @mutation
    def add(ctx: MutationCtx, body: str) -> str:
        return ctx.db.insert("notes", {"body": body})

    @mutation
    def later(ctx: MutationCtx) -> str:
        job = ctx.scheduler.run_after(60, add, body="later")
        ctx.scheduler.cancel(job)
        return job

    @mutation
    def upload(ctx: MutationCtx) -> str:
        return ctx.storage.generate_upload_url()

    @query
    def peek(ctx: QueryCtx, table: str) -> float:
        return len(ctx.db.query(table).collect())

    @query
    def look(ctx: QueryCtx, id: str) -> bool:
        return ctx.db.get(id) is not None

    @query
    def look_as_system(ctx: QueryCtx, table: str) -> float:
        return len(ctx.db.system.query(table).collect())

    @action
    async def store(ctx: ActionCtx, text: str) -> StorageId:
        return await ctx.storage.store(text.encode())
"""
ROOT = {"component": None, "component_id": None}


@pytest.fixture
def start(write_app: Callable[..., Path]) -> Iterator[Callable[..., Deployment]]:
    started: list[Deployment] = []

    def make(limits: Limits = DEFAULT_LIMITS) -> Deployment:
        started.append(Deployment(write_app(schema=SCHEMA, notes=NOTES), limits=limits))
        return started[-1]

    yield make
    for deployment in started:
        deployment.close()


@pytest.fixture
def app(start: Callable[..., Deployment]) -> Deployment:
    return start()


def ask(app: Deployment, path: str, /, **args: Any) -> Any:
    return app.as_admin().query(f"_system/frontend/{path}", **args)


def tell(app: Deployment, path: str, /, **args: Any) -> Any:
    return app.as_admin().mutation(f"_system/frontend/{path}", **args)


def add(app: Deployment, *bodies: str) -> None:
    documents = [{"body": body} for body in bodies]
    assert tell(app, "addDocument:default", table="notes", documents=documents)["success"]


def set_variables(app: Deployment, **values: str | None) -> None:
    changes = [{"name": name, "value": value} for name, value in values.items()]
    app.as_admin().mutation("_system/deployment/environment:update", changes=changes)


def events(app: Deployment, since: float = 0.0) -> Any:
    return ask(app, "listDeploymentEventsFromTime:default", fromTimestamp=since)


def told(app: Deployment) -> list[tuple[str, Any]]:
    return [(event["action"], event["metadata"]) for event in events(app)]


def names(app: Deployment) -> list[Any]:
    return [event["metadata"].get("variable_name") for event in events(app)]


def page(app: Deployment, items: float = 100, cursor: Any = None, **filters: Any) -> Any:
    options = {"numItems": items, "cursor": cursor}
    given = {"minDate": 0.0, **filters}
    return ask(app, "paginatedDeploymentEvents:default", paginationOpts=options, filters=given)


# ----------------------------------------------------------------------------- what leaves an event


def test_documents_that_a_dashboard_changes(app: Deployment) -> None:
    """By their ids and the name of their table; of their values nothing is told."""
    add(app, "one", "a secret")
    ((_, added),) = told(app)
    first, second = added["document_ids"]
    tell(app, "patchDocumentsFields:default", table="notes", fields={"body": "x"}, ids=[first])
    tell(app, "replaceDocument:default", id=second, document={"body": "another secret"})
    tell(app, "deleteDocuments:default", toDelete=[{"id": first, "tableName": "notes"}])
    tell(app, "clearTablePage:default", tableName="notes", cursor=None)

    def of(*ids: str) -> dict[str, Any]:
        return {**ROOT, "table": "notes", "document_ids": list(ids)}

    assert told(app) == [
        ("add_documents", of(first, second)),
        ("update_documents", of(first)),
        ("update_documents", of(second)),
        ("delete_documents", of(first)),
        ("delete_documents", of(second)),
    ]
    assert b"secret" not in encode(events(app))
    (event,) = {tuple(sorted(event)) for event in events(app)}
    assert event == ("_creationTime", "_id", "action", "member_id", "metadata")


def test_what_is_refused_or_changes_nothing_leaves_no_event(app: Deployment) -> None:
    refused = tell(app, "addDocument:default", table="notes", documents=[{"body": 1.0}])
    assert not refused["success"]
    assert not tell(app, "replaceDocument:default", id="nonsense", document={})["success"]
    tell(app, "addDocument:default", table="notes", documents=[])
    tell(app, "deleteDocuments:default", toDelete=[{"id": "nonsense", "tableName": "notes"}])
    tell(app, "clearTablePage:default", tableName="notes", cursor=None)
    tell(app, "createTable:default", table="notes")
    with pytest.raises(CupolaError):
        tell(app, "fileStorageV2:deleteFile", storageId="nonsense")
    with pytest.raises(CupolaError):
        app.as_admin().mutation("_system/deployment/state:change", paused=False)
    set_variables(app, NEVER_SET=None)
    assert told(app) == []


def test_tables_files_and_uploads(app: Deployment) -> None:
    tell(app, "createTable:default", table="extra")
    one, two = app.action("notes:store", text="one"), app.action("notes:store", text="two")
    tell(app, "fileStorageV2:deleteFile", storageId=one)
    tell(app, "fileStorageV2:deleteFiles", storageIds=[two])
    assert tell(app, "fileStorageV2:generateUploadUrl").startswith("http")
    assert told(app) == [
        ("create_table", {**ROOT, "table": "extra"}),
        ("delete_files", {**ROOT, "storage_ids": [one]}),
        ("delete_files", {**ROOT, "storage_ids": [two]}),
        ("generate_upload_url", ROOT),
    ]


def test_variables_by_name_and_never_by_value(app: Deployment) -> None:
    set_variables(app, KEY="a secret", EMPTY="")
    set_variables(app, KEY="another secret", EMPTY="")
    set_variables(app, KEY=None)
    assert told(app) == [
        ("create_environment_variable", {"variable_name": "KEY"}),
        ("create_environment_variable", {"variable_name": "EMPTY"}),
        ("update_environment_variable", {"variable_name": "KEY"}),
        ("delete_environment_variable", {"variable_name": "KEY"}),
    ]
    assert b"secret" not in encode(events(app))


def test_pausing_and_resuming(app: Deployment) -> None:
    for paused in (True, True, False):
        app.as_admin().mutation("_system/deployment/state:change", paused=paused)
    assert told(app) == [("pause_deployment", {}), ("unpause_deployment", {})]


def test_what_apps_do_leaves_no_event_and_never_looks_at_the_table(app: Deployment) -> None:
    """Mutations, jobs and uploads of an app neither read nor write anything of the history."""
    looked_at: set[int] = set()
    reader = app.backend.node.persistence.reader
    scan, get = reader.scan, reader.get

    def seen_scan(index: int, *args: Any, **options: Any) -> Any:
        looked_at.add(index)
        return scan(index, *args, **options)

    def seen_get(index: int, *args: Any) -> Any:
        looked_at.add(index)
        return get(index, *args)

    reader.scan, reader.get = seen_scan, seen_get  # type: ignore[method-assign,assignment]
    written: list[int] = []
    app.backend.node.followers.append(
        lambda commits: written.extend(key.index for each in commits for key in each.written)
    )
    of_events = {system_index(EVENTS, name).number for name in ("by_id", "by_creation_time")}
    of_events.add(system_index(EVENTS, "by_action").number)

    app.mutation("notes:add", body="one")
    app.mutation("notes:later")
    app.mutation("notes:upload")
    assert written and not of_events & {*looked_at, *written}

    add(app, "by a dashboard")  # the spy sees what it looks for
    assert of_events <= {*looked_at, *written}
    assert [action for action, _ in told(app)] == ["add_documents"]


def test_functions_cannot_read_the_history(app: Deployment) -> None:
    add(app, "one")
    assert app.query("notes:peek", table="_deployment_events") == 0
    for function, args in (
        ("notes:look", {"id": events(app)[0]["_id"]}),
        ("notes:look_as_system", {"table": "_deployment_events"}),
    ):
        with pytest.raises(CupolaError):
            app.query(function, **args)


# ---------------------------------------------------------------------------------- how it is shown


def test_pages_come_newest_first_and_meet_without_a_gap(app: Deployment) -> None:
    for number in range(5):
        set_variables(app, **{f"N{number}": "x"})
    first = page(app, 2)
    second = page(app, 2, first["continueCursor"])
    third = page(app, 2, second["continueCursor"])
    shown = [e["metadata"]["variable_name"] for p in (first, second, third) for e in p["page"]]
    assert shown == ["N4", "N3", "N2", "N1", "N0"]
    assert [p["isDone"] for p in (first, second, third)] == [False, False, True]


def test_pages_are_filtered(app: Deployment) -> None:
    for number in range(4):
        app.clock.advance(1.0)
        set_variables(app, **{f"N{number}": "x"})
    set_variables(app, N0=None)
    times = [event["_creationTime"] for event in events(app)]

    def shown(**filters: Any) -> list[str]:
        return [event["metadata"]["variable_name"] for event in page(app, **filters)["page"]]

    assert shown(minDate=times[2]) == ["N0", "N3", "N2"]
    assert shown(minDate=times[1], maxDate=times[2]) == ["N2", "N1"]
    assert shown(minDate=times[2], maxDate=times[0]) == []
    assert shown(actions=["delete_environment_variable"]) == ["N0"]
    assert shown(actions=[]) == []
    assert shown(authorMemberIds=[Int64(7)]) == []
    assert names(app) == ["N0", "N1", "N2", "N3", "N0"]
    assert [e["_creationTime"] for e in events(app, times[3])] == times[3:]


def test_who_looks_hears_of_the_next_event(app: Deployment) -> None:
    """They are live queries; the newest push does not change with events of other kinds."""
    client = app.as_admin().connect()
    listed = client.subscribe(
        "_system/frontend/listDeploymentEventsFromTime:default", fromTimestamp=0.0
    )
    pushed = client.subscribe("_system/frontend/deploymentEvents:lastPushEvent")
    assert (listed.value, pushed.value) == ([], None)
    set_variables(app, A="1")
    assert [event["action"] for event in listed.value] == ["create_environment_variable"]
    assert pushed.value is None


# ---------------------------------------------------------------------------------------- its bound


def test_the_oldest_events_go(start: Callable[..., Deployment]) -> None:
    app = start(Limits(deployment_events_max=3))
    for number in range(5):
        set_variables(app, **{f"N{number}": "x"})
    assert names(app) == ["N2", "N3", "N4"]
    app.restart()
    set_variables(app, A="x", B="x")  # two in one transaction
    assert names(app) == ["N4", "A", "B"]


def test_a_lower_bound_holds_for_what_is_kept_already(start: Callable[..., Deployment]) -> None:
    app = start()
    for number in range(8):
        set_variables(app, **{f"N{number}": "x"})
    app.limits = Limits(deployment_events_max=2)
    app.restart()
    set_variables(app, LAST="x")
    assert names(app) == ["N7", "LAST"]


def test_an_event_of_very_much_says_how_much_it_leaves_out(
    start: Callable[..., Deployment],
) -> None:
    app = start(Limits(deployment_event_bytes_max=4096))
    add(app, *(["body"] * 200))
    ((_, metadata),) = told(app)
    assert metadata["left_out"] == 200 - len(metadata["document_ids"]) == 136
    assert len(encode(metadata)) <= 4096


def test_any_metadata_can_be_bounded() -> None:
    limits = Limits(deployment_event_bytes_max=1000)
    long = {"texts": ["x" * 5000, "y"], "diff": {"old": "z" * 5000, "new": "s"}, "short": "s"}
    assert bounded(long, limits) == {
        "texts": ["y"],
        "diff": {"old": None, "new": None},
        "short": "s",
        "left_out": 3.0,
    }
    many = {"lists": [{"names": ["name"] * 300}] * 9000}
    cut = bounded(many, limits)
    assert len(encode(cut)) <= 1000
    left_out = float(9000 - 4 + 4 * (300 - 4))
    assert cut == {"lists": [{"names": ["name"] * 4}] * 4, "left_out": left_out}
    assert bounded({"a": 1.0}, limits) == {"a": 1.0}
