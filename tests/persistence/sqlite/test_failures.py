"""Every error of the disk says which file it is about and what to do next."""

import apsw
import pytest

from cupola.errors import PersistenceError
from cupola.persistence.sqlite.failures import explain, is_lost_sync

PATH = "/data/data.sqlite"


@pytest.mark.parametrize(
    ("error", "next_step"),
    [
        (apsw.FullError("full"), "free some space"),
        (apsw.ReadOnlyError("read-only"), "permission to write both"),
        (PermissionError(13, "Permission denied"), "permission to write both"),
        (apsw.CorruptError("malformed"), "restore the newest backup"),
        (apsw.NotADBError("not a database"), "restore the newest backup"),
        (apsw.BusyError("locked"), "Close it"),
        (apsw.CantOpenError("unable to open"), "Check that the file and its folder exist"),
        (apsw.IOError("disk I/O error"), "See the system's log"),
        (OSError(5, "Input/output error"), "See the system's log"),
        (apsw.NoMemError("out of memory"), "more memory"),
        (apsw.ConnectionClosedError("closed"), "the server is stopping"),
        (apsw.SQLError("no such table: versions"), "Restore the newest backup"),
    ],
)
def test_a_message_names_the_file_and_the_next_step(error, next_step):
    explained = explain(error, PATH)
    assert isinstance(explained, PersistenceError)
    assert PATH in explained.message
    assert next_step in explained.message


def test_only_a_refused_sync_is_final():
    """Other errors of the disk cost one group; after this one nothing written can be trusted."""
    lost, other = apsw.IOError("disk I/O error"), apsw.IOError("disk I/O error")
    lost.extendedresult = apsw.SQLITE_IOERR_FSYNC
    other.extendedresult = apsw.SQLITE_IOERR_WRITE
    assert is_lost_sync(lost)
    assert not is_lost_sync(other)
