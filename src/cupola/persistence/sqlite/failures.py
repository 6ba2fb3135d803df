"""From SQLite's errors to ours: each message names the file and the next step."""

import apsw

from cupola.errors import PersistenceError


def explain(error: apsw.Error | OSError, path: str) -> PersistenceError:
    """The error that tells the operator what `error` means for the file at `path`."""
    match error:
        case apsw.FullError():
            text = (
                f"No space is left for {path}, so this was not written. What was acknowledged is "
                "safe and can be read; free some space and the same call works again."
            )
        case apsw.ReadOnlyError() | apsw.PermissionsError() | PermissionError():
            text = (
                f"{path} or its folder cannot be written ({error}). Give the server's user "
                "permission to write both, and check that the disk is not mounted read-only."
            )
        case apsw.CorruptError() | apsw.NotADBError():
            text = (
                f"{path} is damaged ({error}). Stop the server, keep a copy of the file together "
                "with its -wal, and restore the newest backup."
            )
        case apsw.BusyError() | apsw.LockedError():
            text = (
                f"Another program holds a lock on {path}. Close it: while Cupola serves a file, "
                "other programs may only read it."
            )
        case apsw.ConnectionClosedError() | apsw.CursorClosedError():
            text = f"{path} is closed already: the server is stopping."
        case apsw.CantOpenError():
            text = f"{path} cannot be opened ({error}). Check that the file and its folder exist."
        case apsw.IOError() | OSError():
            text = (
                f"The disk that holds {path} failed ({error}). See the system's log; if the disk "
                "is in order again, restart the server."
            )
        case apsw.NoMemError():
            text = f"Not enough memory to work on {path}. Give the server more memory."
        case _:
            text = f"{path} does not hold what it should ({error}). Restore the newest backup."
    return PersistenceError(text)


def is_lost_sync(error: apsw.Error) -> bool:
    """Whether the disk refused to sync.

    The kernel then marks the pages clean, and a second sync may succeed without them: nothing that
    was written since the last one can be trusted, and only a new process that reads the file can go
    on (Rebello et al., "Can Applications Recover from fsync Failures?", 2020).
    """
    return isinstance(error, apsw.IOError) and getattr(error, "extendedresult", 0) in (
        apsw.SQLITE_IOERR_FSYNC,
        apsw.SQLITE_IOERR_DIR_FSYNC,
    )
