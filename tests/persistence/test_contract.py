"""What every persistence does. The memory twin is the specification; SQLite must not differ."""

import pytest

from cupola.errors import PersistenceError
from cupola.limits import Limits
from cupola.persistence import (
    Commit,
    CommitRecord,
    DocumentWrite,
    IndexChange,
    IndexEntry,
    MemoryPersistence,
    Timestamp,
)
from cupola.persistence.sqlite import SqlitePersistence

HOUR_NS = 3_600_000_000_000
SESSION = b"s" * 16


# ------------------------------------------------------------------------------------------- groups


def test_an_open_group_is_seen_at_the_head_and_nowhere_else(notes, persistence):
    """The next mutation of a group reads the previous one; a snapshot shows whole groups."""
    with notes.group():
        notes.put("a", "general")
    snapshot = persistence.open_snapshot()

    persistence.begin()
    ts = notes.put("b", "general")

    assert notes.ids(persistence.reader) == ["a", "b"]
    assert persistence.reader.newest_ts() == ts
    assert notes.ids(snapshot) == ["a"]
    assert persistence.head_ts == snapshot.newest_ts() < ts
    persistence.append()
    assert persistence.head_ts == ts
    snapshot.close()


def test_a_group_rolled_back_never_happened(notes, persistence):
    """Rows, retired entries, requests, timestamps and version numbers are as before."""
    with notes.group():
        notes.put("a", "general", "first")
        notes.put("b", "general")
    before = notes.entries(), notes.retired(), persistence.head_ts, persistence.reader.newest_ts()

    with pytest.raises(ZeroDivisionError), notes.group():
        notes.put("a", "lobby", "second", session=SESSION, request=1, result=b"1")
        notes.remove("b")
        notes.put("c", "general")
        raise ZeroDivisionError

    after = notes.entries(), notes.retired(), persistence.head_ts, persistence.reader.newest_ts()
    assert after == before
    assert persistence.reader.recorded_request(SESSION, 1) is None
    with notes.group():
        notes.put("c", "general", session=SESSION, request=1, result=b"2")
    assert notes.at["c"][0] == 3, "the numbers of the dropped versions are given again"


def test_a_write_that_follows_the_wrong_version_takes_the_whole_group_with_it(notes, persistence):
    """Such a write is our bug; what it would do to the log must not stay."""
    with notes.group():
        notes.put("a", "general")
    persistence.begin()
    notes.put("b", "general")

    with pytest.raises(AssertionError):
        notes.at["a"] = (99, "general")
        notes.put("a", "general")

    persistence.rollback()  # already done; doing it again is harmless
    assert notes.ids(persistence.reader) == ["a"]
    persistence.begin()
    persistence.rollback()


def test_timestamps_only_grow(notes, persistence):
    with notes.group():
        notes.put("a", "general")
    persistence.begin()
    notes.now -= 1
    with pytest.raises(AssertionError):
        notes.put("b", "general")
    assert notes.ids(persistence.reader) == ["a"]


def test_an_empty_group_changes_nothing(notes, persistence):
    with notes.group():
        pass
    assert persistence.head_ts == 0


# ------------------------------------------------------------------------------------------ reading


def test_a_snapshot_stays_where_it_was_opened(notes, persistence):
    """All that one query reads comes from one timestamp, whatever commits meanwhile."""
    with notes.group():
        then = notes.put("a", "general", "old")
    snapshot = persistence.open_snapshot()
    with notes.group():
        notes.put("a", "lobby", "new")
        notes.put("b", "general")

    assert snapshot.newest_ts() == then
    assert notes.text(snapshot, "a") == "old"
    assert notes.in_channel(snapshot, "general") == ["a"]
    assert notes.in_channel(persistence.reader, "general") == ["b"]
    snapshot.close()
    snapshot.close()


def test_a_scan_is_in_key_order_from_start_to_before_end(notes, persistence):
    with notes.group():
        for note in ("d", "b", "a", "c"):
            notes.put(note, "general")
        notes.put("x", "lobby")
    scan = persistence.reader.scan
    by_id = notes.BY_ID

    def keys(start, end, *, descending=False, limit=10):
        rows = scan(by_id, start, end, descending=descending, limit=limit)
        return [key for key, _, _ in rows]

    assert keys(b"b", b"d") == [b"b", b"c"]
    assert keys(b"b", b"d", descending=True) == [b"c", b"b"]
    assert keys(b"b", None) == [b"b", b"c", b"d", b"x"]
    assert keys(b"b", None, descending=True, limit=2) == [b"x", b"d"]
    assert keys(b"", None, limit=3) == [b"a", b"b", b"c"]
    assert keys(b"d", b"b") == []
    assert keys(b"", None, limit=0) == []
    assert notes.in_channel(persistence.reader, "general") == ["a", "b", "c", "d"]


