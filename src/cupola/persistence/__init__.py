"""The append-only log of document versions and its indexes: in memory, or one SQLite file."""

from cupola.persistence.memory import MemoryPersistence, MemorySnapshot
from cupola.persistence.protocol import (
    HOUR_NS,
    Change,
    Commit,
    CommitRecord,
    DocumentWrite,
    IndexChange,
    IndexEntry,
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
    "Change",
    "Commit",
    "CommitRecord",
    "DocumentWrite",
    "EntryNumbers",
    "IndexChange",
    "IndexEntry",
    "MemoryPersistence",
    "MemorySnapshot",
    "Numbers",
    "Persistence",
    "Reader",
    "RecordedRequest",
    "Row",
    "Snapshot",
    "Summary",
    "SummaryChange",
    "Timestamp",
]
