"""The tables of a Cupola file, and what tells that a file is one.

`versions` is the log. `current` and `retired` are clustered by key, so that a range is read in
one sweep; both point at versions, which hold the bodies. `requests` is filled late (see
`requests.py`), and so is `summaries` in files of format 1 (see `aggregates.py`).

    format    differs from the next
    1         has no summaries
    2         stored files and scheduled functions have other table numbers, which their ids carry
"""

import apsw

from cupola.errors import ConfigurationError

APPLICATION_ID = 0x4375706F  # "Cupo"; `file` and SQLite tools show it
FORMAT = 3
_MOVED_BY_3 = (1060, 1080)  # where indexes of stored files and scheduled functions were till then
# By benchmarks/persistence_page_size.py: 2048 writes a third less log at equal CPU, but with
# documents of 1.2 kB the file is 40 % larger and scans are a quarter slower.
PAGE_SIZE_BYTES = 4096

TABLES = """
CREATE TABLE versions(
  version INTEGER PRIMARY KEY,
  ts INTEGER NOT NULL,
  tbl INTEGER NOT NULL,
  id TEXT NOT NULL,
  prev INTEGER,
  body BLOB
);
CREATE TABLE current(
  idx INTEGER NOT NULL,
  key BLOB NOT NULL,
  version INTEGER NOT NULL,
  from_ts INTEGER NOT NULL,
  PRIMARY KEY(idx, key)
) WITHOUT ROWID;
CREATE TABLE retired(
  idx INTEGER NOT NULL,
  hour INTEGER NOT NULL,
  key BLOB NOT NULL,
  to_ts INTEGER NOT NULL,
  from_ts INTEGER NOT NULL,
  version INTEGER NOT NULL,
  PRIMARY KEY(idx, hour, key, to_ts)
) WITHOUT ROWID;
CREATE TABLE commits(
  ts INTEGER PRIMARY KEY,
  function TEXT NOT NULL,
  session BLOB,
  request INTEGER,
  result BLOB,
  log_lines BLOB NOT NULL,
  identity BLOB,
  arguments BLOB
);
CREATE TABLE requests(
  session BLOB NOT NULL,
  request INTEGER NOT NULL,
  ts INTEGER NOT NULL,
  PRIMARY KEY(session, request)
) WITHOUT ROWID;
CREATE TABLE meta(
  key TEXT PRIMARY KEY,
  value
) WITHOUT ROWID;
INSERT INTO meta VALUES('indexed_through', 0);
"""
SUMMARIES = """
CREATE TABLE IF NOT EXISTS summaries(
  idx INTEGER NOT NULL,
  level INTEGER NOT NULL,
  low BLOB NOT NULL,
  count INTEGER NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY(idx, level, low)
) WITHOUT ROWID;
"""


def create_or_check(connection: apsw.Connection, path: str) -> None:
    """Make an empty file a Cupola file, or make sure that it is one that we can read.

    A file whose making was cut short is still empty to SQLite, so it is made again.

    Raises: ConfigurationError: It belongs to another program, or to a newer Cupola.
    """
    if connection.execute("SELECT count(*) FROM sqlite_schema").get == 0:
        _create(connection)
    application_id = connection.pragma("application_id")
    if application_id != APPLICATION_ID:
        raise ConfigurationError(
            f"{path} is an SQLite database, but not one of Cupola's. Choose another --data folder."
        )
    file_format = connection.pragma("user_version")
    if file_format > FORMAT:
        raise ConfigurationError(
            f"{path} was written by a newer Cupola (file format {file_format}; this one reads "
            f"{FORMAT}). Install the newer version, or choose another --data folder."
        )
    if file_format < FORMAT:
        _upgrade(connection, path)


def _create(connection: apsw.Connection) -> None:
    connection.pragma("page_size", PAGE_SIZE_BYTES)
    connection.pragma("auto_vacuum", "INCREMENTAL")  # a file made without it needs a VACUUM later
    connection.pragma("journal_mode", "WAL")
    connection.execute("BEGIN IMMEDIATE").fetchall()
    connection.execute(TABLES).fetchall()
    connection.execute(SUMMARIES).fetchall()
    connection.pragma("application_id", APPLICATION_ID)
    connection.pragma("user_version", FORMAT)
    connection.execute("COMMIT").fetchall()


def _upgrade(connection: apsw.Connection, path: str) -> None:
    """Raises: ConfigurationError: It holds what only the version that wrote it can read."""
    moved = "SELECT 1 FROM {} WHERE idx IN (?, ?) LIMIT 1"
    if any(connection.execute(moved.format(t), _MOVED_BY_3).get for t in ("current", "retired")):
        raise ConfigurationError(
            f"{path} was written by an older Cupola and has stored files or scheduled functions, "
            "whose ids have changed since. Export it with that version (`npx convex export`), and "
            "import the export into a new --data folder."
        )
    connection.execute("BEGIN IMMEDIATE").fetchall()
    connection.execute(SUMMARIES).fetchall()
    connection.pragma("user_version", FORMAT)
    connection.execute("COMMIT").fetchall()