def test_an_index_ends_where_the_next_begins(notes, persistence):
    """A range without an end reads no rows of another index."""
    with notes.group():
        notes.put("a", "general")
    assert len(persistence.reader.scan(1, b"", None, descending=False, limit=10)) == 1
    assert len(persistence.reader.scan(1, b"", None, descending=True, limit=10)) == 1
    assert persistence.reader.scan(3, b"", None, descending=True, limit=10) == []
    assert persistence.reader.get(3, b"a") is None
    assert persistence.reader.count(3, b"", None, limit=5) == 0


def test_get_finds_exactly_the_key(notes, persistence):
    with notes.group():
        notes.put("ab", "general", "text")
    version = notes.at["ab"][0]
    assert persistence.reader.get(1, b"ab") == (b"ab", version, b"text")
    assert persistence.reader.get(1, b"a") is None
    assert persistence.reader.get(1, b"ab\0") is None


def test_counting_stops_at_the_limit(notes, persistence):
    with notes.group():
        for note in "abcde":
            notes.put(note, "general")
    count = persistence.reader.count
    assert count(1, b"b", b"d", limit=10) == 2
    assert count(1, b"b", None, limit=10) == 4
    assert count(1, b"", None, limit=3) == 3


# ------------------------------------------------------------------------- current and retired rows


def test_each_version_of_a_document_has_its_own_primary_entry(notes):
    """As of any time, the primary index leads to the one version that was true then."""
    with notes.group():
        first = notes.put("a", "general", "one")
        second = notes.put("a", "general", "two")
        third = notes.remove("a")

    assert [row for row in notes.retired() if row[0] == notes.BY_ID] == [
        (notes.BY_ID, 0, b"a", second, first, 1),
        (notes.BY_ID, 0, b"a", third, second, 2),
    ]
    assert notes.entries() == []


def test_a_secondary_entry_lives_as_long_as_the_document_keeps_its_key(notes):
    """Patching another field moves the pointer; only leaving the key retires the entry."""
    with notes.group():
        first = notes.put("a", "general", "one")
        notes.put("a", "general", "two")
    assert notes.entries()[1] == (notes.BY_CHANNEL, b"general\0a", 2, first)
    assert [row for row in notes.retired() if row[0] == notes.BY_CHANNEL] == []

    notes.now = 5 * HOUR_NS
    with notes.group():
        moved = notes.put("a", "lobby", "three")
    assert notes.entries()[1] == (notes.BY_CHANNEL, b"lobby\0a", 3, moved)
    assert [row for row in notes.retired() if row[0] == notes.BY_CHANNEL] == [
        (notes.BY_CHANNEL, 5, b"general\0a", moved, first, 2)
    ]


def test_a_document_may_come_back_to_a_key_it_left(notes):
    with notes.group():
        first = notes.put("a", "general")
        left = notes.put("a", "lobby")
        back = notes.put("a", "general")
        gone = notes.remove("a")
    retired = [row[2:] for row in notes.retired() if row[0] == notes.BY_CHANNEL]
    assert retired == [
        (b"general\0a", left, first, 1),
        (b"general\0a", gone, back, 3),
        (b"lobby\0a", back, left, 2),
    ]


def test_one_commit_writes_many_documents(notes, persistence):
    """Version numbers are handed out in the order of the writes."""
    writes = [
        DocumentWrite(10, note, None, note.encode(), [IndexChange(1, None, note.encode())])
        for note in ("b", "a", "c")
    ]
    persistence.begin()
    numbers = persistence.apply(Commit(Timestamp(7), writes, CommitRecord("notes:import")))
    persistence.append()
    assert numbers == [1, 2, 3]
    assert [row[1] for row in persistence.reader.scan(1, b"", None, descending=False, limit=9)] == [
        2,
        1,
        3,
    ]


# -------------------------------------------------------------------------------- backfill and drop


def backfill(persistence, ts, *entries):
    persistence.begin()
    persistence.apply(Commit(Timestamp(ts), [], CommitRecord("backfill"), entries=entries))
    persistence.append()


