"""A full disk refuses new commits and takes nothing that was acknowledged."""

import shutil

import pytest

from cupola.errors import PersistenceError


def test_a_full_disk_keeps_what_was_acknowledged_and_stays_readable(
    open_log, notes_of, small_disk, tmp_path
):
    path = str(small_disk / "data.sqlite")
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 300_000)
    log = open_log(at=path)
    notes = notes_of(log)
    log.start(lambda: None)
    acknowledged = []
    with pytest.raises(PersistenceError, match="No space is left") as refused:
        for number in range(10_000):
            with notes.group():
                notes.put(f"note{number:05}", "general", "x" * 3000)
                notes.put(f"twin{number:05}", "general", "x" * 3000)
            log.wait_durable()
            acknowledged += [f"note{number:05}", f"twin{number:05}"]
    assert path in str(refused.value) and "free some space" in str(refused.value)
    assert log.failure is None

    assert len(acknowledged) > 50
    assert notes.ids(log.reader) == sorted(acknowledged)
    with pytest.raises(PersistenceError), notes.group():
        notes.put("still full", "general", "x" * 100_000)
    log.checkpointer.run_round()  # no room for the file either
    assert log.failure is None
    assert log.statistics()["checkpoint_errors"] == 1
    assert notes.ids(log.reader) == sorted(acknowledged)

    ballast.unlink()
    with notes.group():
        notes.put("again", "general")
    log.wait_durable()
    log.close()
    ballast.write_bytes(b"x" * (shutil.disk_usage(small_disk).free - 100_000))
    with pytest.raises(PersistenceError, match="Free some space and start again; nothing is lost"):
        open_log(at=path)

    for name in ("data.sqlite", "data.sqlite-wal"):
        shutil.copy(small_disk / name, tmp_path / name)
    log = open_log(at=str(tmp_path / "data.sqlite"))
    assert notes.ids(log.reader) == ["again", *sorted(acknowledged)]


def test_a_group_that_does_not_fit_leaves_nothing(open_log, notes_of):
    """Also where SQLite finds out during apply, and rolls back by itself."""
    log = open_log()
    notes = notes_of(log)
    with notes.group():
        notes.put("a", "general")
    pages = log.reader._execute("PRAGMA page_count").fetchall()[0][0]
    log.reader._execute(f"PRAGMA max_page_count={pages + 20}").fetchall()

    with pytest.raises(PersistenceError, match="No space is left"), notes.group():
        for number in range(1000):
            notes.put(f"note{number}", "general", "x" * 1000)

    assert notes.ids(log.reader) == ["a"]
    log.reader._execute("PRAGMA max_page_count=1000000").fetchall()
    with notes.group():
        notes.put("b", "general")
    assert notes.at["b"][0] == 2
