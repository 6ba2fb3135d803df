"""Cron jobs: functions that run again and again, as an app declares them in `functions/crons.py`.

    from cupola import Crons
    from . import presence, reports

    crons = Crons()
    crons.interval("clear presence", presence.clear, minutes=5)
    crons.daily("send reports", reports.send, at="09:30", zone="Europe/Berlin")

Schedules have one form for both languages, that of the published package (spec: function runtime,
section 4.3), with `zone` added.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import math
import re
import zoneinfo
from collections.abc import Iterable, Mapping
from typing import Any

from cronsim import CronSim, CronSimError

from cupola.errors import SchemaError
from cupola.functions.bundles import AnalyzedModule
from cupola.functions.bundles import CronJob as PushedCron
from cupola.functions.conversion import value_of
from cupola.functions.definitions import Function, Kind, path_of
from cupola.functions.jobs import name_of
from cupola.limits import Limits
from cupola.values import Value, decode, encode, parse_function_path, qualified

Schedule = dict[str, Any]

DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_UTC = datetime.UTC
_time_of_day = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)").fullmatch
_is_name = re.compile(r"[\x20-\x7e]{1,128}").fullmatch
_ZONE = "CRON_TZ="


@dataclasses.dataclass(frozen=True, slots=True)
class CronJob:
    """One cron job of an app. `function`: as in documents of jobs. `args`: values."""

    name: str
    function: str
    args: Mapping[str, Value]
    schedule: Mapping[str, Any]

    def to_value(self) -> dict[str, Any]:
        """As it is stored; equal jobs have equal values."""
        job = {
            "name": self.name,
            "function": self.function,
            "args": dict(self.args),
            "schedule": dict(self.schedule),
        }
        return decode(encode(value_of(job)))  # type: ignore[return-value]


@dataclasses.dataclass(frozen=True, slots=True)
class _Declared:
    name: str
    function: Function[Any, Any] | str
    args: Mapping[str, Any]
    schedule: Schedule


class Crons:
    """The cron jobs of an app. Each has a name of its own, by which later versions of the code know
    it: one that has not changed keeps its schedule.

    Times are UTC unless `zone` names a time zone, such as "Europe/Berlin". `args`: what the
    function is called with. A run that is due while the one before goes on is left out.
    """

    def __init__(self) -> None:
        self._declared: dict[str, _Declared] = {}

    def interval(
        self,
        name: str,
        function: Function[Any, Any] | str,
        *,
        seconds: int | None = None,
        minutes: int | None = None,
        hours: int | None = None,
        args: Mapping[str, Any] | None = None,
    ) -> None:
        """Every so many seconds, minutes or hours; for the first time when it is deployed."""
        given = {"seconds": seconds, "minutes": minutes, "hours": hours}
        units = {unit: count for unit, count in given.items() if count is not None}
        if len(units) != 1 or not all(_is_count(count) for count in units.values()):
            raise _invalid(name, "an interval has one of seconds, minutes and hours, from 1 on")
        self._add(name, function, args, _seconds({"type": "interval", **units}))

    def hourly(
        self,
        name: str,
        function: Function[Any, Any] | str,
        *,
        minute: int,
        args: Mapping[str, Any] | None = None,
    ) -> None:
        """Every hour, at a minute from 0 to 59."""
        if isinstance(minute, bool) or not isinstance(minute, int) or not 0 <= minute <= 59:
            raise _invalid(name, "minute is a whole number from 0 to 59")
        self._add(name, function, args, {"type": "hourly", "minuteUTC": minute})

    def daily(
        self,
        name: str,
        function: Function[Any, Any] | str,
        *,
        at: str,
        zone: str | None = None,
        args: Mapping[str, Any] | None = None,
    ) -> None:
        """Every day, `at` a time such as "09:30"."""
        self._add_at(name, function, args, at, zone, {"type": "daily"}, "* * *")

    def weekly(
        self,
        name: str,
        function: Function[Any, Any] | str,
        *,
        day: str,
        at: str,
        zone: str | None = None,
        args: Mapping[str, Any] | None = None,
    ) -> None:
        """Every week, on a `day` such as "monday"."""
        if day not in DAYS:
            raise _invalid(name, f"day is one of {', '.join(DAYS)}")
        on = {"type": "weekly", "dayOfWeek": day}
        self._add_at(name, function, args, at, zone, on, f"* * {DAYS.index(day)}")

    def monthly(
        self,
        name: str,
        function: Function[Any, Any] | str,
        *,
        day: int,
        at: str,
        zone: str | None = None,
        args: Mapping[str, Any] | None = None,
    ) -> None:
        """Every month, on a `day` from 1 to 31; months without that day are left out."""
        if isinstance(day, bool) or not isinstance(day, int) or not 1 <= day <= 31:
            raise _invalid(name, "day is a whole number from 1 to 31")
        self._add_at(name, function, args, at, zone, {"type": "monthly", "day": day}, f"{day} * *")

    def cron(
        self,
        name: str,
        function: Function[Any, Any] | str,
        expression: str,
        *,
        zone: str | None = None,
        args: Mapping[str, Any] | None = None,
    ) -> None:
        """By a cron expression of five fields: minute, hour, day of month, month, day of week."""
        schedule = {"type": "cron", "cron": expression}
        self._add(name, function, args, schedule if zone is None else {**schedule, "zone": zone})

    def _add_at(
        self,
        name: str,
        function: Function[Any, Any] | str,
        args: Mapping[str, Any] | None,
        at: str,
        zone: str | None,
        schedule: Schedule,
        days: str,
    ) -> None:
        match = _time_of_day(at) if isinstance(at, str) else None
        if match is None:
            raise _invalid(name, 'at is a time of day such as "09:30"')
        hour, minute = map(int, match.groups())
        if zone is None:
            self._add(name, function, args, {**schedule, "hourUTC": hour, "minuteUTC": minute})
        else:
            self.cron(name, function, f"{minute} {hour} {days}", zone=zone, args=args)

    def _add(
        self,
        name: str,
        function: Function[Any, Any] | str,
        args: Mapping[str, Any] | None,
        schedule: Schedule,
    ) -> None:
        if name in self._declared:
            raise _invalid(name, "another one has the same name")
        if not isinstance(name, str) or _is_name(name) is None:
            raise _invalid(str(name), "its name must be 1 to 128 printable ASCII characters")
        next_time_ms(name, schedule, 0.0, None)  # raises if it makes no sense
        path_of(function)
        self._declared[name] = _Declared(name, function, args or {}, schedule)

    def jobs(self, functions: Mapping[str, Function[Any, Any]]) -> list[CronJob]:
        """What was declared, once the functions of the app know their paths.

        Raises:
            SchemaError: One runs something that is no mutation or action, or is not there.
        """
        return [
            CronJob(
                each.name, _target(each.name, each.function, functions), each.args, each.schedule
            )
            for each in self._declared.values()
        ]


def _target(
    cron: str, function: Function[Any, Any] | str, functions: Mapping[str, Function[Any, Any]]
) -> str:
    return _runnable(cron, str(parse_function_path(path_of(function))), functions)


def _runnable(cron: str, path: str, functions: Mapping[str, Function[Any, Any]]) -> str:
    """What the documents of a cron job call the function at a path."""
    target = functions.get(path)
    if target is None:
        module = path.rpartition(":")[0]
        if any(known.rpartition(":")[0] == module for known in functions):
            raise _invalid(cron, f"there is no function `{path}`")
        return path  # maybe it is pushed
    if target.kind is Kind.QUERY:
        raise _invalid(cron, f"`{path}` is a query; a cron job runs a mutation or an action")
    return name_of(target)


def pushed_crons(
    analysis: Mapping[str, AnalyzedModule],
    functions: Mapping[str, Function[Any, Any]],
    component: str = "",
) -> list[CronJob]:
    """The cron jobs of pushed JavaScript: of the app, or of a component.

    Raises:
        SchemaError: One runs something that is no mutation or action, or is not there.
    """
    try:
        return [
            _pushed(cron, functions, component)
            for module in analysis.values()
            for cron in module.crons or ()
        ]
    except SchemaError as error:
        raise SchemaError(error.message, code="InvalidModules") from error


def _pushed(
    cron: PushedCron, functions: Mapping[str, Function[Any, Any]], component: str
) -> CronJob:
    path = qualified(component, str(parse_function_path(cron.function)))
    if path not in functions:
        raise _invalid(cron.identifier, f"there is no function `{path}`")
    args = decode(cron.args)
    assert isinstance(args, list)
    first = args[0] if args else {}
    assert isinstance(first, dict)
    schedule = _seconds(cron.schedule)
    next_time_ms(cron.identifier, schedule, 0.0, None)
    return CronJob(
        qualified(component, cron.identifier),
        _runnable(cron.identifier, path, functions),
        first,
        schedule,
    )


def joined_crons(python: Iterable[CronJob], pushed: Iterable[CronJob]) -> tuple[CronJob, ...]:
    """Raises: SchemaError: Two have the same name."""
    jobs: dict[str, CronJob] = {}
    for job in (*python, *pushed):
        if job.name in jobs:
            raise _invalid(job.name, "it is declared in Python and in JavaScript")
        jobs[job.name] = job
    if len(jobs) > (most := Limits().cron_jobs_max):
        raise SchemaError(f"An app has at most {most} cron jobs.", code="TooManyCronJobs")
    return tuple(jobs.values())


# --------------------------------------------------------------------------------- when they run


def next_time_ms(
    name: str, schedule: Mapping[str, Any], now_ms: float, due_ms: float | None
) -> float:
    """When a cron job runs next, after now. `due_ms`: when it was due last; None for a new one.

    Missed times are left out. A minute that is not given follows from the name, so that not all
    jobs run at once.

    Raises:
        SchemaError: The schedule makes no sense, or never comes.
    """
    if schedule["type"] == "interval":
        period_ms: float = _seconds(schedule)["seconds"] * 1000.0
        if due_ms is None:
            return now_ms
        periods = math.floor(max(0.0, now_ms - due_ms) / period_ms) + 1
        return due_ms + period_ms * periods
    expression, zone = _expression(name, schedule)
    now = datetime.datetime.fromtimestamp(now_ms / 1000, _UTC).astimezone(_zone(name, zone))
    try:
        if len(expression.split()) != 5:
            raise CronSimError
        return next(CronSim(expression, now)).timestamp() * 1000
    except StopIteration:
        raise _invalid(name, f"{expression!r} never comes") from None
    except CronSimError:
        raise _invalid(name, f"{expression!r} is no cron expression of five fields") from None


def _expression(name: str, schedule: Mapping[str, Any]) -> tuple[str, str]:
    """A cron expression and a zone that say the same."""
    digest = hashlib.blake2b(name.encode(), digest_size=4).digest()
    minute = int(schedule.get("minuteUTC", int.from_bytes(digest, "big") % 60))
    hour = int(schedule.get("hourUTC", 0))
    match schedule["type"]:
        case "hourly":
            return f"{minute} * * * *", "UTC"
        case "daily":
            return f"{minute} {hour} * * *", "UTC"
        case "weekly":
            return f"{minute} {hour} * * {DAYS.index(schedule['dayOfWeek'])}", "UTC"
        case "monthly":
            return f"{minute} {hour} {int(schedule['day'])} * *", "UTC"
    return with_zone(str(schedule["cron"]), str(schedule.get("zone", "UTC")))


def with_zone(expression: str, zone: str = "UTC") -> tuple[str, str]:
    """An expression may begin with `CRON_TZ=Europe/Berlin`, where nothing else can name a zone."""
    if expression.startswith(_ZONE):
        zone, _, expression = expression.removeprefix(_ZONE).partition(" ")
    return expression.strip(), zone


def _zone(name: str, zone: str) -> datetime.tzinfo:
    if zone == "UTC":
        return _UTC
    try:
        return zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise _invalid(
            name,
            f"this machine knows no time zone {zone!r}; names are such as Europe/Berlin, and the "
            "package tzdata has them all",
        ) from None


def _seconds(schedule: Mapping[str, Any]) -> Schedule:
    """An interval in seconds, whatever its unit; other schedules as they are."""
    if schedule["type"] != "interval":
        return dict(schedule)
    for unit, seconds in (("seconds", 1), ("minutes", 60), ("hours", 3600)):
        if unit in schedule:
            return {"type": "interval", "seconds": int(schedule[unit]) * seconds}
    raise AssertionError(schedule)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**31


def _invalid(name: str, reason: str) -> SchemaError:
    return SchemaError(
        f"The cron job `{name[:80]}` makes no sense: {reason}.", code="InvalidCronJob"
    )