def test_a_backfill_adds_entries_but_never_over_a_live_one(notes, persistence):
    """Writes maintain a new index from the first batch on; the backfill fills in the rest."""
    with notes.group():
        created = notes.put("a", "general", "old")
        notes.put("b", "general", "old")
    persistence.begin()
    changes = [IndexChange(1, b"a", b"a"), IndexChange(3, b"A", b"A")]  # index 3 has no "A" yet
    persistence.apply(
        Commit(
            Timestamp(2000), [DocumentWrite(10, "a", 1, b"new", changes)], CommitRecord("notes:put")
        )
    )
    persistence.append()

    backfill(persistence, 2001, IndexEntry(3, b"A", 1, created), IndexEntry(3, b"B", 2, created))

    assert [entry for entry in notes.entries() if entry[0] == 3] == [
        (3, b"A", 3, 2000),
        (3, b"B", 2, created),
    ]
    assert persistence.reader.get(3, b"A") == (b"A", 3, b"new")


def test_leaving_a_key_that_was_not_backfilled_yet_retires_nothing(notes, persistence):
    with notes.group():
        notes.put("a", "general")
    persistence.begin()
    changes = [IndexChange(1, b"a", b"a"), IndexChange(3, b"A", b"B")]
    persistence.apply(
        Commit(
            Timestamp(2000), [DocumentWrite(10, "a", 1, b"new", changes)], CommitRecord("notes:put")
        )
    )
    persistence.append()
    assert [row for row in notes.retired() if row[0] == 3] == []
    assert [entry[:3] for entry in notes.entries() if entry[0] == 3] == [(3, b"B", 2)]


def test_a_dropped_index_goes_in_slices(notes, persistence):
    with notes.group():
        for note in "abcd":
            notes.put(note, "general")
    persistence.begin()
    persistence.apply(
        Commit(
            Timestamp(2000),
            [],
            CommitRecord("drop"),
            dropped=[(notes.BY_CHANNEL, b"", b"general\0c")],
        )
    )
    persistence.append()
    assert notes.in_channel(persistence.reader, "general") == ["c", "d"]
    assert notes.ids(persistence.reader) == ["a", "b", "c", "d"]
    assert notes.retired() == []


# ------------------------------------------------------------------------------------------ the log


def test_whoever_follows_the_log_reads_each_version_once(notes, persistence):
    """Search indexes are brought up to date from here, a slice at a time."""
    with notes.group():
        notes.put("a", "general", "first")
        notes.put("b", "general")
    snapshot = persistence.open_snapshot()
    with notes.group():
        notes.put("a", "lobby", "second")
        removed_ts = notes.remove("b")

    reader = persistence.reader
    newest = reader.newest_version()
    assert [(c.id, c.body) for c in reader.changes({10}, 0, newest, limit=9)] == [
        ("a", b"first"),
        ("b", b"hi"),
        ("a", b"second"),
        ("b", None),
    ]
    assert [c.version for c in reader.changes({9, 10}, 1, newest - 1, limit=9)] == [2, 3]
    assert [c.version for c in reader.changes({10}, 1, newest, limit=2)] == [2, 3]
    assert reader.changes({9}, 0, newest, limit=9) == []
    assert reader.version_ts(newest) == removed_ts
    assert reader.version_ts(newest + 1) is None
    assert snapshot.newest_version() == 2
    snapshot.close()


# ----------------------------------------------------------------------------------------- requests


