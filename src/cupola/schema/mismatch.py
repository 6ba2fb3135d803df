"""What a failed check says: the error, and values in the notation of JavaScript."""

import json
import math
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
        for number, (name, item) in enumerate(_sorted_fields(value)):
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


def _sorted_fields(value: dict[object, object]) -> list[tuple[object, object]]:
    """As objects are encoded, so that one from Python looks like one from the wire."""
    return sorted(value.items(), key=lambda field: str(field[0]))


def _scalar(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case Int64():
            return f"{int(value)}n"
        case int() | float():
            return _number(value)
        case str():
            return json.dumps(value[: DISPLAY_LENGTH_MAX + 1], ensure_ascii=False)
        case bytes():
            return f"<{len(value)} bytes>"
        case _ if value is UNSET:
            return "undefined"
        case _:
            return f"<Python {type(value).__qualname__}>"


def _number(value: float) -> str:
    """A float64, always with a point: `7n` is another value than `7.0`."""
    if isinstance(value, int):
        if abs(value) < 2**53:
            return f"{value}.0"
        return str(value) if value.bit_length() <= 128 else "<Python int>"
    if math.isfinite(value):
        return repr(value)
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
