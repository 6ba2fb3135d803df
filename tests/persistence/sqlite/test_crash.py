"""kill -9 and torn logs: whole commits only, and every one that was said to be durable."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading

import apsw
import pytest

from cupola.errors import PersistenceError
from cupola.persistence.sqlite import SqlitePersistence

# For each line it reads, forks a process that commits groups of random size for ever, three
# documents a commit, and says first its number, then what is durable, until it is killed.
NURSERY = """
import os, random, sys
from cupola.limits import Limits
from cupola.persistence import Commit, CommitRecord, DocumentWrite, IndexChange, SummaryChange
from cupola.persistence.sqlite import SqlitePersistence
from cupola.values import encode_key

def say(number):
    os.write(1, b"%d\\n" % number)

def commit_for_ever(path, seed, checkpoint_start_bytes):
    log = SqlitePersistence(path, Limits(checkpoint_start_bytes=int(checkpoint_start_bytes)))
    chance = random.Random(seed)
    log.start(lambda: say(log.durable_ts))
    ts = log.head_ts
    while True:
        while log.holding_commits():
            pass
        log.begin()
        for _ in range(chance.randrange(1, 20)):
            ts += 1
            keys = [b"%09d-%d" % (ts, part) for part in range(3)]
            writes = [
                DocumentWrite(10, key.decode(), None, b"x" * chance.randrange(2000),
                              [IndexChange(1, None, key), IndexChange(2, None, b"c" + key)])
                for key in keys
            ]
            sums = [
                SummaryChange(2, 1, b"c" + key, (encode_key(float(part)),))
                for part, key in enumerate(keys)
            ]
            record = CommitRecord("f", b"s" * 16, ts, b"%d" % ts)
            log.apply(Commit(ts, writes, record, (), (), sums))
        log.append()
        log.sync()
        if chance.randrange(10) == 0:
            log.maintain()

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        say(os.getpid())
        commit_for_ever(*line.split())
    os.waitpid(child, 0)
    os.write(1, b"dead\\n")
"""


class Nursery:
    """Processes to kill, from a warm parent."""

    def __init__(self):
        self._parent = subprocess.Popen(
            [sys.executable, "-c", NURSERY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def run_and_kill(self, path, seed, acknowledgements, *, checkpoint_start_bytes=500_000):
        """Let a process commit until it has acknowledged so often; kill it at whatever it does.

        Returns: the newest timestamp it said was durable.
        """
        self._parent.stdin.write(f"{path} {seed} {checkpoint_start_bytes}\n")
        child, said = int(self._parent.stdout.readline()), 0
        for _ in range(acknowledgements):
            said = max(said, int(self._parent.stdout.readline()))
        os.kill(child, signal.SIGKILL)
        while (line := self._parent.stdout.readline()) != "dead\n":
            said = max(said, int(line))
        return said

    def close(self):
        self._parent.communicate()


@pytest.fixture(scope="module")
def run_and_kill():
    nursery = Nursery()
    yield nursery.run_and_kill
    nursery.close()


def check_whole(path):
    """Every commit up to the newest is there, each with its three documents in both indexes, and
    in the summaries of one.

    Returns: the newest timestamp.
    """
    log = SqlitePersistence(path)
    read = log.reader._execute
    newest = log.head_ts
    assert newest == log.durable_ts
    summary = log.reader.summarize(2, b"", None, fields=1)
    assert (summary.count, summary.numbers[0].sum) == (newest * 3, newest * 3.0)
    assert read("SELECT count(*), ifnull(max(ts), 0) FROM commits").fetchall() == [(newest, newest)]
    assert read(
        "SELECT DISTINCT n FROM (SELECT count(*) n FROM versions GROUP BY ts)"
    ).fetchall() in (
        [(3,)],
        [],
    )
    for index in (1, 2):
        assert log.reader.count(index, b"", None, limit=10**9) == 3 * newest
    if newest:
        assert log.reader.recorded_request(b"s" * 16, newest)[0] == newest
        assert log.reader.recorded_request(b"s" * 16, 1)[0] == 1
    assert log.reader.recorded_request(b"s" * 16, newest + 1) is None
    assert read("PRAGMA quick_check").fetchall() == [("ok",)]
    log.close()
    return newest


def test_what_was_said_to_be_durable_survives_kill_9(path, run_and_kill):
    """Over many rounds on one file, killed at any moment: during commits, syncs and checkpoints."""
    chance = random.Random(1)
    newest = 0
    for seed in range(16):
        said = run_and_kill(path, seed, chance.choice([1, 1, 2, 5, 20, 50]))
        found = check_whole(path)
        assert found >= said >= newest
        newest = found


def test_a_log_cut_anywhere_gives_whole_commits(path, tmp_path, run_and_kill):
    """A power cut takes a suffix of the log: some newest commits, never a part of one.

    Without checkpoints: what one has copied was synced in the log before.
    """
    run_and_kill(path, 7, 40, checkpoint_start_bytes=10**9)
    whole = os.path.getsize(path + "-wal")
    chance = random.Random(2)
    newest = []
    for number in range(12):
        copy = str(tmp_path / f"copy{number}.sqlite")
        shutil.copy(path, copy)
        shutil.copy(path + "-wal", copy + "-wal")
        os.truncate(copy + "-wal", chance.randrange(whole + 1))
        newest.append(check_whole(copy))
    assert len(set(newest)) > 3


def test_a_crash_during_recovery_is_recovered_from(path, tmp_path, run_and_kill):
    """Recovery repeats safely: it only copies what the log has."""
    said = run_and_kill(path, 3, 40)
    connection = apsw.Connection(path)  # a recovery that was cut short: copied, not truncated
    connection.execute("SELECT count(*) FROM commits").fetchall()
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    connection.close()
    assert check_whole(path) >= said


def test_a_log_without_its_file_is_kept(path, run_and_kill):
    """SQLite would delete the log of an empty database, and with it the last commits."""
    run_and_kill(path, 5, 5)
    os.rename(path, path + ".moved")
    with pytest.raises(PersistenceError, match="missing or empty"):
        SqlitePersistence(path)
    os.replace(path + ".moved", path)
    assert check_whole(path) > 0


def test_a_start_does_not_wait_for_a_reader_left_over_for_ever(path, run_and_kill):
    """Recovery needs the log to itself; whoever stands in the way is named as such."""
    run_and_kill(path, 4, 20)
    reader = apsw.Connection(path)
    reader.execute("BEGIN").fetchall()
    reader.execute("SELECT count(*) FROM commits").fetchall()
    released = threading.Timer(0.3, lambda: reader.execute("COMMIT").fetchall())
    released.start()
    assert check_whole(path) > 0
    released.join()
    reader.close()
