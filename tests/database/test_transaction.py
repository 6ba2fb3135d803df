"""One transaction against a plain dict: it reads the snapshot with its own writes done."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cupola.database import figures
from cupola.database.ranges import Range, key_range
from cupola.errors import ConflictError, DatabaseUseError, InvalidIdError, LimitError
from cupola.limits import Limits
from cupola.persistence import CommitRecord
from cupola.schema import SchemaDefinition
from cupola.values import Int64, encode

from .by_hand import Database

SCHEMA = SchemaDefinition.from_json(
    {
        "schemaValidation": True,
        "tables": [
            {
                "tableName": "items",
                "indexes": [{"indexDescriptor": "by_rank", "fields": ["rank"]}],
                "documentType": {"type": "any"},
            }
        ],
    }
)


def open_database(limits: Limits | None = None) -> Database:
    return Database(limits=limits).accept(SCHEMA)


def by_rank(database, **constraints):
    index = database.committer.catalog.by_name["items"].index("by_rank")
    return index, key_range("items", index, constraints)


def ranks(transaction, place, **options):
    return [d.value["rank"] for _, d in transaction.scan(*place, **options)]


@pytest.fixture
def database():
    return open_database()


# ---------------------------------------------------------------- the model

ranks_of = st.integers(0, 12).map(float)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), ranks_of, st.just(0)),
        st.tuples(st.just("patch"), ranks_of, st.integers(0, 30)),
        st.tuples(st.just("delete"), st.just(0.0), st.integers(0, 30)),
        st.tuples(st.just("mark"), st.just(0.0), st.just(0)),
        st.tuples(st.just("rollback"), st.just(0.0), st.just(0)),
        st.tuples(st.just("scan"), ranks_of, st.integers(0, 12)),
    ),
    max_size=40,
)


@settings(max_examples=120, deadline=None)
@given(st.lists(ranks_of, max_size=20), steps)
def test_a_transaction_sees_the_snapshot_with_its_own_writes_done(before, program):
    """Own writes, sub-transactions taken back, ranges in both directions: always the plain view."""
    database = open_database()
    seeding = database.begin()
    model = {seeding.insert("items", {"rank": rank}): rank for rank in before}
    database.commit(seeding)
    transaction = database.begin()
    marks: list[tuple[int, dict[str, float]]] = []
    for verb, rank, number in program:
        ids = sorted(model)
        target = ids[number % len(ids)] if ids else None
        if verb == "insert":
            model[transaction.insert("items", {"rank": rank})] = rank
        elif verb == "patch" and target is not None:
            transaction.patch(target, {"rank": rank})
            model[target] = rank
        elif verb == "delete" and target is not None:
            transaction.delete(target)
            del model[target]
        elif verb == "mark":
            marks.append((transaction.mark(), dict(model)))
        elif verb == "rollback" and marks:
            mark, model = marks.pop()
            transaction.rollback(mark)
        elif verb == "scan":
            low, high = sorted([rank, float(number)])
            place = by_rank(database, rank=Range(gte=low, lt=high))
            expected = sorted(value for value in model.values() if low <= value < high)
            assert ranks(transaction, place, expect=2) == expected
            assert ranks(transaction, place, expect=3, descending=True) == expected[::-1]
            assert figures.count(transaction, *place) == len(expected)
    for document_id, rank in model.items():
        assert transaction.get(document_id).value["rank"] == rank
    database.commit(transaction)
    assert ranks(database.begin(), by_rank(database)) == sorted(model.values())


# ---------------------------------------------------------------- scans that write


def test_a_loop_may_change_what_it_runs_over(database):
    """A scan goes on after the last key it yielded, in the present state."""
    seeding = database.begin()
    for rank in range(50):
        seeding.insert("items", {"rank": float(rank)})
    database.commit(seeding)
    transaction = database.begin()

    seen = []
    for _, document in transaction.scan(*by_rank(database), expect=4):
        rank = document.value["rank"]
        seen.append(rank)
        if rank < 50:
            transaction.patch(str(document.value["_id"]), {"rank": rank + 100})

    assert seen == [float(r) for r in range(50)] + [float(r + 100) for r in range(50)]


def test_a_row_deleted_ahead_of_a_scan_is_not_yielded(database):
    """What was prefetched is dropped when a write touches what lies ahead."""
    seeding = database.begin()
    ids = [seeding.insert("items", {"rank": float(rank)}) for rank in range(10)]
    database.commit(seeding)
    transaction = database.begin()

    seen = []
    for _, document in transaction.scan(*by_rank(database)):
        seen.append(document.value["rank"])
        if document.value["rank"] == 2:
            transaction.delete(ids[5])

    assert 5.0 not in seen and len(seen) == 9


# ---------------------------------------------------------------- read sets


def test_take_depends_on_no_more_than_it_saw(database):
    """A write behind the last row taken is no conflict; one before it is."""
    seeding = database.begin()
    for rank in (1.0, 2.0, 9.0):
        seeding.insert("items", {"rank": rank})
    database.commit(seeding)
    snapshot = database.persistence.open_snapshot()
    elsewhere = database.begin(snapshot, database.committer.head_ts)
    database.committer.write_log.open_snapshot(database.committer.head_ts)
    taken = list(itertools.islice(elsewhere.scan(*by_rank(database)), 2))
    assert len(taken) == 2
    read_set, since = elsewhere.intervals(), elsewhere.snapshot_ts

    behind = database.begin()
    behind.insert("items", {"rank": 5.0})
    database.commit(behind)
    database.committer.validate(read_set, since)

    before = database.begin()
    before.insert("items", {"rank": 0.0})
    database.commit(before)
    with pytest.raises(ConflictError, match=r"items\.by_rank"):
        database.committer.validate(read_set, since)


def test_a_missing_document_is_a_read_like_others(database):
    """Nobody may insert what a transaction relied on not being there."""
    seeding = database.begin()
    document_id = seeding.insert("items", {"rank": 1.0})
    database.commit(seeding)
    removing = database.begin()
    removing.delete(document_id)
    database.commit(removing)

    looking = database.begin()
    assert looking.get(document_id) is None
    assert any(interval.fields == 1 for interval in looking.intervals())


def test_a_rolled_back_group_is_no_conflict(database):
    """Only what was committed counts; a failed group is taken out of the write log."""
    since = database.committer.head_ts
    database.committer.write_log.open_snapshot(since)
    elsewhere = database.begin()
    assert ranks(elsewhere, by_rank(database)) == []
    failed = database.begin()
    failed.insert("items", {"rank": 1.0})
    database.committer.begin_group()
    database.committer.apply(failed.writes(), CommitRecord(function="test"))
    database.committer.abandon_group()

    database.committer.validate(elsewhere.intervals(), since)


# ---------------------------------------------------------------- inserting


names = st.text("aBZ_9é", min_size=1).filter(lambda name: name.isascii() and name[0] != "_")
values = st.one_of(st.none(), st.floats(), st.text(), st.integers(0, 9).map(Int64), st.just(b"x"))


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(names, st.one_of(values, st.lists(values, max_size=2)), max_size=4))
def test_what_was_encoded_before_is_stored_as_if_it_were_not(fields):
    """An import's rows are encoded once, by the process that checks them."""
    transaction = open_database().begin()
    for document_id in (
        transaction.insert("items", fields),
        transaction.insert_encoded("items", fields, encode(fields)),
    ):
        stored = transaction.get(document_id)
        assert stored.body == encode(stored.value)
        system = {"_id": document_id, "_creationTime": stored.value["_creationTime"]}
        assert stored.body == encode({**fields, **system})


