"""What the conformance checklist asks of queries and mutations beyond `test_calls.py`."""

import dataclasses

import pytest

from cupola.auth import Identity
from cupola.clock import ManualClock
from cupola.limits import DEFAULT_LIMITS
from cupola.values import decode

from .conftest import SCHEMA, Server
from .test_live import Client

pytestmark = pytest.mark.node

ADA, BOB = (
    Identity(
        "user", {"subject": name, "issuer": "https://a", "tokenIdentifier": f"https://a|{name}"}
    )
    for name in ("ada", "bob")
)


def insert(server, body, table="messages", **fields):
    return server.mutation("semantics:insert", table=table, document={"body": body, **fields})


# ------------------------------------------------------------------------------------- documents


def test_a_missing_field_is_the_smallest_value(server):
    """`undefined` in a bound matches documents without the field; ties go by creation time."""
    in_a = {"channel": "a"}
    for body, fields in (("m1", {}), ("a1", in_a), ("m2", {}), ("a2", in_a)):
        insert(server, body, **fields)
    insert(server, "b1", channel="b")

    assert server.query("semantics:ranges") == {
        "missing": ["m1", "m2"],
        "below": ["m1", "m2", "a1", "a2"],
        "backwards": ["a2", "a1", "m2", "m1"],
    }


def test_a_document_that_is_gone_is_null(server):
    document_id = insert(server, "gone")
    server.mutation("semantics:remove", id=document_id)
    assert server.query("messages:get", id=document_id) is None


def test_an_argument_of_another_tables_id_is_refused(server):
    document_id = insert(server, "elsewhere", table="others")
    text = server.failure("mutation", "messages:edit", id=document_id)
    assert text.startswith("ArgumentValidationError: ")
    assert "from table `others`, which does not match the table name in validator" in text


def test_without_validation_a_schema_accepts_everything_and_still_has_indexes(code, tmp_path):
    strict = {"type": "object", "value": {"channel": field("string"), "body": field("string")}}
    table = {**SCHEMA["tables"][0], "documentType": strict}
    lenient = {"tables": [table], "schemaValidation": False}
    server = Server(code, tmp_path / "data.sqlite3", schema=lenient)
    try:
        insert(server, 7.0, channel=["no text"])
        insert(server, "x", channel="a")
        assert server.query("semantics:ranges")["below"] == ["x"]
        assert server.query("messages:all") == [7.0, "x"]
    finally:
        server.close()


def field(kind):
    return {"fieldType": {"type": kind}, "optional": False}


# --------------------------------------------------------------------------------- environment


@pytest.mark.parametrize("kind", ["query", "mutation"])
def test_a_run_has_one_time_and_its_own_randomness(server, kind):
    """Both belong to the deployment while modules are imported, and to the run afterwards."""
    runs = [
        server.query("semantics:environment", n=n)
        if kind == "query"
        else server.mutation("semantics:environmentOfMutation")
        for n in (1.0, 2.0)
    ]
    one, two = runs
    assert one["imported"] == two["imported"]
    assert one["imported"][0] == 1_700_000_000_000
    assert all(run["now"] == run["later"] > run["imported"][0] for run in runs)
    assert one["random"] != two["random"]
    assert len({one["uuid"], two["uuid"]}) == 2


def test_a_mutation_makes_ids_but_no_keys(server):
    assert len(server.mutation("semantics:environmentOfMutation")["uuid"]) == 36
    text = server.failure("mutation", "semantics:generatesKey")
    assert "Can't use cryptographic randomness in queries and mutations" in text


def test_what_is_scheduled_counts_from_the_runs_own_time(server):
    scheduled = server.mutation("semantics:schedules", fails=False)
    job = server.query("later:job", id=scheduled["job"])
    assert job["scheduledTime"] == scheduled["now"] + 1500
    known = {each["_id"] for each in server.query("later:jobs")}
    server.failure("mutation", "semantics:schedules", fails=True)
    assert {each["_id"] for each in server.query("later:jobs")} <= known
    server.mutation("later:cancel", id=scheduled["job"])


# ---------------------------------------------------------------------------------- pagination


def page(server, path="semantics:pageByChannel", **options):
    return server.call("query", path, paginationOpts={"numItems": 1, "cursor": None, **options})


def test_a_cursor_of_another_query_is_refused(server):
    insert(server, "x", channel="a")
    foreign = decode(page(server).value)["continueCursor"]
    refused = page(server, "messages:page", cursor=foreign)
    assert "InvalidCursor" in refused.error_message
    assert refused.error_data == b'{"isConvexSystemError":true,"paginationError":"InvalidCursor"}'


