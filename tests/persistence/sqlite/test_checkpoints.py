"""The log is copied into the file beside the loop, and stays bounded whatever readers do."""

import dataclasses
import threading

import pytest

from cupola.limits import Limits
from cupola.persistence.sqlite import checkpoints

KiB = 1024
SMALL = Limits(checkpoint_start_bytes=256 * KiB, checkpoint_hold_bytes=1024 * KiB)


@pytest.fixture
def few_frames(monkeypatch):
    """So that the small logs of these tests need several passes."""
    monkeypatch.setattr(checkpoints, "FEW_FRAMES", 10)


def fill(notes, groups, *, texts="x" * 2000):
    for number in range(groups):
        with notes.group():
            notes.put(f"note{number % 50:03}", "general", texts)


def wal_bytes(log):
    return log.statistics()["wal_bytes"]


def test_after_a_round_the_next_commit_starts_the_log_again(open_log, notes_of, few_frames):
    log = open_log(SMALL)
    notes = notes_of(log)
    fill(notes, 40)
    before = wal_bytes(log)
    assert before > SMALL.checkpoint_start_bytes

    log.checkpointer.run_round()
    fill(notes, 1)

    assert wal_bytes(log) < before / 4
    assert log.failure is None


def test_commits_wait_only_for_the_last_pass(open_log, notes_of, few_frames):
    """The owner hears that it should hold; a group that is open then is waited for."""
    log = open_log(SMALL)
    notes = notes_of(log)
    fill(notes, 40)
    heard = []
    holding = threading.Event()

    def notify():
        heard.append(log.holding_commits())
        if heard[-1]:
            holding.set()

    log._callback = notify
    with notes.group():
        notes.put("in the open group", "general")
        round_thread = threading.Thread(target=log.checkpointer.run_round)
        round_thread.start()
        assert holding.wait(10)
        assert log.holding_commits()
    round_thread.join(10)

    assert heard == [True, False]
    fill(notes, 1)
    assert wal_bytes(log) < SMALL.checkpoint_start_bytes


def test_upkeep_waits_while_commits_are_held(open_log, notes_of):
    log = open_log(SMALL)
    notes = notes_of(log)
    with notes.group():
        notes.put("a", "general", session=b"s" * 16, request=1, result=b"1")
    log.checkpointer.holding_commits = True
    assert log.maintain() is True
    assert log.statistics()["requests_not_indexed"] == 1
    log.checkpointer.holding_commits = False
    assert log.maintain() is False
    assert log.statistics()["requests_not_indexed"] == 0


def test_a_reader_only_delays(open_log, notes_of, few_frames):
    """What it sees stays in the log until it has ended; then the next round gets everything."""
    log = open_log(SMALL)
    notes = notes_of(log)
    fill(notes, 10)
    snapshot = log.open_snapshot()
    fill(notes, 40)
    log.checkpointer.run_round()
    assert log.statistics()["checkpoints_blocked"] == 1
    fill(notes, 1)
    assert wal_bytes(log) > SMALL.checkpoint_start_bytes
    assert len(notes.ids(snapshot)) == 10

    snapshot.close()
    log.checkpointer.run_round()
    fill(notes, 1)
    assert wal_bytes(log) < SMALL.checkpoint_start_bytes


def test_past_the_bound_new_snapshots_wait_until_the_log_is_empty(open_log, notes_of, few_frames):
    log = open_log(SMALL)
    notes = notes_of(log)
    snapshot = log.open_snapshot()
    while wal_bytes(log) < SMALL.checkpoint_hold_bytes:
        fill(notes, 20)
    log.checkpointer.run_round()
    assert log.holding_snapshots()
    log.checkpointer.run_round()
    assert log.holding_snapshots(), "the old reader is still there"

    snapshot.close()
    log.checkpointer.run_round()

    assert not log.holding_snapshots()
    assert log.statistics()["wal_file_bytes"] == 0
    fill(notes, 1)
    assert log.failure is None


def drive(log, notes, monkeypatch, meanwhile, groups):
    """Commit, and run a round whenever one is due; `meanwhile` happens after each of its passes.

    Returns: the largest size of the log, and how often it started again.
    """
    monkeypatch.setattr(checkpoints, "sync_data", lambda descriptor: meanwhile())
    largest = restarts = before = 0
    for _ in range(groups):
        fill(notes, 1)
        meanwhile()
        if log.checkpointer.is_due:
            log.checkpointer.run_round()
        size = wal_bytes(log)
        restarts += size < before
        largest, before = max(largest, size), size
    return largest, restarts


