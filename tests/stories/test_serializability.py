"""The law that every commit obeys: replayed alone, in commit order, it reads what it read live.

Random programs run against the real engine in every way it has: queued together in groups, and
"elsewhere", on pinned snapshots that are older than the head when their result is validated and
applied, as a worker's is. The model is a dict.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cupola.auth import ANONYMOUS
from cupola.backend.calls import CallRequest, CallResult
from cupola.database.transaction import Transaction
from cupola.database.writes import IdSource
from cupola.errors import ConflictError
from cupola.functions.app import App
from cupola.functions.call import Call
from cupola.functions.context import MutationCtx
from cupola.functions.definitions import Kind
from cupola.functions.execution import execute
from cupola.persistence import CommitRecord, Persistence, Snapshot
from cupola.testing import Deployment
from cupola.values import decode

SEEDS = {"s0": 0, "s1": 2, "s2": 4, "s3": 6}
Ops = list[dict[str, Any]]

# ------------------------------------------------------------------------------ programs as data

_names = st.sampled_from([*SEEDS, "n0", "n1", "n2"])
_values = st.integers(0, 7)
_bounds = st.tuples(_values, _values).map(lambda pair: {"low": min(pair), "high": max(pair) + 1})


def _op(kind: str, **parts: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"op": st.just(kind), **parts})


_ranges = st.builds(
    lambda bounds, order, take: {"op": "range", "order": order, "take": take, **bounds},
    _bounds,
    st.sampled_from(["asc", "desc"]),
    st.integers(1, 4),
)
_simple = st.one_of(
    _op("get", name=_names),
    _op("peek", name=st.sampled_from([*SEEDS])),
    _ranges,
    _bounds.map(lambda bounds: {"op": "count", **bounds}),
    _op("insert", value=_values),
    _op("patch", name=_names, value=_values),
    _op("delete", name=_names),
    st.builds(lambda b, name: {"op": "add_up", "name": name, **b}, _bounds, _names),
)
_nested = st.one_of(
    _op("nested", ops=st.lists(_simple, max_size=3), fails=st.booleans()),
    st.builds(
        lambda bounds, ops: {"op": "each", "ops": ops, "fails": True, **bounds},
        _bounds,
        st.lists(_simple, max_size=2),
    ),
    st.builds(
        lambda bounds, op: {"op": "each", "ops": [op], "fails": False, **bounds},
        _bounds,
        st.one_of(_op("patch", name=_names, value=_values), _op("delete", name=_names)),
    ),
)
_programs = st.lists(_simple | _nested, min_size=1, max_size=5)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.lists(_programs, min_size=1, max_size=3)),
        st.tuples(st.just("turn"), st.none()),
        st.tuples(st.just("begin"), _programs),
        st.tuples(st.just("finish"), st.integers(1, 3)),
    ),
    min_size=4,
    max_size=14,
)

# ------------------------------------------------------------------------------------- the model


class Model:
    """A database without concurrency."""

    def __init__(self) -> None:
        self.rows = dict(SEEDS)

    def between(self, low: float, high: float) -> list[list[Any]]:
        rows = sorted((value, name) for name, value in self.rows.items() if low <= value < high)
        return [[name, value] for value, name in rows]

    def run(self, ops: Ops) -> list[Any]:
        reads: list[Any] = []
        for op in ops:
            self.step(op, reads)
        return reads

    def step(self, op: dict[str, Any], reads: list[Any]) -> None:
        match op["op"]:
            case "get" | "peek":
                reads.append(self.rows.get(op["name"]))
            case "range":
                rows = self.between(op["low"], op["high"])
                reads.append((rows if op["order"] == "asc" else rows[::-1])[: op["take"]])
            case "count":
                reads.append(len(self.between(op["low"], op["high"])))
            case "insert":
                self.rows[op["name"]] = op["value"]
            case "patch":
                if op["name"] in self.rows:
                    self.rows[op["name"]] = op["value"]
            case "delete":
                self.rows.pop(op["name"], None)
            case "add_up":
                total = sum(value for _, value in self.between(op["low"], op["high"]))
                if op["name"] in self.rows:
                    self.rows[op["name"]] = total % 7
            case "nested":
                self.nested(op, reads)
            case "each":
                last: tuple[Any, Any] = (-1, "")
                while behind := [
                    (value, name)
                    for name, value in self.between(op["low"], op["high"])
                    if (value, name) > last
                ]:
                    last = behind[0]
                    reads.append(last[1])
                    self.nested(op, reads)

    def nested(self, op: dict[str, Any], reads: list[Any]) -> None:
        before = dict(self.rows)
        reads.append(self.run(op["ops"]))
        if op["fails"]:
            self.rows = before


# ------------------------------------------------------------------------------- the real engine


class Done(NamedTuple):
    """A transaction that took effect: `is_write` ones at their own timestamp."""

    ts: int
    is_write: bool
    ops: Ops
    reads: list[Any]


class Elsewhere(NamedTuple):
    """A transaction that a worker would run: its snapshot, pinned when it began."""

    ops: Ops
    snapshot: Snapshot
    ts: int
    catalog: Any


class World:
    def __init__(self, app: App, persistence: Persistence) -> None:
        self.deployment = Deployment(app, persistence=persistence)
        self.node = self.deployment.backend.node
        self.ids = self.deployment.run(
            lambda ctx: {
                name: ctx.db.insert("rows", {"name": name, "value": value})
                for name, value in SEEDS.items()
            }
        )
        self.done: list[Done] = []
        self.running: list[Elsewhere] = []
        self.inserted = 0
        self.seen: list[tuple[int, Any, Any]] = []
        client = self.deployment.connect()
        low = client.subscribe("programs:look", low=0, high=4)
        high = client.subscribe("programs:look", low=4, high=100)
        client.on_transition = lambda: self.seen.append(
            (client.session.shown_ts, low.value, high.value)
        )

    def named(self, ops: Ops) -> Ops:
        """A program with names for what it inserts, and ids for what it peeks at."""
        named = []
        for op in ops:
            op = dict(op)
            if op["op"] == "insert":
                op["name"] = f"n{self.inserted}"
                self.inserted += 1
            if op["op"] == "peek":
                op["id"] = self.ids[op["name"]]
            if "ops" in op:
                inner = [o for o in op["ops"] if op["op"] != "each" or o["op"] != "insert"]
                op["ops"] = self.named(inner)
            named.append(op)
        return named

    def submit(self, ops: Ops) -> None:
        args = json.dumps({"ops": ops}).encode()
        head_before = self.node.head_ts

        def done(result: CallResult) -> None:
            assert result.value is not None, result.error_message
            is_write = result.ts > head_before and result.ts not in {d.ts for d in self.done}
            self.done.append(Done(result.ts, is_write, ops, decode(result.value)))  # type: ignore[arg-type]

        self.deployment.backend.submit(CallRequest("mutation", "programs:run", args), done)

    def begin(self, ops: Ops) -> None:
        node = self.node
        node.committer.write_log.open_snapshot(node.head_ts)
        snapshot = node.persistence.open_snapshot()
        self.running.append(Elsewhere(ops, snapshot, node.head_ts, node.committer.catalog))

    def finish(self, count: int) -> None:
        """Apply up to `count` results in one group; who has lost against a commit runs again."""
        group, self.running = self.running[:count], self.running[count:]
        lost: list[Elsewhere] = []
        committer = self.node.committer
        applied: list[Done] = []
        committer.begin_group()
        for work in group:
            transaction, reads = self.execute(work)
            try:
                committer.validate(transaction.intervals(), work.ts)
            except ConflictError:
                lost.append(work)
                continue
            writes = transaction.writes()
            ts = work.ts
            if writes:
                record = CommitRecord("programs:run", result=b"null")
                ts = committer.apply(writes, record, creation_time=transaction.creation_time)
            applied.append(Done(ts, bool(writes), work.ops, reads))
        self.node.publish(committer.append_group())
        self.done += applied
        for work in group:
            work.snapshot.close()
            committer.write_log.close_snapshot(work.ts)
        for work in lost:
            self.begin(work.ops)
            self.running.insert(0, self.running.pop())
            self.finish(1)

    def execute(self, work: Elsewhere) -> tuple[Transaction, list[Any]]:
        node = self.node
        seed = node.clock.random_bytes(16)
        transaction = Transaction(
            work.snapshot,
            work.catalog,
            work.ts,
            ids=IdSource(seed, node.clock.now_ns()),
            creation_time=node.committer.next_creation_time(),
        )
        call = Call(
            app=node.app,
            path="programs:run",
            kind=Kind.MUTATION,
            transaction=transaction,
            identity=ANONYMOUS,
            now_ns=0,
            seed=seed,
            request_id="elsewhere",
            limits=node.limits,
            sealer=node.sealer,
        )
        function = node.app.find("programs:run")
        execution = execute(call, function, json.dumps({"ops": work.ops}).encode(), MutationCtx)
        assert execution.value is not None, execution.error
        return transaction, decode(execution.value)  # type: ignore[return-value]


def check(world: World) -> None:
    """Replay in commit order; a transaction that wrote nothing stands behind the commit it saw."""
    model = Model()
    states = {0: dict(model.rows)}
    for done in sorted(world.done, key=lambda done: (done.ts, not done.is_write)):
        before = dict(model.rows)
        assert model.run(done.ops) == done.reads, done
        if done.is_write:
            states[done.ts] = dict(model.rows)
        else:
            assert model.rows == before, done
    for ts, low, high in world.seen:
        model.rows = states[max(at for at in states if at <= ts)]
        assert [low, high] == [model.between(0, 4), model.between(4, 100)]


@settings(
    max_examples=60,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking takes minutes
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=_steps)
def test_every_commit_equals_a_serial_replay(
    story_app: App, make_persistence: Callable[[], Persistence], steps: list[Any]
) -> None:
    """Replayed alone, in commit order, each transaction reads what it read live."""
    world = World(story_app, make_persistence())
    with world.deployment as deployment:
        for step, what in steps:
            match step:
                case "submit":
                    for ops in what:
                        world.submit(world.named(ops))
                case "turn":
                    deployment.settle()
                case "begin":
                    world.begin(world.named(what))
                case "finish":
                    world.finish(what)
        world.finish(len(world.running))
        deployment.backend.wake()
        deployment.settle()
        check(world)