def test_ids_of_one_call_lie_together_and_those_of_others_elsewhere(database):
    """So an import writes few pages of the index of ids, not one for each row."""
    calls = []
    for _ in range(20):
        transaction = database.begin()
        calls.append([transaction.insert("items", {}) for _ in range(50)])
    everything = sorted(itertools.chain(*calls))
    assert len(set(everything)) == 1000
    for ids in calls:
        at = everything.index(min(ids))
        assert sorted(ids) == everything[at : at + 50]
    assert len({ids[0][:6] for ids in calls}) > 10


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("act", "error", "says"),
    [
        (lambda t: t.get("nonsense"), InvalidIdError, "nonsense"),
        (lambda t: t.patch("j97chjmz4de3h4frjmmsrpcssn8jsss0", {}), Exception, "j97chjmz"),
        (lambda t: t.insert("_private", {}), DatabaseUseError, "_private"),
        (lambda t: t.insert("bad-name", {}), Exception, "bad-name"),
        (lambda t: t.insert("items", {"_id": "x"}), DatabaseUseError, "_id"),
        (lambda t: t.insert("items", {"_hidden": 1.0}), Exception, "_hidden"),
        (lambda t: t.insert("items", {"x": {1, 2}}), Exception, "set"),
    ],
)
def test_a_refused_write_names_the_thing_and_leaves_nothing(database, act, error, says):
    transaction = database.begin()
    with pytest.raises(error, match=says):
        act(transaction)
    assert transaction.writes() == []


def test_limits_name_themselves():
    """Past a bound there is a typed error that says which bound, and what to do."""
    database = open_database(Limits(documents_read_max=5, documents_written_max=3))
    transaction = database.begin()
    for rank in range(3):
        transaction.insert("items", {"rank": float(rank)})
    with pytest.raises(LimitError, match=r"documents written .*limit: 3"):
        transaction.insert("items", {"rank": 3.0})
    reading = open_database(Limits(documents_read_max=5))
    seeding = reading.begin()
    for rank in range(10):
        seeding.insert("items", {"rank": float(rank)})
    reading.commit(seeding)
    with pytest.raises(LimitError, match=r"documents read .*limit: 5"):
        ranks(reading.begin(), by_rank(reading))


