"""A committer over a log, driven by hand."""

import itertools

from cupola.clock import ManualClock
from cupola.database.committer import Committer
from cupola.database.load import load_catalog
from cupola.database.schema_push import SchemaPush
from cupola.database.transaction import Transaction
from cupola.database.writes import IdSource
from cupola.limits import Limits
from cupola.persistence import CommitRecord, MemoryPersistence


class Database:
    """Without a schema, over the memory twin, unless it is given a log."""

    def __init__(self, persistence=None, *, limits=None):
        self.persistence = persistence or MemoryPersistence()
        self.clock = ManualClock(seed=self.persistence.head_ts % 1000)
        self.limits = limits or Limits()
        # After a restart others than before, since commits have come in between.
        self.seeds = itertools.count(self.persistence.head_ts << 32)
        self.committer = Committer(
            self.persistence, load_catalog(self.persistence.reader), self.clock
        )

    def push(self, definition):
        """The steps of a push."""
        return SchemaPush(
            definition, self.committer, self.persistence, self.clock, lambda published: None
        ).steps()

    def accept(self, definition):
        for _ in self.push(definition):
            pass
        return self

    def begin(self, reader=None, ts=None, catalog=None):
        return Transaction(
            reader or self.persistence.reader,
            catalog or self.committer.catalog,
            ts or self.committer.head_ts,
            ids=IdSource(next(self.seeds).to_bytes(16, "big"), self.clock.now_ns()),
            creation_time=self.committer.next_creation_time(),
            limits=self.limits,
        )

    def commit(self, transaction, *, decided=True):
        """Apply a transaction as a group of its own, and decide that it has happened, or never."""
        self.committer.begin_group()
        ts = self.committer.apply(
            transaction.writes(),
            CommitRecord(function="test"),
            creation_time=transaction.creation_time,
        )
        if decided:
            self.committer.append_group()
        else:
            self.committer.abandon_group()
        return ts

    def write(self, work):
        transaction = self.begin()
        result = work(transaction)
        self.commit(transaction)
        return result

    def insert(self, table, **fields):
        return self.write(lambda transaction: transaction.insert(table, fields))
