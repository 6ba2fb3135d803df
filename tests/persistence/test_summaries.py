"""Summaries of index ranges: whatever was written in whatever order, they equal a recount."""

import math
import tempfile
from pathlib import Path

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from cupola.persistence import (
    Commit,
    CommitRecord,
    DocumentWrite,
    IndexChange,
    IndexEntry,
    MemoryPersistence,
    Summary,
    SummaryChange,
    Timestamp,
)
from cupola.persistence.sqlite import SqlitePersistence, aggregates
from cupola.persistence.summaries import number_of
from cupola.values import Int64, encode_key

PRIMARY, COUNTED, SUMMED = 1, 2, 3
FIELDS = {COUNTED: 0, SUMMED: 2}


@pytest.fixture(params=[1, 2, 6])
def small_blocks(request, monkeypatch):
    """Blocks of two or four entries make a high tree of few keys."""
    monkeypatch.setattr(aggregates, "_STEP_BITS", request.param)
    monkeypatch.setattr(aggregates, "_STEP_MASK", (1 << request.param) - 1)


class Ledger:
    """Documents `key -> numbers`, each in a primary, a counted and a summed index."""

    def __init__(self, log):
        self.log = log
        self.now = log.head_ts
        self.versions = {}
        self.truth = {}

    def commit(self, changes):
        """Within an open group: each key gets numbers, or goes (None)."""
        self.now += 1
        writes, summaries = [], []
        for key, numbers in changes.items():
            old, new = (key if key in self.truth else None), (key if numbers is not None else None)
            if old is None and new is None:
                continue
            indexes = [IndexChange(index, old, new) for index in (PRIMARY, COUNTED, SUMMED)]
            body = b"{}" if new is not None else None
            writes.append(DocumentWrite(7, key.hex(), self.versions.pop(key, None), body, indexes))
            for index, fields in FIELDS.items():
                told = None if numbers is None else numbers[:fields]
                summaries.append(SummaryChange(index, fields, key, told))
        commit = Commit(Timestamp(self.now), writes, CommitRecord("f"), (), (), summaries)
        versions = self.log.apply(commit)
        for write, version in zip(writes, versions, strict=True):
            key = bytes.fromhex(write.id)
            if write.body is None:
                del self.truth[key]
            else:
                self.truth[key], self.versions[key] = changes[key], version

    def group(self, *commits):
        self.log.begin()
        for changes in commits:
            self.commit(changes)
        self.log.append()


def shown(summary):
    return summary.count, [(repr(n.sum), n.least, n.greatest) for n in summary.numbers]


def recount(truth, fields, start, end):
    entries = [truth[k][:fields] for k in truth if start <= k and (end is None or k < end)]
    return shown(Summary.of(fields, entries))


