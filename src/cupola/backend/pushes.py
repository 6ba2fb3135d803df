"""Pushes beside the calls: a slice of one in each turn, while the old code serves."""

from __future__ import annotations

import collections
import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator

from cupola.backend.node import Node
from cupola.database.schema_push import SchemaPush
from cupola.database.search_indexes import SearchBuilds
from cupola.database.system_commits import Work, commit_now
from cupola.database.transaction import Transaction
from cupola.errors import BadRequestError, CupolaError, OperatorError
from cupola.functions.app import App
from cupola.schema import SchemaDefinition

_LOG = logging.getLogger("cupola")

PushDone = Callable[[BaseException | None], None]
"""Told None when a push has reached its goal, or the error it failed with."""


@contextlib.contextmanager
def _own_failures(name: str) -> Iterator[None]:
    """What fails before a commit begins concerns nobody else: the deployment goes on.

    Raises: CupolaError: In the place of every other error, which is logged.
    """
    try:
        yield
    except CupolaError:
        raise
    except Exception as error:
        _LOG.exception("An error of Cupola itself ends %s", name)
        raise OperatorError(f"Internal error: {error!r}", code="InternalServerError") from error


class _PushWork:
    """Some stages of a schema push, and who is told once: when their goal is reached, or that it is
    not. `push` None: other work of the engine, in the same slices.
    """

    def __init__(
        self,
        push: SchemaPush | None,
        steps: Iterator[None],
        is_reached: Callable[[], bool],
        finished: PushDone,
        is_clean_up: bool = False,
    ) -> None:
        self._push = push
        self._steps = steps
        self._is_reached = is_reached
        self._finished = finished
        self._is_told = is_clean_up

    def step(self) -> None:
        """Raises: StopIteration at the end; what the push failed with."""
        if self._push is not None and self._push.is_overwritten and not self._is_told:
            raise BadRequestError(
                "Another push has begun meanwhile; push again.", code="RaceDetected"
            )
        next(self._steps)

    @property
    def is_waiting(self) -> bool:
        """Whether somebody else has to do something first, who then wakes the backend."""
        return self._push is not None and self._push.is_waiting

    def tell_if_reached(self) -> None:
        """To be called after each step: old code must not meet the new schema."""
        if not self._is_told and self._is_reached():
            self._is_told = True
            self._finished(None)

    def fail(self, error: CupolaError) -> None:
        if self._is_told:
            _LOG.warning("Dropped indexes take room until the next push: %s", error.message)
        else:
            self._is_told = True
            self._finished(error)


class Pushes:
    """What waits to become the running code and schema, first come, first served."""

    def __init__(
        self, node: Node, use: Callable[[App], None], searches: Callable[[], SearchBuilds]
    ) -> None:
        """`use`: make an app, whose schema is in force by then, the running code. `searches`: who
        builds indexes for searches.
        """
        self._node = node
        self._use = use
        self._searches = searches
        self._waiting: collections.deque[_PushWork] = collections.deque()
        self._staged: SchemaPush | None = None

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def is_busy(self) -> bool:
        """Whether there is something to do in the next turn."""
        return bool(self._waiting) and not self._waiting[0].is_waiting

    def run(self) -> None:
        """Some milliseconds of the first that waits. Steps commit groups of their own."""
        node = self._node
        if not self._waiting or node.persistence.holding_commits():
            return
        work = self._waiting[0]
        deadline = node.clock.monotonic_ns() + int(node.limits.backfill_time_s * 1e9)
        try:
            while node.clock.monotonic_ns() < deadline or node.state == "starting":
                work.step()
                work.tell_if_reached()
                if work.is_waiting:
                    return
        except StopIteration:
            self._waiting.popleft()
            work.tell_if_reached()
        except CupolaError as error:
            self._waiting.popleft()
            work.fail(error)

    def deploy(
        self, app: App, done: PushDone, also: Callable[[Transaction], None] | None = None
    ) -> None:
        """Make `app` the running code, once its schema is accepted; until then the old one serves.
        `also` writes in the transaction that puts the schema in force.

        `done(None)` when it is live, `done(error)` when the old code stays.
        """
        push = self._new_push(app.schema)

        def finished(error: BaseException | None) -> None:
            if error is None:
                self._use(app)
            done(error)

        self._put(_PushWork(push, push.steps(also), lambda: push.is_accepted, finished))

    def stage(self, schema: SchemaDefinition, done: PushDone) -> SchemaPush:
        """Get ready for a schema, without putting it in force: `done(None)` when `accept` may be
        called, `done(error)` when stored documents do not match. The newest push overwrites those
        before it; see `SchemaPush.is_overwritten`.
        """
        push = self._staged = self._new_push(schema)
        self._put(_PushWork(push, push.prepare(), lambda: push.is_prepared, done))
        return push

    def accept(
        self, push: SchemaPush, app: App, also: Callable[[Transaction], None], done: PushDone
    ) -> None:
        """Make `app` the running code and a staged schema the one in force, and write what `also`
        writes: all at once, or nothing. Else as `deploy`.
        """
        accepted = [False]

        def finished(error: BaseException | None) -> None:
            if error is None:
                self._use(app)
            done(error)

        def steps() -> Iterator[None]:
            for _ in push.accept(also):
                accepted[0] = push.is_accepted
                yield
            accepted[0] = True

        self._put(_PushWork(push, steps(), lambda: accepted[0], finished))

    def withdraw(self, push: SchemaPush) -> None:
        """Forget a staged schema, if nothing has overwritten it and nobody has accepted it."""
        if push is self._staged and not push.is_accepted:
            self._staged = None
            push.is_overwritten = True
            self._put(_PushWork(push, push.withdraw(), lambda: False, lambda error: None, True))

    def commit_in_slices(self, name: str, works: Iterable[Work], done: PushDone) -> None:
        """Run each of `works` as a transaction of its own, some milliseconds in each turn, after
        the pushes that wait already. `name` is written beside each commit.

        `done(None)` after the last one, `done(error)` when one failed, in whatever way: it had not
        begun to commit. Those before it stay.
        """
        node, ended = self._node, [False]
        left = iter(works)

        def steps() -> Iterator[None]:
            while True:
                with _own_failures(name):
                    work = next(left, None)
                if work is None:
                    break

                def guarded(transaction: Transaction, work: Work = work) -> None:
                    with _own_failures(name):
                        work(transaction)

                commit_now(
                    node.committer, node.persistence, node.clock, node.publish, name, guarded
                )
                yield
            ended[0] = True

        self._put(_PushWork(None, steps(), lambda: ended[0], done))

    def _new_push(self, schema: SchemaDefinition) -> SchemaPush:
        if self._staged is not None:
            self._staged.is_overwritten = True
            self._staged = None
        node = self._node
        return SchemaPush(
            schema, node.committer, node.persistence, node.clock, node.publish, self._searches()
        )

    def _put(self, work: _PushWork) -> None:
        self._waiting.append(work)
        self._node.wake()
