"""The sync thread: one sync for many groups, and no second chance for a disk that refused."""

import errno
import os
import threading

import pytest

from cupola.errors import PersistenceError
from cupola.persistence.sqlite import durability


@pytest.fixture
def slow_sync(monkeypatch):
    """Each sync says that it has begun, and waits for leave to end: (entered, release)."""
    entered, release = threading.Event(), threading.Event()
    real = durability.sync_data

    def slow(descriptor):
        entered.set()
        assert release.wait(10)
        real(descriptor)

    monkeypatch.setattr(durability, "sync_data", slow)
    monkeypatch.setattr(durability, "_FEW_COMMITS", 0)  # as under load: the thread does it
    return entered, release


def test_groups_that_arrive_during_a_sync_share_the_next(open_log, notes_of, slow_sync):
    """The loop never waits, and a slow disk makes syncs rarer, not the queue longer."""
    log = open_log()
    notes = notes_of(log)
    entered, release = slow_sync
    log.start(lambda: None)
    with notes.group():
        notes.put("first", "general")
    log.sync()
    assert entered.wait(10)
    for number in range(20):
        with notes.group():
            notes.put(f"note{number}", "general")
        log.sync()
    assert log.durable_ts == 0
    release.set()
    log.wait_durable()
    assert log.durable_ts == log.head_ts
    assert log.statistics()["syncs"] <= 3


def test_a_few_commits_on_a_fast_disk_are_durable_at_once(open_log, notes_of):
    """Waking a thread, and being woken by it, costs more than such a sync."""
    log = open_log()
    notes = notes_of(log)
    log.start(lambda: None)
    with notes.group():
        ts = notes.put("first", "general")
    log.sync()

    assert log.durable_ts == ts


def test_a_slow_disk_is_left_to_the_thread(open_log, notes_of, monkeypatch):
    """After a slow sync the owner no longer waits for the disk itself."""
    log = open_log()
    notes = notes_of(log)
    owner = threading.get_ident()
    synced_by = []
    monkeypatch.setattr(durability, "_FAST_DISK_S", -1.0)
    real = durability.sync_data

    def note(descriptor):
        synced_by.append(threading.get_ident())
        real(descriptor)

    monkeypatch.setattr(durability, "sync_data", note)
    log.start(lambda: None)
    with notes.group():
        notes.put("first", "general")
    log.sync()
    log.wait_durable()

    assert owner not in synced_by


def test_durable_never_passes_what_the_sync_covered(open_log, notes_of, slow_sync):
    """A commit that lands while the disk works belongs to the next sync."""
    log = open_log()
    notes = notes_of(log)
    entered, release = slow_sync
    seen = []
    log.start(lambda: seen.append(log.durable_ts))
    with notes.group():
        first = notes.put("a", "general")
    log.sync()
    assert entered.wait(10)
    with notes.group():
        second = notes.put("b", "general")
    release.set()
    log.wait_durable()
    assert seen[0] == first
    assert log.durable_ts == second


def test_a_failed_sync_is_final(open_log, notes_of, monkeypatch):
    """The kernel forgets what it could not write, so a second sync that succeeds would be a lie."""
    log = open_log()
    notes = notes_of(log)
    calls = []

    def broken(descriptor):
        calls.append(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(durability, "sync_data", broken)
    notified = threading.Event()
    log.start(notified.set)
    with notes.group():
        notes.put("a", "general")
    log.sync()
    assert notified.wait(10)

    assert "Input/output error" in str(log.failure)
    assert "restart the server" in str(log.failure)
    assert log.durable_ts == 0
    log.sync()
    with pytest.raises(PersistenceError):
        log.wait_durable()
    with pytest.raises(PersistenceError):
        log.begin()
    log.close()
    assert len(calls) == 1


def test_a_log_that_was_removed_is_noticed(open_log, notes_of, path):
    """SQLite would go on writing into a file without a name."""
    log = open_log()
    notes = notes_of(log)
    log.start(lambda: None)
    with notes.group():
        notes.put("a", "general")
    log.wait_durable()
    os.unlink(path + "-wal")
    with notes.group():
        notes.put("b", "general")
    with pytest.raises(PersistenceError, match="removed or replaced"):
        log.wait_durable()
    assert log.durable_ts < log.head_ts


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_sync_thread_that_dies_of_a_bug_is_a_failure(open_log, notes_of, monkeypatch):
    """It must not look like a disk that takes its time."""
    log = open_log()
    notes = notes_of(log)
    monkeypatch.setattr(durability, "_FEW_COMMITS", 0)
    log.start(lambda: 1 / 0)
    with notes.group():
        notes.put("a", "general")
    log.sync()
    with pytest.raises(PersistenceError, match="sync thread ended"):
        with notes.group():
            notes.put("b", "general")
        log.wait_durable()
