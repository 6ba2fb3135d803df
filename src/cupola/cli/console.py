"""What people read: colours on a terminal, plain text everywhere else."""

import os
import sys
from typing import TextIO

_RED, _END = "\x1b[1;31m", "\x1b[0m"


def has_colours(stream: TextIO) -> bool:
    """Whether escape sequences belong into this stream (no-color.org; `dumb` terminals)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def print_error(message: str) -> None:
    """A command's last words."""
    label = f"{_RED}Error:{_END}" if has_colours(sys.stderr) else "Error:"
    print(f"{label} {message}", file=sys.stderr)
