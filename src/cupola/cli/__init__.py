"""The `cupola` command.

`main` decides as little as possible before the work starts: a server first makes its process
deterministic, and each command imports only what it needs.
"""

import os
import sys

_SERVERS = ("dev", "serve")


def main() -> None:
    """The console script."""
    if sys.argv[1:2] and sys.argv[1] in _SERVERS:
        _make_deterministic()
    from cupola.cli.commands import run

    sys.exit(run())


def _make_deterministic() -> None:
    """Start this process again, if the order of sets or the local time could differ in another.

    Python fixes its hash seed when it starts, so nothing else can. It costs one interpreter start,
    and nothing heavy is imported yet.
    """
    if sys.flags.hash_randomization == 0 and os.environ.get("TZ") == "UTC":
        return
    if sys.flags.ignore_environment:
        return
    environment = {**os.environ, "PYTHONHASHSEED": "0", "TZ": "UTC"}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