def assert_right(reader, truth, start, end):
    keys = sorted(k for k in truth if start <= k and (end is None or k < end))
    for index, fields in FIELDS.items():
        found = reader.summarize(index, start, end, fields=fields)
        assert shown(found) == recount(truth, fields, start, end)
        assert reader.summarize(index, start, end, fields=0).count == found.count
        for position in {0, len(keys) // 2, len(keys) - 1, len(keys)} - {-1}:
            expected = keys[position] if position < len(keys) else None
            assert reader.nth(index, start, end, position) == expected


names = st.integers(0, 60).map(lambda n: b"%02d" % n)
bounds = st.one_of(names, st.just(b""))
numbers = st.one_of(
    st.none(),
    st.floats().map(encode_key),
    st.sampled_from([0.1, 0.2, 1e300, -1e300, 5e-324, 3.0]).map(encode_key),
)
changes = st.dictionaries(names, st.one_of(st.none(), st.tuples(numbers, numbers)), max_size=30)


class SummaryMachine(RuleBasedStateMachine):
    """Groups, rollbacks, snapshots and reopening, on SQLite and the memory twin at once."""

    bits = 1

    @initialize()
    def open(self):
        self.kept = aggregates._STEP_BITS, aggregates._STEP_MASK
        aggregates._STEP_BITS, aggregates._STEP_MASK = self.bits, (1 << self.bits) - 1
        self.folder = tempfile.TemporaryDirectory()
        self.path = str(Path(self.folder.name) / "data.sqlite")
        self.ledgers = [Ledger(MemoryPersistence()), Ledger(SqlitePersistence(self.path))]
        self.before = None

    @precondition(lambda self: self.before is None)
    @rule()
    def begin(self):
        self.before = [(dict(each.truth), dict(each.versions)) for each in self.ledgers]
        for each in self.ledgers:
            each.log.begin()

    @precondition(lambda self: self.before is not None)
    @rule(changes=changes)
    def commit(self, changes):
        for each in self.ledgers:
            each.commit(changes)

    @precondition(lambda self: self.before is not None)
    @rule()
    def append(self):
        self.before = None
        for each in self.ledgers:
            each.log.append()

    @precondition(lambda self: self.before is not None)
    @rule()
    def rollback(self):
        for each, (truth, versions) in zip(self.ledgers, self.before, strict=True):
            each.log.rollback()
            each.truth, each.versions = truth, versions
        self.before = None

    @precondition(lambda self: self.before is None)
    @rule()
    def reopen(self):
        self.ledgers[1].log.close()
        self.ledgers[1].log = SqlitePersistence(self.path)

    @rule(start=bounds, end=st.one_of(st.none(), bounds))
    def read(self, start, end):
        for each in self.ledgers:
            assert_right(each.log.reader, each.truth, start, end)

    def teardown(self):
        if not hasattr(self, "ledgers"):
            return
        self.read(b"", None)
        for each in self.ledgers:
            each.log.close()
        self.folder.cleanup()
        aggregates._STEP_BITS, aggregates._STEP_MASK = self.kept


TestSummaries = SummaryMachine.TestCase
TestSummaries.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


# ---------------------------------------------------------------- single claims


def entry(*values):
    return tuple(None if value is None else encode_key(value) for value in values)


def test_ranges_of_a_large_index_equal_a_recount(persistence, small_blocks):
    ledger = Ledger(persistence)
    ledger.group({b"%04d" % n: entry(n / 10, None) for n in range(0, 1000, 2)})
    ledger.group({b"%04d" % n: entry(n / 10, float(n)) for n in range(1, 1000, 2)})
    ledger.group({b"%04d" % n: None for n in range(300, 500)})

    for start, end in ((b"", None), (b"0100", b"0600"), (b"0300", b"0500"), (b"0777", b"0778")):
        assert_right(persistence.reader, ledger.truth, start, end)
    assert_right(persistence.reader, ledger.truth, b"5", b"1")


def test_the_same_keys_make_the_same_tree(tmp_path, small_blocks):
    """In whatever order they came, and whatever else was there in between."""
    one = Ledger(SqlitePersistence(str(tmp_path / "one.sqlite")))
    two = Ledger(SqlitePersistence(str(tmp_path / "two.sqlite")))
    keep = {b"%04d" % n: entry(n / 7, -float(n)) for n in range(0, 300, 3)}
    passing = {b"%04d" % n: entry(1e9, 1e9) for n in range(300) if n % 3}

    one.group(keep)
    two.group(passing)
    for key in sorted(keep, reverse=True):
        two.group({key: entry(0.0, 5.0)})
    two.group(keep, dict.fromkeys(passing))

    tables = [
        ledger.log.reader._execute("SELECT * FROM summaries ORDER BY 1, 2, 3").fetchall()
        for ledger in (one, two)
    ]
    assert tables[0] == tables[1]
    assert any(level > 0 for _, level, *_ in tables[0])
    one.log.close()
    two.log.close()


def test_a_snapshot_keeps_its_summaries(persistence):
    ledger = Ledger(persistence)
    ledger.group({b"a": entry(1.0, 2.0), b"b": entry(3.0, None)})
    then, snapshot = dict(ledger.truth), persistence.open_snapshot()
    ledger.group({b"a": None, b"c": entry(9.0, 9.0)})

    assert_right(snapshot, then, b"", None)
    assert_right(persistence.reader, ledger.truth, b"", None)
    snapshot.close()


def test_an_entry_that_its_backfill_has_not_reached_is_counted_once(persistence):
    """First by a write to its document, then by the backfill; or the other way round."""
    ledger = Ledger(persistence)
    persistence.begin()
    versions = persistence.apply(
        Commit(
            Timestamp(1),
            [
                DocumentWrite(7, name, None, b"{}", [IndexChange(PRIMARY, None, name.encode())])
                for name in ("a", "b")
            ],
            CommitRecord("f"),
        )
    )
    told = [SummaryChange(i, n, b"a", entry(1.0, 2.0)[:n]) for i, n in FIELDS.items()]
    same = [IndexChange(index, b"a", b"a") for index in (PRIMARY, COUNTED, SUMMED)]
    write = DocumentWrite(7, "a", versions[0], b"{}", same)
    (version,) = persistence.apply(Commit(Timestamp(2), [write], CommitRecord("f"), (), (), told))
    both = {b"a": version, b"b": versions[1]}
    entries = [
        IndexEntry(index, key, at, Timestamp(0)) for index in FIELDS for key, at in both.items()
    ]
    told += [SummaryChange(i, n, b"b", entry(5.0, None)[:n]) for i, n in FIELDS.items()]
    persistence.apply(Commit(Timestamp(3), (), CommitRecord("f"), entries, (), told))
    persistence.append()

    ledger.truth = {b"a": entry(1.0, 2.0), b"b": entry(5.0, None)}
    assert_right(persistence.reader, ledger.truth, b"", None)


def test_a_dropped_slice_takes_its_summaries_along(persistence, small_blocks):
    """Its number may be given to another index."""
    ledger = Ledger(persistence)
    ledger.group({b"%03d" % n: entry(1.0, None) for n in range(100)})
    persistence.begin()
    slices = [(index, b"", b"\xff") for index in FIELDS]
    persistence.apply(Commit(Timestamp(99), (), CommitRecord("f"), (), slices))
    persistence.append()

    for index, fields in FIELDS.items():
        assert persistence.reader.summarize(index, b"", None, fields=fields).count == 0
        assert persistence.reader.nth(index, b"", None, 0) is None


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32)))
def test_sums_are_those_of_fsum(values):
    (found,) = Summary.of(1, [entry(value) for value in values]).numbers
    assert found.sum == math.fsum(values)
    assert number_or_none(found.least) == min(values, default=None)
    assert number_or_none(found.greatest) == max(values, default=None)