def test_a_busy_writer_cannot_outrun_the_checkpoints(open_log, notes_of, few_frames, monkeypatch):
    """A plain PASSIVE checkpoint is always some frames behind, so the log never starts again."""
    log = open_log(SMALL)
    notes = notes_of(log)
    largest, restarts = drive(log, notes, monkeypatch, lambda: fill(notes, 1), groups=300)
    assert restarts > 10
    assert largest < 2 * SMALL.checkpoint_start_bytes


def test_the_log_stays_bounded_under_constant_writes_and_overlapping_readers(
    open_log, notes_of, few_frames, monkeypatch
):
    """Readers of which one is always active would keep a log growing for ever."""
    log = open_log(SMALL)
    notes = notes_of(log)
    snapshots = []

    def meanwhile():
        fill(notes, 1)
        if not log.holding_snapshots():
            snapshots.append(log.open_snapshot())
        if len(snapshots) > 3 or (snapshots and log.holding_snapshots()):
            snapshots.pop(0).close()

    largest, restarts = drive(log, notes, monkeypatch, meanwhile, groups=600)
    for snapshot in snapshots:
        snapshot.close()
    assert log.statistics()["checkpoints_blocked"] > 0
    assert restarts > 3
    assert largest < 2 * SMALL.checkpoint_hold_bytes


def test_the_thread_does_the_rounds(open_log, notes_of, few_frames):
    """All of it together: a writer that only stops when asked, syncs and checkpoints beside it."""
    log = open_log(SMALL)
    notes = notes_of(log)
    changed = threading.Condition()

    def notify():
        with changed:
            changed.notify_all()

    log.start(notify)
    before = restarts = 0
    while restarts < 3:
        with changed:
            assert changed.wait_for(lambda: not log.holding_commits(), 10)
        fill(notes, 1)
        log.sync()
        restarts += wal_bytes(log) < before
        before = wal_bytes(log)
    log.wait_durable()
    assert log.failure is None
    assert notes.ids(log.reader) == ["note000"]


def test_a_file_that_cannot_be_synced_stops_everything(open_log, notes_of, monkeypatch):
    """The log would start again over commits that the file does not have."""
    log = open_log(SMALL)
    notes = notes_of(log)
    fill(notes, 40)

    def broken(descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(checkpoints, "sync_data", broken)
    log.checkpointer.run_round()
    assert "Input/output error" in str(log.failure)


def test_calls_do_not_wait_for_a_reader_that_does_not_end(open_log, notes_of, few_frames, caplog):
    """Snapshots of calls end in time; this one is an export's, or another program's."""
    log = open_log(dataclasses.replace(SMALL, transaction_age_s=1e-6))
    notes = notes_of(log)
    endless = log.open_snapshot()
    while wal_bytes(log) < SMALL.checkpoint_hold_bytes:
        fill(notes, 10)
    heard = []
    log._callback = lambda: heard.append(log.holding_snapshots())

    for _ in range(100):
        log.checkpointer.run_round()

    assert heard == [True, False], "and it is not held again while the log is no longer"
    assert "has been read for more than" in caplog.text
    endless.close()
    log.checkpointer.run_round()
    fill(notes, 1)
    assert wal_bytes(log) < SMALL.checkpoint_start_bytes


def test_a_log_that_was_emptied_has_the_usual_bound_again(open_log, notes_of, few_frames):
    """Though it was let grow before, for a reader that did not end."""
    log = open_log(SMALL)
    notes = notes_of(log)
    endless = log.open_snapshot()
    while wal_bytes(log) < SMALL.checkpoint_hold_bytes:
        fill(notes, 10)
    log.checkpointer._hold_s = 0.0
    log.checkpointer.run_round()
    assert not log.holding_snapshots(), "its time is up"
    log.checkpointer._hold_s = 60.0
    while not log.holding_snapshots():
        fill(notes, 10)
        log.checkpointer.run_round()
    endless.close()
    log.checkpointer.run_round()
    assert wal_bytes(log) == 0

    call = log.open_snapshot()
    while wal_bytes(log) < SMALL.checkpoint_hold_bytes:
        fill(notes, 10)
    log.checkpointer.run_round()
    assert log.holding_snapshots()
    call.close()
