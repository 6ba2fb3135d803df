"""Charts of dashboards: what functions did, minute by minute, over HTTP and by a manual clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from cupola.backend import Backend
from cupola.clock import ManualClock
from cupola.functions.app import load_app
from cupola.limits import Limits
from cupola.persistence.sqlite import SqlitePersistence

from .conftest import RunningServer
from .raw_websocket import RawWebSocket

NOON_S = 1_700_006_400 - 1_700_006_400 % 3600  # the beginning of an hour
HOUR = {"start": 0, "end": 60, "buckets": 60}

NOTES = """
    import time

    class Note(Table, name="notes", indexes={"by_text": ["text"]}):
        text: str

    @query
    def all(ctx: QueryCtx) -> float:
        return len(ctx.db.query(Note).collect())

    @query
    def one(ctx: QueryCtx, id: Id[Note]) -> str:
        return ctx.db.get(id).text

    @mutation
    def add(ctx: MutationCtx, text: str) -> Id[Note]:
        if text == "bad":
            raise ValueError("no bad notes")
        return ctx.db.insert(Note(text=text))

    @mutation
    def rename(ctx: MutationCtx, id: Id[Note], text: str) -> None:
        ctx.db.patch(id, text=text)

    @mutation
    def later(ctx: MutationCtx, delay: float) -> None:
        ctx.scheduler.run_after(delay, act)

    @action
    async def act(ctx: ActionCtx) -> None:
        await ctx.run_mutation(add, text="by an action")

    @http_action("GET", "/hook")
    async def hook(ctx: HttpCtx, request: Request) -> Response:
        return Response("hooked")
