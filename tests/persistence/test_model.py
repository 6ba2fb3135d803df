"""Random lives of a log, against a dict: SQLite and the memory twin must both agree with it."""

import copy
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cupola.persistence import (
    Commit,
    CommitRecord,
    DocumentWrite,
    IndexChange,
    MemoryPersistence,
    Timestamp,
)
from cupola.persistence.sqlite import SqlitePersistence

names = st.sampled_from([b"", b"a", b"ab", b"b", b"b\0", b"b\xff", b"c", b"\xff"])
colours = st.sampled_from([b"red", b"blue", b"blue\0", b""])
bounds = st.one_of(names, names.map(lambda name: name + b"\0"))
indexes = st.sampled_from([1, 2])
HALF_AN_HOUR_NS = 1_800_000_000_000


class State:
    """The whole truth, naively: what a reader at one moment sees."""

    def __init__(self):
        self.documents = {}  # id -> (version, colour, body)
        self.requests = {}  # request -> (ts, result)
        self.ts = 0
        self.versions = 0

    def rows(self, index):
        return sorted(
            (name if index == 1 else colour + b"\1" + name, version, body)
            for name, (version, colour, body) in self.documents.items()
        )

    def scan(self, index, start, end, *, descending, limit):
        rows = [
            row for row in self.rows(index) if start <= row[0] and (end is None or row[0] < end)
        ]
        return (rows[::-1] if descending else rows)[:limit]


class LogMachine(RuleBasedStateMachine):
    """Groups, rollbacks, snapshots that stay open, upkeep, checkpoints and reopening."""

    @initialize()
    def open(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = str(Path(self.folder.name) / "data.sqlite")
        self.memory, self.sqlite = MemoryPersistence(), SqlitePersistence(self.path)
        self.state = State()
        self.committed = None  # the state before the open group
        self.now = 0
        self.snapshots = []  # (the state it must show, memory's, SQLite's)

    @property
    def both(self):
        return self.memory, self.sqlite

    @precondition(lambda self: self.committed is None)
    @rule()
    def begin(self):
        self.committed = copy.deepcopy(self.state)
        for log in self.both:
            log.begin()

    @precondition(lambda self: self.committed is not None)
    @rule(changes=st.dictionaries(names, st.one_of(st.none(), colours), min_size=1, max_size=4))
    def apply(self, changes):
        """One commit: each name gets a colour, or goes."""
        self.now += HALF_AN_HOUR_NS
        state, ts, writes = self.state, self.now, []
        for name, colour in changes.items():
            version, old_colour, _ = state.documents.get(name, (None, None, None))
            if colour is None and version is None:
                continue
            state.versions += 1
            body = None if colour is None else b"%d" % state.versions
            keys = [(name, name), (old_colour, colour)]
            old, new = ([pair[side] for pair in keys] for side in (0, 1))
            writes.append(
                DocumentWrite(
                    7,
                    name.hex(),
                    version,
                    body,
                    [
                        IndexChange(1, old[0] if version else None, new[0] if body else None),
                        IndexChange(
                            2,
                            old[1] + b"\1" + name if version else None,
                            new[1] + b"\1" + name if body else None,
                        ),
                    ],
                )
            )
            if body is None:
                del state.documents[name]
            else:
                state.documents[name] = (state.versions, colour, body)
        state.ts = ts
        state.requests[ts] = (ts, b"%d" % ts)
        record = CommitRecord("f", session=b"s" * 16, request=ts, result=b"%d" % ts)
        numbers = [log.apply(Commit(Timestamp(ts), writes, record)) for log in self.both]
        expected = list(range(state.versions - len(writes) + 1, state.versions + 1))
        assert numbers == [expected, expected]

    @precondition(lambda self: self.committed is not None)
    @rule()
    def append(self):
        self.committed = None
        for log in self.both:
            log.append()

    @precondition(lambda self: self.committed is not None)
    @rule()
    def rollback(self):
        self.state, self.committed = self.committed, None
        for log in self.both:
            log.rollback()

    @precondition(lambda self: self.committed is None and len(self.snapshots) < 3)
    @rule()
    def open_snapshot(self):
        pinned = copy.deepcopy(self.state), *(log.open_snapshot() for log in self.both)
        self.snapshots.append(pinned)

    @precondition(lambda self: self.snapshots)
    @rule()
    def close_snapshot(self):
        for snapshot in self.snapshots.pop(0)[1:]:
            snapshot.close()

    @precondition(lambda self: self.committed is None)
    @rule()
    def maintain(self):
        assert [log.maintain() for log in self.both] == [False, False]

    @precondition(lambda self: self.committed is None)
    @rule()
    def checkpoint(self):
        self.sqlite.checkpointer.run_round()

    @precondition(lambda self: self.committed is None and not self.snapshots)
    @rule()
    def reopen(self):
        self.sqlite.close()
        self.sqlite = SqlitePersistence(self.path)
        assert self.sqlite.head_ts == self.sqlite.durable_ts == self.state.ts

    @rule(
        index=indexes,
        start=bounds,
        end=st.one_of(st.none(), bounds),
        descending=st.booleans(),
        limit=st.integers(0, 5),
    )
    def scan(self, index, start, end, descending, limit):
        for state, *readers in self._views():
            expected = state.scan(index, start, end, descending=descending, limit=limit)
            for reader in readers:
                found = reader.scan(index, start, end, descending=descending, limit=limit)
                assert found == expected
                assert reader.count(index, start, end, limit=limit) == len(expected)

    @rule(name=names, request=st.integers(0, 40))
    def get(self, name, request):
        ts = request * HALF_AN_HOUR_NS
        for state, *readers in self._views():
            rows = {row[0]: row for row in state.rows(1)}
            for reader in readers:
                assert reader.get(1, name) == rows.get(name)
                answer = reader.recorded_request(b"s" * 16, ts)
                assert (answer and answer[:2]) == state.requests.get(ts)

    @invariant()
    def timestamps_agree(self):
        if not hasattr(self, "state"):
            return
        head = self.committed or self.state
        for log in self.both:
            assert log.head_ts == head.ts
        for state, *readers in self._views():
            assert [reader.newest_ts() for reader in readers] == [state.ts, state.ts]

    def _views(self):
        return [(self.state, self.memory.reader, self.sqlite.reader), *self.snapshots]

    def teardown(self):
        if not hasattr(self, "state"):
            return
        table = self.sqlite.reader._execute("SELECT * FROM retired ORDER BY 1, 2, 3, 4").fetchall()
        assert table == sorted(self.memory.retired)
        table = self.sqlite.reader._execute("SELECT * FROM current ORDER BY 1, 2").fetchall()
        current = self.memory.reader.current.items()
        assert table == sorted(
            (index, key, *at) for index, rows in current for key, at in rows.items()
        )
        self.sqlite.close()
        self.folder.cleanup()


TestLog = LogMachine.TestCase
TestLog.settings = settings(
    max_examples=30,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
