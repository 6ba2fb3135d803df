"""What a query or mutation may not do, and what to do instead.

`EVENTS` names audit events of the interpreter (PEP 578), which see every way to a file, socket,
process or thread; `NAMES` names functions that raise no event. Not everything can be seen: a file,
socket or pool that was opened while the module was loaded, `numpy.random`'s global generator, the
order of a `set` of strings unless PYTHONHASHSEED is fixed (servers run with 0), `id()`. The first
documents say so.
"""

import os
import sysconfig
from typing import Any

_IN_ACTION = {
    "query": "do this in an action and store the result for the query to read",
    "mutation": "do this in an action and pass the result in",
}


def message(kind: str, what: str, name: str, instead: str | None = None) -> str:
    """Name the call and the next step, as in: A mutation may run more than once, so it cannot open
    a socket…"""
    return (
        f"A {kind} may run more than once, so it cannot {what} ({name}); "
        f"{instead or _IN_ACTION[kind]}."
    )


# ------------------------------------------------------------------------------- functions by name

_ASYNC = "make the function an `async def` action"
_RAISE = "to end the call, return or raise an error"
_SETTINGS = "handle it where the server is started"

#: module → function → (what, instead)
NAMES: dict[str, dict[str, tuple[str, str | None]]] = {
    "time": {"sleep": ("wait", None), "tzset": ("change the time zone", _SETTINGS)},
    "sys": {"exit": ("end the process", _RAISE)},
    "os": {
        "_exit": ("end the process", _RAISE),
        "abort": ("end the process", _RAISE),
        "times": ("measure the process", None),
        "getloadavg": ("measure the machine", None),
        "nice": ("change the process", _SETTINGS),
    },
    "signal": dict.fromkeys(
        ("signal", "alarm", "setitimer", "raise_signal", "set_wakeup_fd", "pause", "sigwait"),
        ("handle signals", _SETTINGS),
    ),
    # CPython 3.11 raises no event for threads, nor any version for multiprocessing's way to spawn.
    "_thread": {"start_new_thread": ("start a thread", None)},
    "_posixsubprocess": {"fork_exec": ("start a process", None)},
    "asyncio": {
        **dict.fromkeys(
            ("run", "new_event_loop", "get_event_loop", "get_running_loop"),
            ("run an event loop", _ASYNC),
        ),
        **dict.fromkeys(
            ("create_task", "ensure_future", "run_coroutine_threadsafe"), ("start a task", _ASYNC)
        ),
    },
    "uvloop": dict.fromkeys(("run", "new_event_loop"), ("run an event loop", _ASYNC)),
}

#: (module, class, method) → (what, instead)
METHODS: dict[tuple[str, str, str], tuple[str, str | None]] = {
    ("asyncio", "Runner", "run"): ("run an event loop", _ASYNC),
    ("threading", "Thread", "start"): ("start a thread", None),
    ("concurrent.futures.thread", "ThreadPoolExecutor", "submit"): ("use a thread", None),
    ("_sitebuiltins", "Quitter", "__call__"): ("end the process", _RAISE),
}

#: looked at, not changed: allowed for installed files
FILE_QUESTIONS = ("stat", "lstat", "access", "statvfs", "readlink")

# ------------------------------------------------------------------------------------ audit events

_SOCKET = "open a socket"
_PROCESS = "start a process"
_THREAD = "start a thread"
_FILE = "change files"
_FOLDER = "list a folder"
_DATABASE = "keep the data in this database, through ctx.db, or use an action"

EVENTS: dict[str, tuple[str, str | None]] = {
    "builtins.input": ("ask at the terminal", None),
    "_thread.start_new_thread": (_THREAD, None),
    "_thread.start_joinable_thread": (_THREAD, None),
    "subprocess.Popen": (_PROCESS, None),
    "pty.spawn": (_PROCESS, None),
    "sqlite3.connect": ("open another database", _DATABASE),
    "urllib.Request": ("make an HTTP request", None),
    "http.client.connect": ("make an HTTP request", None),
    "http.client.send": ("make an HTTP request", None),
    "webbrowser.open": ("open a browser", None),
    "signal.pthread_kill": ("send a signal", None),
    "ctypes.dlopen": ("load a library", "import it at the top of the module"),
    **{
        f"os.{name}": (_PROCESS, None)
        for name in ("system", "exec", "fork", "forkpty", "posix_spawn", "spawn", "startfile")
    },
    **{f"os.{name}": ("send a signal", None) for name in ("kill", "killpg")},
    **{f"os.{name}": ("change the environment", _SETTINGS) for name in ("putenv", "unsetenv")},
    **{f"os.{name}": (_FOLDER, None) for name in ("listdir", "scandir", "walk", "fwalk")},
    "glob.glob": (_FOLDER, None),
    "glob.glob/2": (_FOLDER, None),
    "pathlib.Path.glob": (_FOLDER, None),
    "pathlib.Path.rglob": (_FOLDER, None),
    **{
        f"os.{name}": (_FILE, None)
        for name in (
            "remove",
            "rename",
            "mkdir",
            "rmdir",
            "link",
            "symlink",
            "chmod",
            "chown",
            "truncate",
            "utime",
            "chdir",
            "chflags",
            "lockf",
            "setxattr",
            "removexattr",
            "memfd_create",
        )
    },
}

#: the part of an event's name before the first point
FAMILIES: dict[str, tuple[str, str | None]] = {
    "socket": (_SOCKET, None),
    "shutil": (_FILE, None),
    "tempfile": (_FILE, None),
    "fcntl": (_FILE, None),
    "ftplib": (_SOCKET, None),
    "imaplib": (_SOCKET, None),
    "nntplib": (_SOCKET, None),
    "poplib": (_SOCKET, None),
    "smtplib": (_SOCKET, None),
    "telnetlib": (_SOCKET, None),
    "syslog": ("write to the system's log", "use print or logging"),
}

_READS_FOLDERS = {event for event, (what, _) in EVENTS.items() if what == _FOLDER}
_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC


def refused_event(event: str, args: tuple[Any, ...]) -> tuple[str, str, str | None] | None:
    """(what, name of the call, instead) if an audit event may not happen inside a call, else
    None."""
    if event == "open":
        path, mode, flags = args
        if not isinstance(path, (str, bytes, os.PathLike)):
            return None  # a descriptor that exists already
        writes = (flags or 0) & _WRITE_FLAGS or (mode and set("wax+") & set(mode))
        if not writes and is_code(path):
            return None
        return "open a file", f"open {os.fsdecode(path)!r}", None
    found = EVENTS.get(event) or FAMILIES.get(event.partition(".")[0])
    if found is None or (event in _READS_FOLDERS and args and is_code(args[0])):
        return None
    return found[0], event.removesuffix("/2"), found[1]


def is_code(path: Any) -> bool:
    """Whether a file is part of the code: a Python source, an installed package, the time zones.

    Reading those gives the same answer until the next deployment: tracebacks show source lines,
    libraries load their tables late, `ZoneInfo` reads its zone.
    """
    if not isinstance(path, (str, bytes, os.PathLike)):
        return False
    text = os.fsdecode(path)
    return text.endswith((".py", ".pyc")) or text.startswith(_code_folders())


_folders: tuple[str, ...] = ()


def _code_folders() -> tuple[str, ...]:
    global _folders
    if not _folders:
        # As `zoneinfo.TZPATH`, without importing it.
        zones = sysconfig.get_config_var("TZPATH") or "/usr/share/zoneinfo"
        paths = [
            sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")
        ]
        _folders = tuple(path for path in (*paths, *zones.split(os.pathsep)) if path)
    return _folders
