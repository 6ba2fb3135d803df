"""What clocks, randomness and logs answer inside a query or mutation.

Each answer takes the call, the function it stands in for, and that function's arguments.
"""

import logging
import random
import time
import uuid
from collections.abc import Callable
from datetime import date, datetime, tzinfo
from typing import Any

from cupola.runtimes.python.guarded_call import GuardedCall
from cupola.runtimes.python.log_capture import level_of_stream, logged, printed

Original = Callable[..., Any]
Answer = Callable[..., Any]

_localtime = time.localtime
_print_defaults = (None, None, None, False)


# --------------------------------------------------------------------------------------------- time


def _clock_s(call: GuardedCall, original: Original, *clock_id: int) -> float:
    return call.clock_s()


def _clock_ns(call: GuardedCall, original: Original, *clock_id: int) -> int:
    return call.clock_ns()


def _broken_down(call: GuardedCall, original: Original, seconds: float | None = None) -> Any:
    return original(call.clock_s() if seconds is None else seconds)


def _asctime(call: GuardedCall, original: Original, *moment: Any) -> Any:
    return original(*(moment or (_localtime(call.clock_s()),)))


def _strftime(call: GuardedCall, original: Original, form: str, *moment: Any) -> Any:
    return original(form, *(moment or (_localtime(call.clock_s()),)))


TIME: dict[str, Answer] = {
    **dict.fromkeys(
        ("time", "monotonic", "perf_counter", "process_time", "thread_time", "clock_gettime"),
        _clock_s,
    ),
    **dict.fromkeys(
        ("time_ns", "monotonic_ns", "perf_counter_ns", "process_time_ns", "thread_time_ns"),
        _clock_ns,
    ),
    "clock_gettime_ns": _clock_ns,
    "localtime": _broken_down,
    "gmtime": _broken_down,
    "ctime": _broken_down,
    "asctime": _asctime,
    "strftime": _strftime,
}


def datetime_now(call: GuardedCall, cls: type[datetime], tz: tzinfo | None = None) -> datetime:
    seconds, rest = divmod(call.clock_ns(), 10**9)
    return cls.fromtimestamp(seconds, tz).replace(microsecond=rest // 1000)


def datetime_utcnow(call: GuardedCall, cls: type[datetime]) -> datetime:
    seconds, rest = divmod(call.clock_ns(), 10**9)
    moment = datetime(*time.gmtime(seconds)[:6])
    return cls(
        moment.year,
        moment.month,
        moment.day,
        moment.hour,
        moment.minute,
        moment.second,
        rest // 1000,
    )


def date_today(call: GuardedCall, cls: type[date]) -> date:
    if issubclass(cls, datetime):
        return datetime_now(call, cls)
    return cls.fromtimestamp(call.clock_ns() // 10**9)


# --------------------------------------------------------------------------------------- randomness


def random_function(name: str) -> Answer:
    def answer(call: GuardedCall, original: Original, *args: Any, **kwargs: Any) -> Any:
        return getattr(call.random, name)(*args, **kwargs)

    return answer


def random_seed(
    call: GuardedCall, original: Original, self: random.Random, a: Any = None, version: int = 2
) -> None:
    """`random.Random()` without a seed takes one from the call's generator."""
    original(self, call.random.getrandbits(128) if a is None else a, version)


def urandom(call: GuardedCall, original: Original, size: int, flags: int = 0) -> bytes:
    return call.entropy.randbytes(size)


def uuid1(
    call: GuardedCall, original: Original, node: int | None = None, clock_seq: int | None = None
) -> uuid.UUID:
    """RFC 4122 version 1: the stopped clock counts up by 100 ns with each id, so that they
    differ."""
    ticks = call.clock_ns() // 100 + 0x01B21DD213814000 + call.uuid_ticks
    call.uuid_ticks += 1
    if node is None:
        node = call.entropy.getrandbits(48) | 1 << 40  # the multicast bit: no card's address
    if clock_seq is None:
        clock_seq = call.entropy.getrandbits(14)
    return uuid.UUID(
        fields=(
            ticks & 0xFFFFFFFF,
            ticks >> 32 & 0xFFFF,
            ticks >> 48 & 0x0FFF,
            clock_seq >> 8 & 0x3F,
            clock_seq & 0xFF,
            node,
        ),
        version=1,
    )


# --------------------------------------------------------------------------------------- log lines


def print_line(
    call: GuardedCall,
    original: Original,
    *values: object,
    sep: str | None = None,
    end: str | None = None,
    file: Any = None,
    flush: bool = False,
) -> None:
    """`print` becomes a log line; to a stream of the function's own it prints as ever."""
    level = level_of_stream(file)
    if level is None:
        original(*values, sep=sep, end=end, file=file, flush=flush)
    else:
        call.emit(level, printed(values, sep))


def call_handlers(
    call: GuardedCall, original: Original, self: logging.Logger, record: logging.LogRecord
) -> None:
    """In place of all handlers of all loggers: their locks and streams belong to the server."""
    call.emit(*logged(record))


def is_enabled_for(call: GuardedCall, original: Original, self: logging.Logger, level: int) -> bool:
    """The root's level is the server's: here a logger shows everything unless it was told
    otherwise."""
    if self.manager.disable >= level:
        return False
    logger: logging.Logger | None = self
    while logger is not None and logger.parent is not None:
        if logger.level:
            return level >= logger.level
        logger = logger.parent
    return True
