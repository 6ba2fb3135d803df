"""Counts, sums, extremes, ranks and positions of index ranges, against a recount."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cupola import Aggregate, Table
from cupola.database import schema_push
from cupola.database.figures import count, nth, rank, summarize
from cupola.database.ranges import EVERYTHING, Range, key_range
from cupola.errors import ConflictError
from cupola.limits import Limits
from cupola.persistence.sqlite import SqlitePersistence, aggregates
from cupola.schema import schema_of
from cupola.values import UNSET

from .by_hand import Database


class Order(
    Table,
    name="orders",
    indexes={"by_shop": Aggregate("shop", "day", of="amount"), "by_day": Aggregate("day")},
):
    shop: str
    day: float
    amount: float | str | None = None


class PlainOrder(Table, name="orders"):
    shop: str
    day: float
    amount: float | str | None = None


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    """Blocks of four entries, and pushes of many steps."""
    monkeypatch.setattr(aggregates, "_STEP_BITS", 2)
    monkeypatch.setattr(aggregates, "_STEP_MASK", 3)
    monkeypatch.setattr(schema_push, "_BATCH", 3)
    monkeypatch.setattr(schema_push, "_DROP_BATCH", 3)


class Orders(Database):
    """A table of orders, pushed as its classes say."""

    def push_tables(self, *tables):
        return self.push(schema_of(tables))

    def accept_tables(self, *tables):
        return self.accept(schema_of(tables))

    def add(self, **fields):
        return self.insert("orders", **fields)

    def place(self, name, **constraints):
        index = self.committer.catalog.by_name["orders"].index(name)
        return index, key_range("orders", index, constraints)


@pytest.fixture(params=["memory", "sqlite"])
def database(request, tmp_path):
    log = None
    if request.param == "sqlite":
        log = SqlitePersistence(str(tmp_path / "data.sqlite"))
    database = Orders(log).accept_tables(Order)
    yield database
    database.persistence.close()


def figures(transaction, place):
    """Everything that an aggregated index says of a range."""
    summary = summarize(transaction, *place)
    numbers = [(repr(n.sum), n.minimum, n.maximum) for n in summary.numbers]
    positions = range(summary.count + 1)
    up = [nth(transaction, *place, n, descending=False) for n in positions]
    down = [nth(transaction, *place, n, descending=True) for n in positions]
    ranks = [rank(transaction, *place, d, descending=False) for d in up if d is not None]
    assert count(transaction, *place) == summary.count
    assert [None if d is None else d.value for d in reversed(up[:-1])] == [
        None if d is None else d.value for d in down[:-1]
    ]
    return summary.count, numbers, [d and d.value["_id"] for d in up], ranks


def recounted(transaction, place):
    """The same by reading every document."""
    index, _ = place
    found = [document.value for _, document in transaction.scan(*place)]
    numbers = []
    for _ in index.aggregate:
        amounts = [d["amount"] for d in found if type(d.get("amount")) is float]
        total = repr(sum(amounts, 0.0))  # the amounts are small whole numbers
        numbers.append((total, min(amounts, default=None), max(amounts, default=None)))
    ids = [d["_id"] for d in found]
    return len(found), numbers, [*ids, None], list(range(len(found)))


# ---------------------------------------------------------------- the law

shops = st.sampled_from(["a", "ab", "b"])
days = st.integers(0, 4).map(float)
amounts = st.one_of(st.integers(-9, 9).map(float), st.none(), st.just("?"))
orders = st.fixed_dictionaries({"shop": shops, "day": days, "amount": amounts})
writes = st.one_of(
    st.tuples(st.just("insert"), orders),
    st.tuples(st.just("patch"), st.integers(0, 50), orders),
    st.tuples(st.just("patch"), st.integers(0, 50), st.fixed_dictionaries({"amount": amounts})),
    st.tuples(st.just("delete"), st.integers(0, 50)),
    st.tuples(st.just("mark")),
    st.tuples(st.just("rollback")),
    st.tuples(st.just("look")),
)
programs = st.lists(
    st.tuples(
        st.sampled_from(["commit", "commit", "commit", "abandon", "discard", "restart", "step"]),
        st.lists(writes, max_size=8),
    ),
    max_size=12,
)


def assert_right(transaction, database, days):
    for place in (
        database.place("by_shop"),
        database.place("by_shop", shop="a"),
        database.place("by_shop", shop="ab", day=Range(gt=days[0], lte=days[1])),
        database.place("by_day", day=Range(gte=days[0])),
    ):
        assert figures(transaction, place) == recounted(transaction, place)


def run(transaction, steps, ids, look):
    """One transaction's program, over the documents it sees."""
    marks = []
    for name, *arguments in steps:
        there = [i for i in ids if transaction.get(i) is not None]
        match name:
            case "insert":
                ids.append(transaction.insert("orders", arguments[0]))
            case "patch" if there:
                transaction.patch(there[arguments[0] % len(there)], arguments[1])
            case "delete" if there:
                transaction.delete(there[arguments[0] % len(there)])
            case "mark":
                marks.append(transaction.mark())
            case "rollback" if marks:
                transaction.rollback(marks.pop())
            case "look":
                look(transaction)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(programs, st.lists(orders, max_size=12), st.tuples(days, days), st.booleans())