def test_a_request_is_found_from_the_group_it_commits_in_on(notes, persistence):
    """A client that sends a mutation again gets the first answer, even within one group."""
    with notes.group():
        ts = notes.put("a", "general", session=SESSION, request=3, result=b"1", log_lines=b'["x"]')
        assert persistence.reader.recorded_request(SESSION, 3) == (ts, b"1", b'["x"]')
    snapshot = persistence.open_snapshot()
    with notes.group():
        notes.put("b", "general", session=SESSION, request=4, result=b"2")

    while persistence.maintain():
        pass

    assert persistence.reader.recorded_request(SESSION, 3) == (ts, b"1", b'["x"]')
    assert persistence.reader.recorded_request(SESSION, 4).result == b"2"
    assert persistence.reader.recorded_request(SESSION, 5) is None
    assert persistence.reader.recorded_request(b"t" * 16, 3) is None
    assert snapshot.recorded_request(SESSION, 3) == (ts, b"1", b'["x"]')
    assert snapshot.recorded_request(SESSION, 4) is None
    snapshot.close()
    snapshot = persistence.open_snapshot()
    assert snapshot.recorded_request(SESSION, 4).result == b"2"
    snapshot.close()


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_an_old_request_is_forgotten_and_may_commit_again(kind, tmp_path, notes_of):
    """Nobody sends a mutation again after two weeks, and its record takes room."""
    limits = Limits(request_retention_s=5e-7)  # 500 of the notes' nanoseconds
    path = str(tmp_path / "data.sqlite")
    log = SqlitePersistence(path, limits) if kind == "sqlite" else MemoryPersistence(limits)
    notes = notes_of(log)
    with notes.group():
        notes.put("a", "general", session=SESSION, request=1, result=b"1")
        notes.put("b", "general")
    notes.now += 400
    with notes.group():
        young = notes.put("c", "general", session=SESSION, request=2, result=b"2")
    while log.maintain():
        pass
    assert log.reader.recorded_request(SESSION, 1).result == b"1"

    notes.now += 400
    with notes.group():
        notes.put("d", "general")
    while log.maintain():
        pass

    assert log.reader.recorded_request(SESSION, 1) is None
    assert log.reader.recorded_request(SESSION, 2) == (young, b"2", b"[]")
    with notes.group():
        again = notes.put("a", "general", session=SESSION, request=1, result=b"3")
    while log.maintain():
        pass
    assert log.reader.recorded_request(SESSION, 1) == (again, b"3", b"[]")
    log.close()
    if kind == "sqlite":
        log = SqlitePersistence(path, limits)
        assert log.reader.recorded_request(SESSION, 1) == (again, b"3", b"[]")
        assert log.maintain() is False
        log.close()


def test_upkeep_is_no_commit(notes, persistence):
    with notes.group():
        notes.put("a", "general", session=SESSION, request=1, result=b"1")
    head = persistence.head_ts
    assert persistence.maintain() is False
    assert persistence.head_ts == persistence.reader.newest_ts() == head


# --------------------------------------------------------------------------------------- durability


def test_a_commit_is_durable_only_after_a_sync(notes, persistence):
    """Nobody may be told of a commit before `durable_ts` has reached it."""
    notified = []
    persistence.start(lambda: notified.append(persistence.durable_ts))
    with notes.group():
        ts = notes.put("a", "general")
    assert persistence.durable_ts < ts

    persistence.sync()
    persistence.wait_durable()

    assert persistence.durable_ts == ts == persistence.head_ts
    assert persistence.failure is None
    persistence.close()
    assert notified[-1] == ts


def test_waiting_works_before_the_background_has_started(notes, persistence):
    with notes.group():
        ts = notes.put("a", "general")
    persistence.wait_durable()
    assert persistence.durable_ts == ts


def test_figures_have_names_and_numbers(notes, persistence):
    with notes.group():
        notes.put("a", "general")
    figures = persistence.statistics()
    assert figures and all(isinstance(value, int | float) for value in figures.values())


# ------------------------------------------------------------------- what the memory twin can stage


def test_the_twin_can_delay_durability(notes_of):
    """So that a simulation sees whether anything leaves too early."""
    persistence = MemoryPersistence()
    notes = notes_of(persistence)
    persistence.delay_durability()
    with notes.group():
        ts = notes.put("a", "general")
    persistence.sync()
    assert persistence.durable_ts == 0
    persistence.release_durability()
    assert persistence.durable_ts == ts


def test_the_twin_can_refuse_a_group(notes_of):
    persistence = MemoryPersistence()
    notes = notes_of(persistence)
    persistence.fail_next_append(PersistenceError("No space is left."))
    with pytest.raises(PersistenceError, match="No space"), notes.group():
        notes.put("a", "general")
    assert notes.ids(persistence.reader) == []
    with notes.group():
        notes.put("a", "general")
    assert notes.ids(persistence.reader) == ["a"]


def test_the_twin_can_lose_its_disk(notes_of):
    persistence = MemoryPersistence()
    notes = notes_of(persistence)
    notified = []
    persistence.start(lambda: notified.append(persistence.failure))
    with notes.group():
        notes.put("a", "general")
    persistence.fail_durability(PersistenceError("The disk failed."))
    persistence.sync()
    assert persistence.durable_ts == 0
    assert str(notified[-1]) == "The disk failed."
    with pytest.raises(PersistenceError):
        persistence.wait_durable()
    with pytest.raises(PersistenceError):
        persistence.begin()
