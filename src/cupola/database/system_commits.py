"""Commits of the engine itself: one transaction in a group of its own, outside all functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from cupola.clock import Clock
from cupola.database.committer import Committer, Published
from cupola.database.transaction import Transaction
from cupola.database.writes import IdSource
from cupola.limits import Limits
from cupola.persistence import CommitRecord, Persistence
from cupola.values.bounds import follow

Work = Callable[[Transaction], None]
Publish = Callable[[list[Published]], None]

_unbounded: Limits


@follow
def _use(limits: Limits) -> None:
    """The caller bounds what one does: a push's modules are more than a function may write, say.
    But documents are what they are elsewhere.
    """
    global _unbounded
    _unbounded = dataclasses.replace(
        limits,
        bytes_read_max=1 << 40,
        documents_read_max=1 << 31,
        bytes_written_max=1 << 40,
        documents_written_max=1 << 31,
    )


def commit_now(
    committer: Committer,
    persistence: Persistence,
    clock: Clock,
    publish: Publish,
    name: str,
    work: Work,
) -> None:
    """Run `work` on the head and commit it. No group may be open.

    Raises: what `work` raises; then nothing has happened.
    """
    transaction = Transaction(
        persistence.reader,
        committer.catalog,
        committer.head_ts,
        ids=IdSource(clock.random_bytes(16), clock.now_ns()),
        creation_time=committer.next_creation_time(),
        limits=_unbounded,
    )
    work(transaction)
    committer.begin_group()
    try:
        committer.apply(
            transaction.writes(),
            CommitRecord(function=name),
            creation_time=transaction.creation_time,
        )
    except BaseException:
        committer.abandon_group()
        raise
    publish(committer.append_group())
