"""Live queries: run once for all who ask the same, again exactly when what they read is touched."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from cupola.auth import Identity
from cupola.backend.calls import CallRequest
from cupola.testing import Deployment
from cupola.values import encode


@pytest.fixture
def runs(cupola: Deployment) -> Counter[str]:
    """How often each query has run."""
    counter: Counter[str] = Counter()
    cupola.backend.node.watchers.append(lambda log: counter.update([log.path]))
    return counter


def test_a_query_runs_once_for_a_thousand_subscribers(
    cupola: Deployment, runs: Counter[str]
) -> None:
    """And once more for each write that touches it, however many listen."""
    subscriptions = [cupola.connect().subscribe("items:list", group="a") for _ in range(1000)]
    assert runs["items:list"] == 1

    cupola.mutation("items:add", group="a", rank=1, text="new")

    assert runs["items:list"] == 2
    assert all(s.value == ["new"] and len(s.updates) == 2 for s in subscriptions)


class Wire:
    """The transport of a client that only counts what it gets."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def send(self, *frames: bytes) -> None:
        self.frames.extend(frames)

    def close(self, code: int | None, reason: str) -> None:
        raise AssertionError(reason)


@pytest.mark.parametrize(("query", "expected_runs"), [("items:list", 1), ("items:mine", 2)])
def test_a_herd_that_arrives_at_once_shares_one_run(
    cupola: Deployment, runs: Counter[str], query: str, expected_runs: int
) -> None:
    """As after a restart, when all ask again in the same moment. A query that looks at its caller
    runs once for each caller."""
    backend = cupola.backend
    cupola.mutation("items:write_note", owner="ada", text="first")
    args = b'{"group":"a"}' if query == "items:list" else b"{}"
    add = b'{"type":"Add","queryId":0,"udfPath":"%b","args":[%b]}' % (query.encode(), args)
    wires = [Wire() for _ in range(100)]
    for number, wire in enumerate(wires):
        host = backend.open_session(wire)
        session = str(uuid.UUID(int=number + 1))
        host.receive(b'{"type":"Connect","connectionCount":0,"sessionId":"%b"}' % session.encode())
        if number % 2:
            host.identity = Identity("user", {"subject": "ada"})
        host.receive(
            b'{"type":"ModifyQuerySet","baseVersion":0,"newVersion":1,"modifications":[%b]}' % add
        )
    runs.clear()
    backend.run_until_idle()

    assert runs[query] == expected_runs
    assert all(len(wire.frames) == 1 for wire in wires)

    runs.clear()
    cupola.mutation("items:add", group="a", rank=1, text="new")
    assert runs["items:list"] == (1 if query == "items:list" else 0)


Act = Callable[[Deployment, Any], Any]


@pytest.mark.parametrize(
    ("query", "args", "act", "expected_runs"),
    [
        ("between", {"low": 2, "high": 5}, {"rank": 2}, 1),
        ("between", {"low": 2, "high": 5}, {"rank": 4.9}, 1),
        ("between", {"low": 2, "high": 5}, {"rank": 5}, 0),
        ("between", {"low": 2, "high": 5}, {"rank": 1.9}, 0),
        ("between", {"low": 7, "high": 9}, {"rank": 8}, 1),  # it was empty
        ("between", {"low": 7, "high": 9}, {"rank": 8, "group": "b"}, 0),
        ("first", {"count": 2}, {"rank": 0}, 1),
        ("first", {"count": 2}, {"rank": 2}, 0),  # behind the last row it looked at
        ("first", {"count": 9}, {"rank": 8}, 1),  # it looked at the end
        ("count", {}, {"rank": 8}, 1),
        ("count", {}, {"rank": 8, "group": "b"}, 0),
    ],
)
def test_a_query_runs_again_exactly_when_its_range_is_touched(
    cupola: Deployment,
    runs: Counter[str],
    query: str,
    args: dict[str, Any],
    act: dict[str, Any],
    expected_runs: int,
) -> None:
    cupola.mutation("items:add", group="a", rank=0.5)
    cupola.mutation("items:add", group="a", rank=1)
    cupola.connect().subscribe(f"items:{query}", group="a", **args)
    runs.clear()

    cupola.mutation("items:add", **{"group": "a", **act})

    assert runs[f"items:{query}"] == expected_runs


def test_a_read_of_one_document_follows_that_document(
    cupola: Deployment, runs: Counter[str]
) -> None:
    """Its edits and its end, and nobody else's."""
    first = cupola.mutation("items:add", group="a", rank=1, text="one")
    second = cupola.mutation("items:add", group="a", rank=2, text="two")
    item = cupola.connect().subscribe("items:get", item=first)

    cupola.mutation("items:edit", item=second, text="zwei")
    assert runs["items:get"] == 1
    cupola.mutation("items:edit", item=first, text="eins")
    cupola.mutation("items:remove", item=first)

    assert item.updates == ["one", "eins", None]


def test_an_id_that_is_missing_is_a_read(cupola: Deployment) -> None:
    """Whoever found nothing hears when a document of that id comes back, by an undelete say."""
    first = cupola.mutation("items:add", group="a", rank=1, text="one")
    node = cupola.backend.node
    stored = node.persistence.reader.scan(
        node.committer.catalog.by_name["items"].primary.number,
        b"",
        None,
        descending=False,
        limit=1,
    )
    cupola.mutation("items:remove", item=first)
    item = cupola.connect().subscribe("items:get", item=first)
    assert item.value is None

    _undelete(cupola, "items", first, stored[0][2])

    assert item.next() == "one"