def test_a_page_grows_inside_and_sleeps_after_its_end(server):
    """Its end is pinned by the journal, so that the next page stays adjacent."""
    for channel in "ace":
        insert(server, channel, channel=channel)

    async def story():
        client = Client(server)
        live = client.subscribe(
            "semantics:pageByChannel", paginationOpts={"numItems": 2, "cursor": None}
        )
        shown = lambda: [each["body"] for each in client.values[live][-1]["page"]]  # noqa: E731
        await client.until(lambda: client.values.get(live))
        assert shown() == ["a", "c"]
        runs = server.backend.node.counters["worker_calls"]
        await send("z")
        after_runs = server.backend.node.counters["worker_calls"] - runs
        await send("b")
        await client.until(lambda: shown() == ["a", "b", "c"])
        client.leave()
        return after_runs

    async def send(channel):
        await server.ask(
            "mutation",
            "semantics:insert",
            {"table": "messages", "document": {"body": channel, "channel": channel}},
        )

    assert server.run(story()) == 1, "the mutation, and not the query"


# ------------------------------------------------------------------------------------ the cache


def test_a_result_is_shared_among_callers_that_it_does_not_look_at(server):
    one, two = (server.value("query", "semantics:looksAtNobody", who) for who in (ADA, BOB))
    assert one == two
    ada, bob = (server.value("query", "semantics:looksAtCaller", who) for who in (ADA, BOB))
    assert (ada[0], bob[0]) == ("ada", "bob")
    assert ada[1] != bob[1]
    assert server.value("query", "semantics:looksAtCaller", ADA) == ada


TIME_DEPENDENT = ["looksAtTime", "looksAtTimeInside", "measures"]


@pytest.fixture(scope="module")
def timed(code, tmp_path_factory):
    """A deployment whose clock moves when it is told to."""
    clock = ManualClock()
    server = Server(code, tmp_path_factory.mktemp("timed") / "data.sqlite3", clock=clock)
    yield server, clock
    server.close()


@pytest.mark.parametrize("name", TIME_DEPENDENT)
def test_a_result_of_its_time_is_given_to_nobody_after_17_seconds(timed, name):
    server, clock = timed
    first = server.query(f"semantics:{name}")
    clock.advance(16.9)
    assert server.query(f"semantics:{name}") == first
    clock.advance(0.2)
    assert server.query(f"semantics:{name}") != first


def test_a_result_that_never_looked_at_the_clock_stays(timed):
    server, clock = timed
    first = server.query("semantics:looksAtNobody")
    clock.advance(1000)
    assert server.query("semantics:looksAtNobody") == first


def test_a_live_result_stays_while_new_askers_get_a_new_one(timed):
    """Time alone runs no live query again."""
    server, clock = timed

    async def story():
        client = Client(server)
        live = client.subscribe("semantics:looksAtTime")
        await client.until(lambda: client.values.get(live))
        clock.advance(18)
        asked = decode((await server.ask("query", "semantics:looksAtTime", {})).value)
        late = Client(server)
        again = late.subscribe("semantics:looksAtTime")
        await late.until(lambda: late.values.get(again))
        client.leave()
        late.leave()
        return client.values[live], asked, late.values[again]

    (first,), asked, (second,) = server.run(story())
    assert asked[0] == second[0] == first[0] + 18_000


# ------------------------------------------------------------------------------------- limits


@pytest.fixture
def small(code, tmp_path):
    """A deployment where a transaction may read 20 documents; 32,000 is the default."""
    assert DEFAULT_LIMITS.documents_read_max == 32_000
    limits = dataclasses.replace(DEFAULT_LIMITS, documents_read_max=20)
    server = Server(code, tmp_path / "data.sqlite3", limits=limits)
    yield server
    server.close()


def test_reading_too_much_can_be_caught_and_cuts_a_page_short(small):
    small.mutation("semantics:insertMany", count=20, channel="a")
    assert small.query("semantics:readsTooMuch") == "read all"
    small.mutation("semantics:insertMany", count=1, channel="a")
    assert "20" in small.query("semantics:readsTooMuch")
    cut = small.query("messages:page", paginationOpts={"numItems": 100, "cursor": None})
    assert cut["pageStatus"] == "SplitRequired"
    assert len(cut["page"]) == 20
    assert not cut["isDone"]


# ------------------------------------------------------------------------- limits of nested calls


def test_a_nested_call_keeps_to_the_limits_that_it_is_given(server):
    """Its writes are taken back; the caller goes on with what the transaction still has."""
    found = server.mutation("semantics:budgets", limits={"documentsWritten": 2, "documentsRead": 4})
    assert "Too many documents written" in found["inside"]
    assert "Too many documents read" in found["read"]
    assert found["all"] == 6


def test_a_nested_call_within_its_limits_is_like_any_other(server):
    found = server.mutation("semantics:budgets", limits={"documentsWritten": 3, "documentsRead": 9})
    assert found["inside"] is None
    assert len(found["read"]) == found["all"] == 9


def test_limits_of_files_are_taken(server):
    """The package's types have them; files do not count here."""
    assert server.mutation("semantics:budgets", limits={"filesWritten": 0})["inside"] is None


@pytest.mark.parametrize("limits", [{"documents": 1}, {"bytesRead": -1}, {"bytesRead": "1"}])
def test_limits_that_make_no_sense_are_refused(server, limits):
    found = server.mutation("semantics:budgets", limits=limits)
    assert "Invalid argument `transactionLimits" in found["inside"]
