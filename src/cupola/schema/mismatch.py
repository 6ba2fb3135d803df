"""What a failed check says: the error, and values in the notation of JavaScript."""

import json
import re
from collections.abc import Iterator

from cupola.errors import DeveloperError
from cupola.values import UNSET, Encoded, Int64, decode_canonical

DISPLAY_LENGTH_MAX = 1000
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class ValidationError(DeveloperError):
    """A value does not match its validator. `path`: where, such as `.a[3].b`; "" at the top."""

    code = "ValidationError"

    def __init__(
        self,
        summary: str,
        path: str = "",
        details: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.summary = summary
        self.path = path
        self.details = details
        lines = [("Path", path)] if path else []
        super().__init__("\n".join([summary, *(f"{k}: {v}" for k, v in [*lines, *details])]))

    def within(self, segment: str) -> "ValidationError":
        """The same error, seen from the container that holds the value at `segment`."""
        return ValidationError(self.summary, segment + self.path, self.details)


def path_of_field(name: object) -> str:
    if isinstance(name, str) and _IDENTIFIER.match(name):
        return f".{name}"
    return f"[{_scalar(name)}]"


def shortened(text: str, length_max: int = DISPLAY_LENGTH_MAX) -> str:
    return text if len(text) <= length_max else text[:length_max] + "…"


def display(value: object) -> str:
    """`value` in the notation of JavaScript, shortened."""
    return shortened("".join(_pieces(value, [DISPLAY_LENGTH_MAX])))


def _pieces(value: object, room: list[int]) -> Iterator[str]:
    """The text of `value`, piece by piece. `room` counts down and ends the walk at zero."""
    if isinstance(value, Encoded):
        value = decode_canonical(value.encoded)
    if isinstance(value, dict | list | tuple):
        room[0] -= 10  # bounds the depth too, also of a list that contains itself
        if room[0] < 0:
            return
    if isinstance(value, dict):
        yield "{"
        for number, (name, item) in enumerate(value.items()):
            text = name if isinstance(name, str) and _IDENTIFIER.match(name) else _scalar(name)
            yield f"{', ' if number else ''}{text}: "
            room[0] -= len(text)
            yield from _pieces(item, room)
            if room[0] < 0:
                return
        yield "}"
    elif isinstance(value, list | tuple):
        yield "["
        for number, item in enumerate(value):
            if number:
                yield ", "
                room[0] -= 2
            yield from _pieces(item, room)
            if room[0] < 0:
                return
        yield "]"
    else:
        text = _scalar(value)
        room[0] -= len(text)
        yield text


def _scalar(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case Int64():
            return f"{int(value)}n"
        case int() | float():
            return repr(value)
        case str():
            return json.dumps(value[: DISPLAY_LENGTH_MAX + 1], ensure_ascii=False)
        case bytes():
            return f"<{len(value)} bytes>"
        case _ if value is UNSET:
            return "undefined"
        case _:
            return f"<Python {type(value).__qualname__}>"