def test_every_figure_equals_a_recount(program, before, days, declared_later):
    """In transactions with own writes, nested calls taken back, groups that fail, restarts, and
    while the index is being built.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "data.sqlite")
        database = Orders(SqlitePersistence(path)).accept_tables(
            PlainOrder if declared_later else Order
        )
        ids = [database.add(**order) for order in before]
        push = database.push_tables(Order)
        is_declared = not declared_later

        def look(transaction):
            if is_declared:
                assert_right(transaction, database, days)

        for ending, steps in program:
            if ending == "restart":
                push.close()
                database.persistence.close()
                database = Orders(SqlitePersistence(path))
                push = database.push_tables(Order)
            if ending == "step" and next(push, push) is push:
                is_declared = True
            transaction = database.begin()
            run(transaction, steps, ids, look)
            look(transaction)
            if ending in ("commit", "abandon"):
                database.commit(transaction, decided=ending == "commit")
            look(database.begin())
        for _ in push:
            pass
        assert_right(database.begin(), database, days)
        database.persistence.close()


# ---------------------------------------------------------------- single claims


def test_a_count_costs_no_documents(database):
    """More of them than a transaction may read can be counted."""
    for n in range(9):
        database.add(shop="a", day=float(n), amount=1.0)
    database.limits = Limits(documents_read_max=3)
    transaction = database.begin()
    assert count(transaction, *database.place("by_shop", shop="a")) == 9
    assert nth(transaction, *database.place("by_day"), 5, descending=True).value["day"] == 3.0
    assert transaction.usage.documents_read == 1


def test_a_figure_of_one_prefix_does_not_conflict_with_writes_elsewhere(database):
    """The read set is the range, no more."""
    ada = database.add(shop="a", day=1.0, amount=1.0)
    ts, snapshot = database.committer.head_ts, database.persistence.open_snapshot()
    database.committer.write_log.open_snapshot(ts)
    counting, first = database.begin(snapshot), database.begin(snapshot)
    assert summarize(counting, *database.place("by_shop", shop="a")).count == 1
    assert nth(first, *database.place("by_day"), 0, descending=False).value["_id"] == ada

    database.add(shop="b", day=1.5, amount=1.0)
    database.committer.validate(counting.intervals(), ts)
    database.committer.validate(first.intervals(), ts)

    database.add(shop="a", day=0.0, amount=1.0)
    for transaction in (counting, first):
        with pytest.raises(ConflictError, match=r"orders\.by_"):
            database.committer.validate(transaction.intervals(), ts)
    snapshot.close()


def test_two_that_insert_into_different_ranges_do_not_conflict(database):
    ts, snapshot = database.committer.head_ts, database.persistence.open_snapshot()
    database.committer.write_log.open_snapshot(ts)
    elsewhere = database.begin(snapshot)
    count(elsewhere, *database.place("by_shop", shop="a"))
    elsewhere.insert("orders", {"shop": "a", "day": 1.0})
    database.add(shop="b", day=1.0)

    database.committer.validate(elsewhere.intervals(), ts)
    database.commit(elsewhere)
    assert count(database.begin(), *database.place("by_shop")) == 2
    snapshot.close()


def test_a_whole_table_is_counted_by_any_aggregated_index(database):
    for n in range(9):
        database.add(shop="a", day=float(n))
    database.limits = Limits(documents_read_max=3)
    transaction = database.begin()
    table = database.committer.catalog.by_name["orders"]
    transaction.insert("orders", {"shop": "b", "day": 1.0})
    assert count(transaction, table.primary, EVERYTHING) == 10
    assert count(transaction, table.index("by_creation_time"), EVERYTHING) == 10


def test_a_rank_is_that_of_the_range(database):
    ids = [database.add(shop=shop, day=1.0, amount=None) for shop in "aba"]
    transaction = database.begin()
    documents = [transaction.get(document_id) for document_id in ids]
    place = database.place("by_shop", shop="a")
    assert [rank(transaction, *place, d, descending=False) for d in documents] == [
        0,
        None,
        1,
    ]
    assert [rank(transaction, *place, d, descending=True) for d in documents] == [
        1,
        None,
        0,
    ]


def test_taking_the_aggregate_away_leaves_a_plain_index(database):
    """And its summaries are deleted with its rows."""

    class Plain(Table, name="orders", indexes={"by_shop": ["shop", "day"]}):
        shop: str
        day: float
        amount: float | str | None = None

    old = database.place("by_shop")[0].number
    for n in range(9):
        database.add(shop="a", day=float(n), amount=1.0)
    database.accept_tables(Plain)
    index, keys = database.place("by_shop", shop="a")
    assert index.aggregate is None
    assert count(database.begin(), index, keys) == 9
    assert database.persistence.reader.summarize(old, b"", None, fields=1).count == 0


def test_an_absent_field_is_no_number(database):
    first = database.add(shop="a", day=1.0, amount=5.0)
    transaction = database.begin()
    transaction.patch(first, {"amount": UNSET})
    (numbers,) = summarize(transaction, *database.place("by_shop")).numbers
    assert (numbers.sum, numbers.minimum) == (0.0, None)
