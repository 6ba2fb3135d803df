"""How a command ends: the one place that decides. docs/reference/commands.md shows this table."""

from enum import IntEnum

from cupola.errors import ClientError, CupolaError, PersistenceError


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    FAILED = 1  # the called function failed, or `doctor` found something wrong
    USAGE = 2  # the command line makes no sense
    CONFIGURATION = 3  # a setting cannot work, a port is taken, or the app cannot be loaded
    DATA = 4  # the data folder is in use, damaged, full, or cannot be written
    UNREACHABLE = 5  # no server answers
    REFUSED = 6  # the server answers, and refuses: a wrong admin key, or too much load
    INTERRUPTED = 130  # Ctrl-C before there was anything to end in order


class CommandFailed(Exception):
    """Ends a command with a message on stderr. The message names the thing and the next step."""

    def __init__(self, message: str, code: Exit) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


def exit_code_of(error: CupolaError) -> Exit:
    """Who must act decides: see the tree in cupola.errors."""
    if isinstance(error, PersistenceError):
        return Exit.DATA
    if isinstance(error, ClientError):
        return Exit.REFUSED
    return Exit.CONFIGURATION
