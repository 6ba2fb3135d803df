"""Schedules of cron jobs, as `crons.js` exports them (spec: function runtime, section 4.3)."""

from __future__ import annotations

import re
from typing import Any

from cupola.functions.bundles import AnalysisError
from cupola.functions.crons import with_zone

_IDENTIFIER = re.compile(r"[\x20-\x7e]{1,128}").fullmatch
_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FIELDS = ((0, 59, ()), (0, 23, ()), (1, 31, ()), (1, 12, _MONTHS), (0, 7, _DAYS))


def checked_schedule(identifier: str, schedule: Any) -> dict[str, Any]:
    """The schedule, whole numbers as int.

    Raises:
        AnalysisError: It is none.
    """
    if _IDENTIFIER(identifier) is None:
        raise _invalid(identifier, "its name must be of printable ASCII characters")
    if not isinstance(schedule, dict):
        raise _invalid(identifier, "it has no schedule")
    kind = schedule.get("type")
    match kind:
        case "interval":
            units = [unit for unit in ("seconds", "minutes", "hours") if unit in schedule]
            if len(units) != 1:
                raise _invalid(identifier, "an interval has one of seconds, minutes and hours")
            return {"type": kind, units[0]: _whole(identifier, schedule, units[0], 1, 2**31)}
        case "hourly":
            return {"type": kind, **_minute(identifier, schedule)}
        case "daily":
            return {"type": kind, **_hour(identifier, schedule), **_minute(identifier, schedule)}
        case "weekly":
            if schedule.get("dayOfWeek") not in _DAYS:
                raise _invalid(identifier, f"dayOfWeek is one of {', '.join(_DAYS)}")
            day = {"dayOfWeek": schedule["dayOfWeek"]}
            return {
                "type": kind,
                **day,
                **_hour(identifier, schedule),
                **_minute(identifier, schedule),
            }
        case "monthly":
            day_of_month = {"day": _whole(identifier, schedule, "day", 1, 31)}
            return {
                "type": kind,
                **day_of_month,
                **_hour(identifier, schedule),
                **_minute(identifier, schedule),
            }
        case "cron":
            text = schedule.get("cron")
            if not isinstance(text, str) or not _is_cron(with_zone(text)[0]):
                raise _invalid(identifier, f"{text!r} is no cron expression of five fields")
            return {"type": kind, "cron": text}
    raise _invalid(identifier, f"there is no schedule of type {kind!r}")


def _hour(identifier: str, schedule: dict[str, Any]) -> dict[str, int]:
    return {"hourUTC": _whole(identifier, schedule, "hourUTC", 0, 23)}


def _minute(identifier: str, schedule: dict[str, Any]) -> dict[str, int]:
    if schedule.get("minuteUTC") is None:
        return {}
    return {"minuteUTC": _whole(identifier, schedule, "minuteUTC", 0, 59)}


def _whole(identifier: str, schedule: dict[str, Any], name: str, least: int, most: int) -> int:
    value = schedule.get(name)
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or value != int(value)
        or not least <= value <= most
    ):
        raise _invalid(identifier, f"{name} is a whole number from {least} to {most}")
    return int(value)


def _is_cron(text: str) -> bool:
    fields = text.split()
    return len(fields) == 5 and all(
        all(_is_part(part, *bounds) for part in field.lower().split(","))
        for field, bounds in zip(fields, _FIELDS, strict=True)
    )


def _is_part(part: str, least: int, most: int, names: tuple[str, ...]) -> bool:
    span, slash, step = part.partition("/")
    if slash and not (step.isdigit() and int(step) > 0):
        return False
    if span in ("*", "?"):
        return True
    ends = span.split("-")
    if len(ends) > 2:
        return False
    numbers = []
    for end in ends:
        short = [name[:3] for name in names]
        if end.isdigit():
            numbers.append(int(end))
        elif end[:3] in short and end in (end[:3], names[short.index(end[:3])]):
            numbers.append(short.index(end[:3]) + (least if least == 1 else 0))
        else:
            return False
    return all(least <= number <= most for number in numbers) and numbers == sorted(numbers)


def _invalid(identifier: str, reason: str) -> AnalysisError:
    return AnalysisError(
        f"crons.js: the cron job `{identifier[:80]}` makes no sense: {reason}.",
        module="crons.js",
    )