def _undelete(app: Deployment, table: str, document_id: str, body: bytes) -> None:
    from cupola.database.documents import StoredDocument
    from cupola.database.writes import Write
    from cupola.persistence import CommitRecord

    node = app.backend.node
    info = node.committer.catalog.by_name[table]
    node.committer.begin_group()
    node.committer.apply(
        [Write(info, document_id, None, StoredDocument(None, body))], CommitRecord("undelete")
    )
    node.publish(node.committer.append_group())
    app.settle()


def test_a_write_is_one_modification_for_whom_it_concerns(cupola: Deployment) -> None:
    """A hundred disjoint ranges, one write: one Transition with one modification."""
    clients = [cupola.connect() for _ in range(10)]
    live = [
        clients[n % 10].subscribe("items:between", group="a", low=n, high=n + 1) for n in range(100)
    ]
    transitions: list[int] = []
    for number, client in enumerate(clients):
        client.on_transition = lambda number=number: transitions.append(number)  # type: ignore[misc]

    cupola.mutation("items:add", group="a", rank=42.5)

    assert [n for n, subscription in enumerate(live) if not subscription.is_quiet] == [42]
    assert transitions == [2]


def test_an_unchanged_result_is_not_sent(cupola: Deployment, runs: Counter[str]) -> None:
    """The query runs, since its document was written, but it comes to the same."""
    item = cupola.mutation("items:add", group="a", rank=1, text="same")
    live = cupola.connect().subscribe("items:get", item=item)
    transitions: list[None] = []

    cupola.mutation("items:edit", item=item, text="same")

    assert runs["items:get"] == 2
    assert live.is_quiet
    assert transitions == []


def test_all_queries_of_a_client_show_one_moment(cupola: Deployment) -> None:
    """Ten thousand random moves between two accounts: no pair of results ever breaks the sum."""
    cupola.mutation("items:move", giver="stock", taker="cart", amount=0)
    chance = random.Random(16)
    clients = [cupola.connect() for _ in range(3)]
    pairs = [
        [client.subscribe("items:amount", name=name) for name in ("stock", "cart")]
        for client in clients
    ]
    for client, pair in zip(clients, pairs, strict=True):
        client.on_transition = lambda pair=pair: _sums_to_zero(pair)  # type: ignore[misc]

    moved = 0
    while moved < 10_000:
        batch = chance.randrange(1, 100)
        moved += batch
        for _ in range(batch):
            names = chance.sample(["stock", "cart"], 2)
            args = {"giver": names[0], "taker": names[1], "amount": chance.randrange(9)}
            request = CallRequest("mutation", "items:move", encode(args))
            cupola.backend.submit(request, lambda result: None)
        cupola.settle()
    assert all(len(stock.updates) > 100 for stock, _ in pairs)


def _sums_to_zero(pair: list[Any]) -> None:
    stock, cart = pair
    assert stock.value + cart.value == 0


def test_what_depends_on_the_caller_is_never_shared(cupola: Deployment) -> None:
    """Also when a query begins to look at its caller only after many share one result."""
    callers = {
        "ada": cupola.as_user("ada"),
        "bob": cupola.as_user("bob"),
        "nobody": cupola,
    }
    live = {name: caller.connect().subscribe("items:mine") for name, caller in callers.items()}
    again = cupola.as_user("ada").connect().subscribe("items:mine")
    assert [subscription.value for subscription in live.values()] == [[], [], []]

    for owner in ("ada", "bob", "ada", "nobody"):
        cupola.mutation("items:write_note", owner=owner, text=f"for {owner}")

    expected = {"ada": ["for ada"] * 2, "bob": ["for bob"], "nobody": ["for nobody"]}
    assert {name: subscription.value for name, subscription in live.items()} == expected
    assert again.value == expected["ada"]
    for name, caller in callers.items():
        assert caller.query("items:mine") == expected[name]
        assert caller.connect().subscribe("items:mine").value == expected[name]


def test_a_client_that_becomes_someone_else_sees_their_data(cupola: Deployment) -> None:
    cupola.mutation("items:write_note", owner="ada", text="hers")
    ada = cupola.as_user("ada").connect()
    notes = ada.subscribe("items:mine")
    assert notes.value == ["hers"]

    ada.carry_out(ada.session.authenticate(None))
    cupola.settle()

    assert notes.next() == []


def test_a_query_at_an_older_timestamp_is_never_answered_with_newer_data(
    cupola: Deployment,
) -> None:
    before_ts = cupola.backend.newest_durable_ts()
    cupola.mutation("items:add", group="a", rank=1, text="new")
    assert cupola.query("items:list", group="a") == ["new"]  # it is in the cache now

    answers: list[Any] = []
    args = encode({"group": "a"})
    request = CallRequest("query", "items:list", args, at_ts=before_ts)
    cupola.backend.submit(request, answers.append)
    cupola.settle()

    assert answers[0].value is None
    assert answers[0].error.code == "OutOfRetention"
