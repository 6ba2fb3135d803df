"""Opening a file: one owner, a whole file, a clear word otherwise."""

import os
import subprocess
import sys

import apsw
import pytest

from cupola.errors import ConfigurationError, PersistenceError
from cupola.persistence.sqlite import SqlitePersistence, SqliteSnapshots, schema

OPEN_AND_SAY = """
import sys
from cupola.errors import CupolaError
from cupola.persistence.sqlite import SqlitePersistence
try:
    log = SqlitePersistence(sys.argv[1])
except CupolaError as error:
    print(error.code, error)
else:
    print("opened", flush=True)
    sys.stdin.readline()
"""


def python(script, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


# -------------------------------------------------------------------------------------------- owner


def test_a_second_server_is_told_who_owns_the_file(open_log, path):
    """Two servers on one file would each serve a stale cache."""
    open_log()
    with python(OPEN_AND_SAY, path) as other:
        said, _ = other.communicate()
    assert said.startswith("ConfigurationError")
    assert f"in use by process {os.getpid()}" in said


def test_one_process_opens_a_file_once(open_log):
    """fcntl locks do not exclude their own process, and closing one would drop the other."""
    open_log()
    with pytest.raises(ConfigurationError, match=f"process {os.getpid()}"):
        open_log()


def test_the_lock_dies_with_its_owner(open_log, path):
    with python(OPEN_AND_SAY, path) as other:
        assert other.stdout.readline() == "opened\n"
        with pytest.raises(ConfigurationError, match=f"in use by process {other.pid}"):
            open_log()
        other.kill()
        other.wait()
        assert open_log().head_ts == 0


def test_readers_of_other_processes_do_not_disturb(open_log, path, notes_of):
    log = open_log()
    notes = notes_of(log)
    with notes.group():
        ts = notes.put("a", "general")
    script = """
import sys
from cupola.persistence.sqlite import SqliteSnapshots
snapshot = SqliteSnapshots(sys.argv[1]).open()
print(snapshot.newest_ts(), snapshot.get(1, b"a"))
"""
    with python(script, path) as other:
        said, _ = other.communicate()
    assert said == f"{ts} (b'a', 1, b'hi')\n"
    with notes.group():
        notes.put("b", "general")


def test_snapshots_of_a_file_that_is_not_there(path):
    with pytest.raises(PersistenceError, match="cannot be opened"):
        SqliteSnapshots(path).open()


def test_snapshot_connections_are_used_again(open_log, path, notes_of):
    """Opening one costs far more than reading."""
    notes = notes_of(open_log())
    snapshots = SqliteSnapshots(path)
    first = snapshots.open()
    connection = first._connection
    first.close()
    with notes.group():
        ts = notes.put("a", "general")
    second = snapshots.open()
    assert second._connection is connection
    assert second.newest_ts() == ts
    left_open = [snapshots.open() for _ in range(6)]
    for snapshot in left_open:
        snapshot.close()
    outlived = snapshots.open()
    snapshots.close()
    with pytest.raises(PersistenceError, match="closed already"):
        outlived.get(1, b"a")
    outlived.close()


# ------------------------------------------------------------------------------------ what it holds


def test_a_reopened_file_goes_on_where_it_stopped(open_log, notes_of):
    """Timestamps and version numbers never go back over a restart."""
    log = open_log()
    notes = notes_of(log)
    with notes.group():
        ts = notes.put("a", "general", session=b"s" * 16, request=7, result=b"1")
    log.close()
    log.close()

    log = notes.persistence = open_log()
    assert log.head_ts == log.durable_ts == log.reader.newest_ts() == ts
    assert log.reader.recorded_request(b"s" * 16, 7) == (ts, b"1", b"[]")
    with notes.group():
        notes.put("b", "general")
    assert notes.at["b"][0] == 2


def test_a_closed_file_is_whole_without_its_log(open_log, notes_of, path):
    """It can be copied as one file, and the next start has nothing to recover."""
    log = open_log()
    notes = notes_of(log)
    with notes.group():
        notes.put("a", "general")
    log.close()
    assert os.path.getsize(path + "-wal") == 0


def test_a_new_file_is_set_up_for_its_whole_life(open_log, path):
    """What can be chosen only when the file is made."""
    open_log()
    connection = apsw.Connection(path)
    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("auto_vacuum") == 2
    assert connection.pragma("page_size") == schema.PAGE_SIZE_BYTES
    assert connection.pragma("application_id") == schema.APPLICATION_ID
    connection.close()


def test_a_file_whose_making_was_cut_short_is_made_again(open_log, path):
    connection = apsw.Connection(path)
    connection.pragma("auto_vacuum", "INCREMENTAL")
    connection.pragma("journal_mode", "WAL")
    connection.close()
    assert os.path.getsize(path) > 0
    assert open_log().head_ts == 0


# ---------------------------------------------------------------------------------------- bad files


def refused(path, error=ConfigurationError):
    with pytest.raises(error) as caught:
        SqlitePersistence(path)
    assert path in str(caught.value)
    with pytest.raises(error):  # and the lock was given back
        SqlitePersistence(path)
    return str(caught.value)


def test_a_text_file_is_not_a_database(path):
    with open(path, "w") as file:
        file.write("Dear diary, " * 100)
    assert "is not a database" in refused(path)
    with open(path) as file:
        assert file.read(10) == "Dear diary"


def test_a_database_of_another_program_is_left_alone(path):
    connection = apsw.Connection(path)
    connection.execute("CREATE TABLE photos(name)").fetchall()
    connection.close()
    assert "not one of Cupola's" in refused(path)
    connection = apsw.Connection(path)
    assert connection.execute("SELECT name FROM sqlite_schema").get == "photos"
    assert connection.pragma("journal_mode") == "delete"
    connection.close()


def test_a_newer_format_asks_for_a_newer_version(open_log, path):
    open_log().close()
    connection = apsw.Connection(path)
    connection.pragma("user_version", schema.FORMAT + 1)
    connection.close()
    message = refused(path)
    assert f"file format {schema.FORMAT + 1}; this one reads {schema.FORMAT}" in message
    assert "Install the newer version" in message


def fill(log, notes_of, count=300):
    notes = notes_of(log)
    with notes.group():
        for number in range(count):
            notes.put(f"note{number:05}", "general", "x" * 500)
    return notes


def test_a_file_cut_short_says_so(open_log, notes_of, path):
    log = open_log()
    fill(log, notes_of)
    log.close()
    os.truncate(path, os.path.getsize(path) // 2)
    message = refused(path, PersistenceError)
    assert "cut short" in message or "damaged" in message
    assert "backup" in message


def test_a_damaged_page_is_named_when_it_is_met(open_log, notes_of, path):
    """No start reads the whole file; damage shows as an error of the call that meets it."""
    log = open_log()
    fill(log, notes_of)
    log.close()
    with open(path, "r+b") as file:
        file.seek(schema.PAGE_SIZE_BYTES * 3)
        file.write(b"\xa5" * (os.path.getsize(path) - schema.PAGE_SIZE_BYTES * 3))
    with pytest.raises(PersistenceError, match=r"is damaged .* restore the newest backup"):
        log = open_log()
        log.reader.scan(1, b"", None, descending=False, limit=1000)
        log.reader.count(1, b"", None, limit=1000)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ConfigurationError, match="folder must exist"):
        SqlitePersistence(str(tmp_path / "nowhere" / "data.sqlite"))


def test_a_folder_is_not_a_file(tmp_path):
    (tmp_path / "data.sqlite").mkdir()
    with pytest.raises(PersistenceError, match=r"data\.sqlite"):
        SqlitePersistence(str(tmp_path / "data.sqlite"))


# ----------------------------------------------------------------------------------- foreign writes


def test_a_foreign_write_stops_the_deployment(open_log, notes_of, path):
    """It went past the caches and every check, so nothing in memory can be trusted."""
    log = open_log()
    notes = notes_of(log)
    notified = []
    log.start(lambda: notified.append(log.failure))
    with notes.group():
        notes.put("a", "general")
    other = apsw.Connection(path)
    other.execute("UPDATE versions SET body = x'00'").fetchall()
    other.close()

    with pytest.raises(PersistenceError, match="Another program has written"), notes.group():
        notes.put("b", "general")

    assert "restart it" in str(log.failure)
    assert notified[-1] is log.failure
    with pytest.raises(PersistenceError, match="Another program"):
        log.begin()


def test_foreign_readers_and_our_own_checkpoints_are_no_foreign_writes(open_log, notes_of, path):
    log = open_log()
    notes = notes_of(log)
    other = apsw.Connection(path)
    for number in range(5):
        with notes.group():
            notes.put(f"note{number}", "general")
        other.execute("SELECT count(*) FROM versions").fetchall()
        log.checkpointer.holding_snapshots = number % 2 == 0  # then the round truncates
        log.checkpointer.run_round()
    other.close()
    assert log.failure is None
    assert len(notes.ids(log.reader)) == 5


def test_a_program_that_holds_the_write_lock_costs_one_group_and_no_waiting(
    open_log, notes_of, path
):
    log = open_log()
    notes = notes_of(log)
    with notes.group():
        notes.put("a", "general")
    other = apsw.Connection(path)
    other.execute("BEGIN IMMEDIATE").fetchall()
    with pytest.raises(PersistenceError, match="Another program holds a lock"), notes.group():
        notes.put("b", "general")
    other.execute("ROLLBACK").fetchall()
    other.close()
    with notes.group():
        notes.put("b", "general")
    assert notes.at["b"][0] == 2
    assert log.failure is None


@pytest.mark.parametrize("index", [1060, 1080])
def test_a_file_whose_ids_mean_something_else_by_now_asks_for_an_export(open_log, path, index):
    """Until format 3, stored files and scheduled functions had other table numbers."""
    open_log().close()
    connection = apsw.Connection(path)
    connection.execute("INSERT INTO current VALUES(?, x'01', 1, 1)", (index,)).fetchall()
    connection.pragma("user_version", 2)
    connection.close()
    assert "import the export into a new --data folder" in refused(path)
    connection = apsw.Connection(path)
    assert connection.pragma("user_version") == 2
    connection.close()


@pytest.mark.parametrize("older", [1, 2])
def test_other_older_files_are_upgraded(open_log, path, older):
    open_log().close()
    connection = apsw.Connection(path)
    if older == 1:
        connection.execute("DROP TABLE summaries").fetchall()
    connection.pragma("user_version", older)
    connection.close()
    open_log().close()
    connection = apsw.Connection(path)
    assert connection.pragma("user_version") == schema.FORMAT
    assert connection.execute("SELECT count(*) FROM summaries").get == 0
    connection.close()
