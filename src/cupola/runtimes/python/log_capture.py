"""What `print` and `logging` in a function become: a level and a text, wherever it runs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Any

from cupola.runtimes.python.guarded_call import LogLevel

_FORMATTER = logging.Formatter()

_ESCAPES = {
    **{code: f"\\x{code:02X}" for code in range(0x20)},
    **{
        ord(char): text
        for char, text in zip(
            "\b\t\n\f\r\\'", (r"\b", r"\t", r"\n", r"\f", r"\r", r"\\", r"\'"), strict=True
        )
    },
    **{code: f"\\u{code:04X}" for code in range(0xD800, 0xE000)},  # halves of pairs are no UTF-8
}


def shown(value: object) -> str:
    """Strings as the lines of JavaScript functions quote them (spec: function runtime, section 11);
    else Python's repr."""
    if type(value) is not str:
        return repr(value)
    if value.isprintable() and "'" not in value and "\\" not in value:
        return f"'{value}'"
    return f"'{value.translate(_ESCAPES)}'"


def level_of_stream(file: Any) -> LogLevel | None:
    """The level of what is printed to `file`; None for a stream of the function's own."""
    if file is None or file is sys.stdout:
        return "LOG"
    return "ERROR" if file is sys.stderr else None


def printed(values: Iterable[object], sep: str | None) -> str:
    """The text of a `print`."""
    return (" " if sep is None else sep).join(map(shown, values))


def logged(record: logging.LogRecord) -> tuple[LogLevel, str]:
    """Level and text of a log record, its traceback included; levels of one's own count as the
    next lower one that clients know."""
    text = record.getMessage()
    if record.exc_info and record.exc_info[0] is not None:
        text = f"{text}\n{_FORMATTER.formatException(record.exc_info)}"
    if record.levelno >= logging.ERROR:
        return "ERROR", text
    if record.levelno >= logging.WARNING:
        return "WARN", text
    return ("INFO" if record.levelno >= logging.INFO else "DEBUG"), text