"""


class Deployment:
    """A real server, whose clock moves when told to; asked as an administrator."""

    def __init__(self, running: RunningServer, clock: ManualClock) -> None:
        self.running = running
        self.clock = clock
        self.http = httpx.Client(base_url=running.url, timeout=10)
        self.admin = {"Authorization": f"Convex {running.backend.admin_keys.issue()}"}

    def call(self, path: str, **args: Any) -> Any:
        body = {"path": path, "args": args}
        answer = self.http.post("/api/function", json=body, headers=self.admin).json()
        return answer.get("value", answer.get("errorMessage"))

    def get(self, route: str, window: Any = None, **query: Any) -> httpx.Response:
        query = {"window": json.dumps(window or window_of(**HOUR)), **query}
        return self.http.get(f"/api/app_metrics/{route}", params=query, headers=self.admin)

    def chart(self, route: str, **query: Any) -> dict[int, float]:
        """What a chart of the hour shows, by minute; empty buckets are left out."""
        return known(self.get(route, **query).json())

    def charts(self, route: str, **query: Any) -> dict[Any, dict[int, float]]:
        return {name: known(points) for name, points in self.get(route, **query).json()}

    def begin(self) -> None:
        """Somebody looks for the first time."""
        assert known(self.get("udf_rate", path="notes:all", metric="invocations").json()) == {}

    def a_minute_later(self) -> None:
        self.running.run(lambda: self.clock.advance(60))

    def tick(self) -> None:
        self.running.run(self.running.backend.tick)


def window_of(start: float, end: float, buckets: int) -> dict[str, Any]:
    """Minutes of the hour that the clock begins in."""
    return {
        "start": {"secs_since_epoch": int(NOON_S + start * 60), "nanos_since_epoch": 0},
        "end": {"secs_since_epoch": int(NOON_S + end * 60), "nanos_since_epoch": 0},
        "num_buckets": buckets,
    }


def known(points: Any) -> dict[int, float]:
    return {
        (time["secs_since_epoch"] - NOON_S) // 60: value
        for time, value in points
        if value is not None
    }


@pytest.fixture
def start(
    start_server: Callable[..., RunningServer], write_app: Callable[..., Path]
) -> Iterator[Callable[..., Deployment]]:
    """Starts a deployment at noon."""
    app = write_app(notes=NOTES)
    opened: list[Deployment] = []

    def begin(in_workers: Sequence[str] = (), **limits: Any) -> Deployment:
        clock = ManualClock(NOON_S * 10**9)

        def make_backend() -> Backend:
            data = str(app / "data.sqlite3")
            persistence = SqlitePersistence(data) if in_workers else None
            backend = Backend(persistence, clock=clock, limits=Limits(**limits))
            if in_workers:
                backend.use_workers(data)
                backend.always_in_workers(in_workers)
            backend.deploy_now(load_app(app))
            return backend

        opened.append(Deployment(start_server(make_backend=make_backend), clock))
        return opened[-1]

    yield begin
    for deployment in opened:
        deployment.http.close()


@pytest.fixture
def at(start: Callable[..., Deployment]) -> Deployment:
    return start()


def test_calls_are_counted_by_the_minute_from_the_first_look(at: Deployment) -> None:
    """Rates are per second: dashboards multiply by the seconds of their buckets."""
    at.call("notes:add", text="before anybody looks")
    at.begin()
    at.call("notes:add", text="one")
    at.call("notes:add", text="bad")
    at.a_minute_later()
    at.a_minute_later()
    at.call("notes:add", text="two")

    asked = {"path": "notes.js:add", "udfType": "Mutation"}
    assert at.chart("udf_rate", metric="invocations", **asked) == {0: 2 / 60, 2: 1 / 60}
    assert at.chart("udf_rate", metric="errors", **asked) == {0: 1 / 60, 2: 0}
    points = at.get("udf_rate", metric="errors", **asked).json()
    assert len(points) == 60
    assert points[1] == [{"secs_since_epoch": NOON_S + 60, "nanos_since_epoch": 0}, None]


def test_buckets_may_be_longer_and_shorter_than_minutes(at: Deployment) -> None:
    at.begin()
    at.call("notes:add", text="one")
    at.a_minute_later()
    at.call("notes:add", text="two")
    asked = {"path": "notes:add", "metric": "invocations"}
    wide = at.get("udf_rate", window_of(0, 60, 6), **asked).json()
    assert [value for _, value in wide] == [2 / 600, None, None, None, None, None]
    narrow = at.get("udf_rate", window_of(0, 2, 4), **asked).json()
    assert [value for _, value in narrow] == [1 / 60, None, 1 / 60, None]
    elsewhere = at.get("udf_rate", window_of(-60, 0, 60), **asked).json()
    assert {value for _, value in elsewhere} == {None}


def test_only_the_newest_hour_is_kept(at: Deployment) -> None:
    at.begin()
    at.call("notes:add", text="one")
    for _ in range(59):
        at.a_minute_later()
    at.call("notes:add", text="two")
    asked = {"path": "notes:add", "metric": "invocations"}
    two_hours = window_of(0, 120, 120)
    assert known(at.get("udf_rate", two_hours, **asked).json()) == {0: 1 / 60, 59: 1 / 60}
    at.a_minute_later()
    at.call("notes:add", text="three")
    assert known(at.get("udf_rate", two_hours, **asked).json()) == {59: 1 / 60, 60: 1 / 60}


def test_a_query_that_is_shown_what_is_there_is_a_hit(at: Deployment) -> None:
    at.begin()
    for _ in range(4):
        at.call("notes:all")
    asked = {"path": "notes:all", "udfType": "Query"}
    assert at.chart("cache_hit_percentage", **asked) == {0: 75.0}
    assert at.chart("udf_rate", metric="cacheHits", **asked) == {0: 3 / 60}
    assert at.chart("udf_rate", metric="cacheMisses", **asked) == {0: 1 / 60}
    assert at.chart("udf_rate", metric="invocations", **asked) == {0: 4 / 60}
    assert at.chart("cache_hit_percentage", path="notes:never") == {}


def test_tables_tell_which_rows_were_read_and_written(at: Deployment) -> None:
    at.begin()
    first = at.call("notes:add", text="one")
    at.call("notes:add", text="two")
    at.call("notes:rename", id=first, text="uno")  # reads the old one
    at.a_minute_later()
    at.call("notes:all")
    at.call("notes:one", id=first)
    at.call("notes:one", id=first)  # from the cache
    assert at.chart("table_rate", name="notes", metric="rowsWritten") == {0: 3 / 60, 1: 0}
    assert at.chart("table_rate", name="notes", metric="rowsRead") == {0: 1 / 60, 1: 3 / 60}
    assert at.chart("table_rate", name="no_such_table", metric="rowsRead") == {}


def test_calls_in_workers_count_alike(start: Callable[..., Deployment]) -> None:
    at = start(in_workers=["notes:all", "notes:rename"])
    at.begin()
    first = at.call("notes:add", text="one")
    assert at.call("notes:rename", id=first, text="uno") is None
    assert at.call("notes:all") == 1
    assert at.chart("table_rate", name="notes", metric="rowsRead") == {0: 2 / 60}
    assert at.chart("table_rate", name="notes", metric="rowsWritten") == {0: 2 / 60}
    for path in ("notes:rename", "notes:all"):
        assert at.chart("udf_rate", path=path, metric="invocations") == {0: 1 / 60}
    assert at.running.backend.node.counters["worker_calls"] == 2


def test_latencies_are_in_seconds_by_percentile(at: Deployment) -> None:
    at.begin()
    ended: list[float] = []

    def slow_calls() -> None:
        """A hundred executions, of 1 to 100 ms by the clock of the deployment."""
        from cupola.backend.node import ExecutionLog

        node = at.running.backend.node
        for ms in range(1, 101):
            ended.append(ms / 1000)
            log = ExecutionLog("query", "notes:all", "id", ms / 1000, [], None)
            node.report(log, node.head_ts)

    at.running.run(slow_calls)
    at.running.eventually(lambda: not at.running.backend.node.outbox)
    found = at.charts("latency_percentiles", path="notes:all", percentiles="[99,50,100]")
    assert list(found) == [50, 99, 100]
    for percent, minutes in found.items():
        assert minutes[0] == pytest.approx(percent / 1000, rel=0.1)


def test_the_most_failing_functions_come_first(at: Deployment) -> None:
    at.begin()
    at.call("notes:add", text="bad")
    at.call("notes:add", text="good")
    at.call("notes:one", id="nonsense")
    at.call("notes:all")
    found = at.charts("failure_percentage_top_k", k=2)
    assert found == {"notes.js:one": {0: 100.0}, "notes.js:add": {0: 50.0}}
    assert list(found) == ["notes.js:one", "notes.js:add"]
    assert at.charts("failure_percentage_top_k", k=1)["_rest"] == {0: 50.0}


def test_the_least_cached_queries_come_first(at: Deployment) -> None:
    at.begin()
    note = at.call("notes:add", text="one")
    at.call("notes:one", id=note)
    for _ in range(2):
        at.call("notes:all")
    found = at.charts("cache_hit_percentage_top_k")
    assert list(found.items()) == [("notes.js:one", {0: 0.0}), ("notes.js:all", {0: 50.0})]


def test_the_most_called_functions_come_first_and_the_rest_together(at: Deployment) -> None:
    at.begin()
    for number in range(3):
        at.call("notes:add", text=str(number))
    at.call("notes:all")
    at.call("notes:act")  # which adds a note, too
    assert at.http.get("/http/hook").text == "hooked"
    found = at.charts("function_call_count_top_k", k=1)
    assert found == {"notes.js:add": {0: 4}, "_rest": {0: 3}}
    everything = at.charts("function_call_count_top_k")
    assert everything["GET /hook"] == {0: 1} == everything["notes.js:act"]
    route = at.chart("udf_rate", path="GET /hook", udfType="HttpAction", metric="invocations")
    assert route == {0: 1 / 60}


def test_names_beyond_a_bound_are_counted_together(start: Callable[..., Deployment]) -> None:
    at = start(metrics_functions_max=1)
    at.begin()
    at.call("notes:add", text="one")
    at.call("notes:all")
    at.call("notes:one", id="nonsense")
    found = at.charts("function_call_count_top_k")
    assert found == {"notes.js:add": {0: 1}, "_rest": {0: 2}}


def test_functions_that_do_not_exist_take_no_room(at: Deployment) -> None:
    at.begin()
    at.call("notes:missing")
    at.call("_system/frontend/tableSize:default", tableName="notes")
    assert at.charts("function_call_count_top_k") == {}


def test_a_mutation_that_makes_live_queries_stale_is_named(at: Deployment) -> None:
    """Each subscription counts, also where several clients share one execution."""
    at.begin()
    clients = [subscribed(at, "notes:all") for _ in range(2)]
    at.call("notes:add", text="one")
    for client in clients:
        transition(client)
    mutation = at.charts("subscription_invalidations_top_k")
    assert mutation == {"notes.js:add:notes": {0: 2}}
    by_table = at.charts("subscription_invalidations_top_k", udfPath="notes:add")
    assert by_table == {"notes": {0: 2}}
    rate = at.chart("udf_rate", path="notes:add", metric="subscriptionInvalidations")
    assert rate == {0: 2 / 60}
    for client in clients:
        client.__exit__()


def subscribed(at: Deployment, path: str) -> RawWebSocket:
    client = at.running.websocket()
    session = "00000000-0000-4000-8000-000000000000"
    add = {"type": "Add", "queryId": 0, "udfPath": path, "args": [{}]}
    messages: list[dict[str, Any]] = [
        {"type": "Connect", "sessionId": session, "connectionCount": 0, "lastCloseReason": None},
        {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": [add]},
    ]
    for message in messages:
        client.send(json.dumps(message).encode())
    transition(client)
    return client


def transition(client: RawWebSocket) -> None:
    while json.loads(client.receive_text())["type"] != "Transition":
        pass


def test_a_job_that_cannot_begin_is_late(start: Callable[..., Deployment]) -> None:
    """What is due and has no room waits, and the chart shows for how long."""
    at = start(scheduled_actions_running_max=0)
    at.begin()
    at.call("notes:later", delay=0)
    at.tick()
    assert at.chart("scheduled_job_lag") == {0: 0.0}
    at.a_minute_later()
    at.tick()
    at.a_minute_later()
    assert at.chart("scheduled_job_lag") == {0: 0.0, 1: 60.0, 2: 120.0}
    queued = at.get("function_concurrency").json()
    assert known(queued["outstanding_functions:isolate:Action:queued"]) == {0: 1, 1: 1, 2: 1}
    assert known(queued["outstanding_functions:isolate:Mutation:running"]) == {0: 0, 1: 0, 2: 0}
    assert len(queued) == 6


def test_counting_ends_an_hour_after_the_last_look(at: Deployment) -> None:
    at.begin()
    node = at.running.backend.node
    followers = len(node.followers)
    at.call("notes:add", text="one")
    for _ in range(61):
        at.a_minute_later()
    at.tick()
    at.call("notes:add", text="nobody counts")
    at.call("notes:all")
    assert at.running.run(lambda: len(node.followers)) == followers - 1
    assert node.saw_cached is None and not node.tickers
    whole_day = window_of(0, 1440, 24)
    found = at.get("udf_rate", whole_day, path="notes:add", metric="invocations").json()
    assert {value for _, value in found} == {None}


def test_only_administrators_look(at: Deployment) -> None:
    url = "/api/app_metrics/scheduled_job_lag"
    nobody = at.http.get(url)
    assert (nobody.status_code, nobody.json()["code"]) == (403, "BadDeployKey")
    read_only = {"Authorization": f"Convex {at.running.backend.admin_keys.issue(True)}"}
    query = {"window": json.dumps(window_of(**HOUR))}
    assert at.http.get(url, params=query, headers=read_only).status_code == 200


RATE = {"path": "notes:all", "metric": "invocations"}
BAD_INPUT = [
    ("udf_rate", {**RATE, "window": "nonsense"}, "InvalidWindow", "window"),
    ("udf_rate", {**RATE, "window": "[]"}, "InvalidWindow", "window"),
    (
        "udf_rate",
        {**RATE, "window": '{"start":1,"end":2,"num_buckets":3}'},
        "InvalidWindow",
        "start",
    ),
    ("udf_rate", {**RATE, "window": window_of(0, 60, 0)}, "InvalidWindow", "num_buckets"),
    ("udf_rate", {**RATE, "window": window_of(0, 60, 10_001)}, "InvalidWindow", "num_buckets"),
    ("udf_rate", {**RATE, "window": window_of(60, 0, 60)}, "InvalidWindow", "ends before"),
    ("udf_rate", {**RATE, "window": window_of(0, 0, 1)}, "InvalidWindow", "ends before"),
    ("udf_rate", {**RATE, "window": window_of(-1e9, 0, 1)}, "InvalidWindow", "`start`"),
    ("udf_rate", {"path": "notes:all"}, "BadQueryArgs", "metric"),
    ("udf_rate", {"path": "notes:all", "metric": "speed"}, "InvalidMetric", "'speed'"),
    ("udf_rate", {"metric": "errors"}, "BadQueryArgs", "path"),
    ("udf_rate", {**RATE, "path": "a b:c"}, "BadConvexFunctionIdentifier", "a b"),
    ("udf_rate", {**RATE, "udfType": "Cron"}, "BadQueryArgs", "cron"),
    ("table_rate", {"metric": "rowsRead"}, "BadQueryArgs", "name"),
    ("table_rate", {"name": "notes", "metric": "rows"}, "InvalidMetric", "rowsRead"),
    ("latency_percentiles", {"path": "notes:all"}, "BadQueryArgs", "percentiles"),
    *(
        (
            "latency_percentiles",
            {"path": "notes:all", "percentiles": bad},
            "InvalidPercentiles",
            bad,
        )
        for bad in ("[]", "[101]", "[-1]", "50", "[1.5]", "x")
    ),
    *(
        ("failure_percentage_top_k", {"k": bad}, "InvalidTopKParameter", f"'{bad}'")
        for bad in ("0", "26", "-1", "x", "1e3", "٣")
    ),
    (
        "function_call_count_top_k",
        {"k": "25", "window": window_of(0, 60, 10_000)},
        "InvalidWindow",
        "26",
    ),
]


def test_bad_input_is_named(at: Deployment) -> None:
    for route, query, code, named in BAD_INPUT:
        window = query.get("window", window_of(**HOUR))
        text = window if isinstance(window, str) else json.dumps(window)
        params = {**query, "window": text}
        answer = at.http.get(f"/api/app_metrics/{route}", params=params, headers=at.admin)
        found = (answer.status_code, answer.json()["code"])
        assert found == (400, code), (route, query, answer.text)
        assert named in answer.json()["message"], (route, query)
    missing = at.http.get("/api/app_metrics/scheduled_job_lag", headers=at.admin)
    assert (missing.status_code, missing.json()["code"]) == (400, "InvalidWindow")