class Fetching:
    """A snapshot that counts how many bytes are fetched from it."""

    def __init__(self, reader):
        self.reader = reader
        self.bytes = 0

    def scan(self, *place, **options):
        rows = self.reader.scan(*place, **options)
        self.bytes += sum(len(body) for _, _, body in rows)
        return rows


@pytest.mark.parametrize("way", ["at once", "one by one", "of the engine"])
def test_a_query_over_large_documents_does_not_fetch_them_all(way):
    """They would fill the memory before the bound on bytes is looked at."""
    database = open_database(Limits(bytes_read_max=10_000))
    for _ in range(10):
        seeding = database.begin()
        for _ in range(100):
            seeding.insert("items", {"rank": 1.0, "text": "x" * 1000})
        database.commit(seeding)
    reader = Fetching(database.persistence.reader)
    transaction = database.begin(reader)
    index, keys = by_rank(database, rank=1.0)
    with pytest.raises(LimitError, match=r"bytes read .*limit: 10000"):
        match way:
            case "at once":
                transaction.bodies(index, keys, descending=False, limit=None)
            case "one by one":
                list(transaction.scan(index, keys, expect=1024))
            case _:
                transaction.under(index, keys.prefix, keys.fields)
    assert reader.bytes < 300_000


@pytest.mark.parametrize("descending", [False, True])
def test_many_rows_are_read_like_few(descending):
    """Whatever way they are read, they are the same rows, and the same part of the index."""
    database = open_database()
    seeding = database.begin()
    for rank in range(600):
        seeding.insert("items", {"rank": float(rank)})
    database.commit(seeding)
    place = by_rank(database)
    for limit in (1, 255, 256, 257, 512, 599, 600, 601, None):
        plainly, one_by_one = database.begin(), database.begin()
        bodies = plainly.bodies(*place, descending=descending, limit=limit)
        scan = one_by_one.scan(*place, descending=descending, expect=limit or 16)
        assert bodies == [row.body for _, row in itertools.islice(scan, limit)]
        assert plainly.intervals() == one_by_one.intervals()
        assert plainly.usage.so_far() == one_by_one.usage.so_far()


def test_a_count_past_the_bound_is_refused_also_after_deletions():
    """What was deleted here is not counted, and does not hide what lies behind the bound."""
    database = open_database(Limits(documents_read_max=10))
    seeding = database.begin()
    ids = [seeding.insert("items", {"rank": float(rank)}) for rank in range(20)]
    database.commit(seeding)
    transaction = database.begin()
    for document_id in ids[:3]:
        transaction.delete(document_id)
    with pytest.raises(LimitError, match=r"documents read .*limit: 10"):
        figures.count(transaction, *by_rank(database))


@pytest.mark.parametrize(
    ("constraints", "says"),
    [
        ({"colour": "red"}, "no field `colour`"),
        ({"_creationTime": 1.0}, "comes too early"),
        ({"rank": Range(gt=1), "_creationTime": 1.0}, "comes too early"),
    ],
)
def test_a_range_that_the_index_cannot_serve_is_explained(database, constraints, says):
    with pytest.raises(DatabaseUseError, match=says):
        by_rank(database, **constraints)


# ---------------------------------------------------------------- what a scan fetches


class CountingReader:
    """The reader of a snapshot, which counts the rows that scans fetch."""

    def __init__(self, reader):
        self._reader = reader
        self.rows = 0

    def scan(self, *args, **options):
        found = self._reader.scan(*args, **options)
        self.rows += len(found)
        return found

    def __getattr__(self, name):
        return getattr(self._reader, name)


@pytest.mark.parametrize("descending", [False, True])
def test_a_scan_fetches_rows_once_however_much_was_written_among_them(database, descending):
    ids = []

    def fill(transaction):
        ids.extend(transaction.insert("items", {"rank": float(n)}) for n in range(2000))

    database.write(fill)
    reader = CountingReader(database.persistence.reader)
    transaction = database.begin(reader)
    for document_id in ids[100:1500]:
        transaction.delete(document_id)
    for number in range(1000):
        transaction.insert("items", {"rank": number + 0.5})

    found = ranks(transaction, by_rank(database), descending=descending)

    kept = [float(n) for n in range(2000) if not 100 <= n < 1500]
    expected = sorted([*kept, *(n + 0.5 for n in range(1000))], reverse=descending)
    assert found == expected
    assert reader.rows < 3000


def test_a_refused_read_depends_on_what_was_too_much():
    """Else a live query that failed would not hear that it has gone."""
    database = open_database(Limits(documents_read_max=2))
    ids = [database.insert("items", rank=float(n)) for n in range(3)]
    reading = database.begin()
    with pytest.raises(LimitError):
        ranks(reading, by_rank(database))
    write_log, since = database.committer.write_log, reading.snapshot_ts
    write_log.open_snapshot(since)
    database.write(lambda transaction: transaction.delete(ids[2]))
    assert write_log.first_touch(reading.intervals(), since) is not None
