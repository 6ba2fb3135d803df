"""The append-only log of document versions and its indexes: in memory, or one SQLite file."""

from cupola.persistence.memory import MemoryPersistence, MemorySnapshot
from cupola.persistence.protocol import (
    HOUR_NS,
    Commit,
    CommitRecord,
    DocumentWrite,
    IndexChange,
    IndexEntry,
    LoggedVersion,
    PastPage,
    PastReader,
    PastRow,
    Persistence,
    Reader,
    RecordedRequest,
    Row,
    Snapshot,
    SummaryChange,
    Timestamp,
)
from cupola.persistence.summaries import EntryNumbers, Numbers, Summary

__all__ = [
    "HOUR_NS",
    "Commit",
    "CommitRecord",
    "DocumentWrite",
    "EntryNumbers",
    "IndexChange",
    "IndexEntry",
    "LoggedVersion",
    "MemoryPersistence",
    "MemorySnapshot",
    "Numbers",
    "PastPage",
    "PastReader",
    "PastRow",
    "Persistence",
    "Reader",
    "RecordedRequest",
    "Row",
    "Snapshot",
    "Summary",
    "SummaryChange",
    "Timestamp",
]
