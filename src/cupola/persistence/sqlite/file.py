"""Opening a Cupola file: who owns it, whether it is whole, and recovery after a crash.

A process may hold at most one descriptor of the database file beside SQLite's own, and must keep
it until SQLite has closed its own: POSIX drops all locks of a process on a file when *any* of its
descriptors of it is closed. That one descriptor lives here; it reads the header at the start and
syncs during checkpoints.
"""

import contextlib
import fcntl
import os
import stat
from typing import Final

import apsw

from cupola.errors import ConfigurationError, PersistenceError
from cupola.persistence.sqlite.failures import explain
from cupola.persistence.sqlite.schema import create_or_check

SQLITE_MAGIC = b"SQLite format 3\0"
RECOVERY_WAIT_MS = 2000  # how long a reader left over from before may delay recovery

# fcntl locks do not exclude their own process, so it remembers what it owns: path -> process id.
_owned: dict[str, int] = {}

sync_data: Final = getattr(os, "fdatasync", os.fsync)


class OwnerLock:
    """At most one server at a file. It ends with the process; no forked child inherits it."""

    def __init__(self, path: str) -> None:
        """Raises: ConfigurationError: Another server, which the message names, owns the file."""
        self._path = os.path.realpath(path)
        if _owned.get(self._path) == os.getpid():
            raise self._taken(str(os.getpid()))
        lock_path = path + ".lock"
        try:
            self._descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigurationError(
                f"{lock_path} cannot be opened ({error.strerror}). The data folder must exist and "
                "the server's user must be able to write it."
            ) from error
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._descriptor, 20, 0).decode(errors="replace").strip()
            os.close(self._descriptor)
            raise self._taken(holder or "unknown") from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        _owned[self._path] = os.getpid()

    def _taken(self, holder: str) -> ConfigurationError:
        return ConfigurationError(
            f"{self._path} is in use by process {holder}. One server serves a file: stop that one, "
            "or choose another --data folder."
        )

    def release(self) -> None:
        if _owned.pop(self._path, None) == os.getpid():
            os.close(self._descriptor)


def connect(path: str, *, read_only: bool = False, cache_kib: int = 2000) -> apsw.Connection:
    """A connection with our settings: no hidden waits, no hidden checkpoints, no hidden syncs."""
    access = (
        apsw.SQLITE_OPEN_READONLY
        if read_only
        else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    )
    # No mutex: each connection is used by one thread at a time, and a scan is a sixth faster.
    connection = apsw.Connection(path, flags=access | apsw.SQLITE_OPEN_NOMUTEX)
    connection.set_busy_timeout(0)
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    # Else SQLite plans a statement anew whenever a bound value changes, which doubles a read.
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    connection.pragma("synchronous", "NORMAL")
    connection.pragma("wal_autocheckpoint", 0)
    connection.pragma("cache_size", -cache_kib)
    connection.pragma("temp_store", "MEMORY")
    return connection


class OwnedFile:
    """The database file of the one process that may write it."""

    def __init__(self, path: str, *, cache_kib: int) -> None:
        """Open, check and recover, or create.

        After recovery everything that a reader can see is durable.

        Raises:
            ConfigurationError: It is owned by another server, not Cupola's, or too new.
            PersistenceError: It is damaged, or the disk failed.
        """
        self.path = path
        self.wal_path = path + "-wal"
        self._lock = OwnerLock(path)
        with contextlib.ExitStack() as undo:
            undo.callback(self._lock.release)
            self.descriptor = self._open_descriptor()
            undo.callback(os.close, self.descriptor)
            self._check_header()
            try:
                self.connection = connect(path, cache_kib=cache_kib)
                undo.callback(self.connection.close)
                create_or_check(self.connection, path)
                self._recover()
                self.page_size_bytes: int = self.connection.pragma("page_size")
                self._check_length()
                self._sync_folder()
            except (apsw.Error, OSError) as error:
                raise explain(error, path) from error
            undo.pop_all()

    def _open_descriptor(self) -> int:
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise explain(error, self.path) from error

    def _check_header(self) -> None:
        status = os.fstat(self.descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigurationError(f"{self.path} is not a file. Choose another --data folder.")
        if status.st_size == 0:
            if self.wal_size_bytes() > 0:  # SQLite would throw the log away
                raise PersistenceError(
                    f"{self.path} is missing or empty, but {self.wal_path} is not. Put the file "
                    "back beside its log, or restore the newest backup."
                )
            return
        if not SQLITE_MAGIC.startswith(os.pread(self.descriptor, len(SQLITE_MAGIC), 0)):
            raise ConfigurationError(
                f"{self.path} is not a database. Choose another --data folder, or restore the "
                "newest backup if this was one."
            )

    def _recover(self) -> None:
        """Bring what a crash left in the log into the file, and sync it.

        Written anew, because a sync that failed before the crash may have left pages in the page
        cache that look clean and are not on disk.
        """
        if self.wal_size_bytes() == 0:
            return
        self.connection.set_busy_timeout(RECOVERY_WAIT_MS)
        try:
            self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.FullError as error:
            raise PersistenceError(
                f"No space is left for {self.path}, so that what a crash left in {self.wal_path} "
                "cannot be recovered. Free some space and start again; nothing is lost."
            ) from error
        except apsw.BusyError as error:
            raise PersistenceError(
                f"Another program is reading {self.path}, so that it cannot be recovered. Close "
                "it and start again."
            ) from error
        finally:
            self.connection.set_busy_timeout(0)
        sync_data(self.descriptor)

    def _check_length(self) -> None:
        expected = self.connection.pragma("page_count") * self.page_size_bytes
        found = os.fstat(self.descriptor).st_size
        if found < expected and self.wal_size_bytes() == 0:
            raise PersistenceError(
                f"{self.path} is cut short: it has {found} of {expected} bytes. Restore the newest "
                "backup."
            )

    def _sync_folder(self) -> None:
        """Make the names of the file and its log durable: our syncs cover only their contents."""
        folder = os.open(os.path.dirname(os.path.abspath(self.path)), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def wal_size_bytes(self) -> int:
        try:
            return os.stat(self.wal_path).st_size
        except FileNotFoundError:
            return 0

    def size_bytes(self) -> int:
        return os.fstat(self.descriptor).st_size

    def close(self, *, checkpoint: bool) -> None:
        """SQLite first, our descriptor after it, then the lock.

        After a checkpoint the file is whole without its log, and the next start has nothing to
        recover.
        """
        if checkpoint:
            with contextlib.suppress(apsw.Error):  # then the next start does it
                self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        self.connection.close(True)
        os.close(self.descriptor)
        self._lock.release()