def number_or_none(key):
    return None if key is None else number_of(key)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], 0.0),
        ([0.1] * 10, 1.0),
        ([1e308, 1e308, -1e308], 1e308),
        ([1e308, 1e308], math.inf),
        ([math.inf, 1.0], math.inf),
        ([math.inf, -math.inf], math.nan),
        ([math.nan], math.nan),
        ([Int64(2**62), Int64(-(2**62)), Int64(7)], Int64(7)),
        ([Int64(2), 0.5], 2.5),
    ],
)
def test_sums_of_unusual_numbers(values, expected):
    (found,) = Summary.of(1, [entry(value) for value in values]).numbers
    assert repr(found.sum) == repr(expected)
    stored = Summary.decoded(1, 0, Summary.of(1, [entry(v) for v in values]).encoded())
    assert repr(stored.numbers[0].sum) == repr(expected)


def test_a_file_of_the_format_before_gets_its_summaries(tmp_path):
    path = str(tmp_path / "data.sqlite")
    SqlitePersistence(path).close()
    connection = apsw.Connection(path)
    connection.execute("DROP TABLE summaries").fetchall()
    connection.pragma("user_version", 1)
    connection.close()

    log = SqlitePersistence(path)
    ledger = Ledger(log)
    ledger.group({b"a": entry(1.0, None)})
    assert_right(log.reader, ledger.truth, b"", None)
    log.close()
