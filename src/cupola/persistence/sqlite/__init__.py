"""The log in one SQLite file."""

from cupola.persistence.sqlite.persistence import SqlitePersistence
from cupola.persistence.sqlite.reader import SqliteSnapshot, SqliteSnapshots

__all__ = ["SqlitePersistence", "SqliteSnapshot", "SqliteSnapshots"]
