"""Figures over time, for the charts of dashboards: `GET /api/app_metrics/…` (spec: deploy API,
section 18). All of it needs an admin key, which may be read-only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
import orjson

from cupola.backend import Backend
from cupola.backend import app_series as series
from cupola.backend.app_figures import FunctionFigures, Minute
from cupola.backend.app_metrics import AppMetrics
from cupola.backend.app_series import Named, Series, Window
from cupola.errors import BadRequestError
from cupola.server.messages import Request, Response
from cupola.values import parse_function_path, qualified, split_qualified

Handler = Callable[[Request], Awaitable[Response]]
Query = Mapping[str, str]
Answer = Callable[[Query, "list[Minute]", Window], Any]
Count = Callable[[FunctionFigures], int]

_PATH: Final = "/api/app_metrics/"
_BUCKETS_MAX: Final = 10_000
_VALUES_MAX: Final = 100_000
_PERCENTILES_MAX: Final = 20
_K_MAX: Final = 25
_K: Final = 5
_YEAR_3000_S: Final = 32_503_680_000
_TYPES: Final = ("query", "mutation", "action", "httpaction")
_RATES: Final[dict[str, Count]] = {
    "invocations": lambda figures: figures.calls,
    "errors": lambda figures: figures.errors,
    "cacheHits": lambda figures: figures.hits,
    "cacheMisses": lambda figures: figures.misses,
}
_INVALIDATIONS: Final = "subscriptionInvalidations"


class _Time(msgspec.Struct, frozen=True):
    secs_since_epoch: int
    nanos_since_epoch: int = 0


class _WindowBody(msgspec.Struct, frozen=True):
    start: _Time
    end: _Time
    num_buckets: int


class AppMetricsRoutes:
    """Handlers, by path and method in `routes`."""

    def __init__(self, backend: Backend, require_admin: Callable[[Request], None]) -> None:
        self._metrics = AppMetrics(backend)
        self._require_admin = require_admin
        answers: dict[str, Answer] = {
            "udf_rate": _function_rate,
            "cache_hit_percentage": _cache_hits,
            "latency_percentiles": _latencies,
            "table_rate": _table_rate,
            "failure_percentage_top_k": _most_failing,
            "cache_hit_percentage_top_k": _least_cached,
            "function_call_count_top_k": _most_called,
            "subscription_invalidations_top_k": _most_invalidating,
            "scheduled_job_lag": _lag,
            "function_concurrency": _concurrency,
        }
        self.routes: dict[str, dict[str, Handler]] = {
            _PATH + name: {"GET": self._answering(answer)} for name, answer in answers.items()
        }

    def _answering(self, answer: Answer) -> Handler:
        async def handle(request: Request) -> Response:
            self._require_admin(request)
            query = request.query()
            window = _window(query)
            minutes = list(self._metrics.look())
            return Response(200, orjson.dumps(answer(query, minutes, window)))

        return handle


# ----------------------------------------------------------------------------- one function, table


def _function_rate(query: Query, minutes: list[Minute], window: Window) -> Any:
    metric = _one_of(query, "metric", [*_RATES, _INVALIDATIONS])
    name = _function(query)

    def count(minute: Minute) -> int | None:
        if metric == _INVALIDATIONS:
            caused = [n for (by, _), n in minute.invalidations.items() if by == name]
            return sum(caused) if caused else None
        figures = minute.functions.get(name)
        return None if figures is None else _RATES[metric](figures)

    return _Points(window)(window.rate(series.counted(window, minutes, count)))


def _cache_hits(query: Query, minutes: list[Minute], window: Window) -> Any:
    name = _function(query)
    return _Points(window)(series.shares(window, minutes, name, series.cache_hits))


def _latencies(query: Query, minutes: list[Minute], window: Window) -> Any:
    wanted = _percentiles(query)
    _check_size(window, len(wanted))
    name = _function(query)
    found = series.percentiles(window, minutes, name, wanted)
    points = _Points(window)
    return [[percent, points(values)] for percent, values in found]


def _table_rate(query: Query, minutes: list[Minute], window: Window) -> Any:
    metric = _one_of(query, "metric", ["rowsRead", "rowsWritten"])
    name = qualified(query.get("componentPath", ""), _required(query, "name"))

    def count(minute: Minute) -> int | None:
        figures = minute.tables.get(name)
        if figures is None:
            return None
        return figures.read if metric == "rowsRead" else figures.written

    return _Points(window)(window.rate(series.counted(window, minutes, count)))


# -------------------------------------------------------------------------------------------- tops


def _most_failing(query: Query, minutes: list[Minute], window: Window) -> Any:
    return _named(window, series.most_failing(window, minutes, _k(query, window)))


def _least_cached(query: Query, minutes: list[Minute], window: Window) -> Any:
    return _named(window, series.least_cached(window, minutes, _k(query, window)))


def _most_called(query: Query, minutes: list[Minute], window: Window) -> Any:
    def counts(minute: Minute) -> dict[str, int]:
        return {name: figures.calls for name, figures in minute.functions.items()}

    return _named(window, series.most_counted(window, minutes, _k(query, window), counts))


def _most_invalidating(query: Query, minutes: list[Minute], window: Window) -> Any:
    """By function and table; of one function, by table."""
    name = _function(query) if _path(query) is not None else None

    def counts(minute: Minute) -> dict[str, int]:
        if name is not None:
            return {t: n for (by, t), n in minute.invalidations.items() if by == name}
        return {
            by if by == table else f"{_shown(by)}:{table}": n
            for (by, table), n in minute.invalidations.items()
        }

    found = series.most_counted(window, minutes, _k(query, window), counts)
    points = _Points(window)
    return [[key, points(values)] for key, values in found]


# ---------------------------------------------------------------------------------- the deployment


def _lag(query: Query, minutes: list[Minute], window: Window) -> Any:
    return _Points(window)(series.greatest(window, minutes, lambda minute: minute.lag_s))


def _concurrency(query: Query, minutes: list[Minute], window: Window) -> Any:
    names = dict.fromkeys(name for minute in minutes for name in minute.outstanding)
    _check_size(window, len(names))

    def most(name: str) -> Series:
        return series.greatest(window, minutes, lambda minute: minute.outstanding.get(name))

    points = _Points(window)
    return {name: points(most(name)) for name in names}


# ------------------------------------------------------------------------------------ what is asked


def _window(query: Query) -> Window:
    """Raises: BadRequestError (InvalidWindow): It is missing, or makes no sense."""
    text = query.get("window")
    if text is None:
        raise _no_window("is missing")
    try:
        body = msgspec.json.decode(text, type=_WindowBody)
    except msgspec.DecodeError as error:
        raise _no_window(f"cannot be read ({error})") from None
    start_ns, end_ns = _ns(body.start, "start"), _ns(body.end, "end")
    if not 1 <= body.num_buckets <= _BUCKETS_MAX:
        raise _no_window(f"has num_buckets {body.num_buckets}; from 1 to {_BUCKETS_MAX:,} can be")
    if end_ns - start_ns < body.num_buckets:
        raise _no_window("ends before it starts, or is too short for its buckets")
    return Window(start_ns, end_ns, body.num_buckets)


def _ns(time: _Time, name: str) -> int:
    seconds, ns = time.secs_since_epoch, time.nanos_since_epoch
    if not 0 <= seconds <= _YEAR_3000_S or not 0 <= ns < 10**9:
        raise _no_window(f"has a `{name}` that is no time since the Unix epoch")
    return seconds * 10**9 + ns


def _no_window(problem: str) -> BadRequestError:
    return BadRequestError(
        f"`window` {problem}; it looks like "
        '{"start": {"secs_since_epoch": 1790000000, "nanos_since_epoch": 0}, "end": {…}, '
        '"num_buckets": 60}.',
        code="InvalidWindow",
    )


def _required(query: Query, name: str) -> str:
    value = query.get(name, "")
    if not value:
        raise BadRequestError(f"The URL lacks `{name}=...`.", code="BadQueryArgs")
    return value


def _one_of(query: Query, name: str, known: list[str]) -> str:
    value = _required(query, name)
    if value not in known:
        raise BadRequestError(
            f"There is no {name} {value[:80]!r}; there are {', '.join(known)}.",
            code="InvalidMetric",
        )
    return value


def _path(query: Query) -> str | None:
    return query.get("path", query.get("udfPath"))


def _function(query: Query) -> str:
    """The function or route that is asked about, as figures name it; there may be none.

    Raises:
        BadRequestError: It is missing, or `udfType` is none.
        InvalidPathError: It is no path.
    """
    path = _path(query)
    if path is None:
        raise BadRequestError("The URL lacks `path=<module>:<function>`.", code="BadQueryArgs")
    kind = query.get("udfType", "query").lower()
    if kind not in _TYPES:
        raise BadRequestError(
            f"There is no udfType {kind[:80]!r}; there are Query, Mutation, Action, HttpAction.",
            code="BadQueryArgs",
        )
    if kind == "httpaction":
        return path
    return qualified(query.get("componentPath", ""), str(parse_function_path(path)))


def _percentiles(query: Query) -> list[int]:
    text = _required(query, "percentiles")
    try:
        found = msgspec.json.decode(text, type=list[int])
    except msgspec.DecodeError:
        found = []
    if not 1 <= len(found) <= _PERCENTILES_MAX or not all(0 <= each <= 100 for each in found):
        raise BadRequestError(
            f"`percentiles` is {text[:80]!r}; it must be a list of 1 to {_PERCENTILES_MAX} whole "
            "numbers from 0 to 100, such as [50,90,99].",
            code="InvalidPercentiles",
        )
    return found


def _k(query: Query, window: Window) -> int:
    text = query.get("k", str(_K))
    k = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
    if not 1 <= k <= _K_MAX:
        raise BadRequestError(
            f"`k` is {text[:80]!r}; it must be a whole number from 1 to {_K_MAX}.",
            code="InvalidTopKParameter",
        )
    _check_size(window, k + 1)
    return k


def _check_size(window: Window, count: int) -> None:
    if window.buckets * count > _VALUES_MAX:
        raise _no_window(
            f"has {window.buckets:,} buckets, which is too many for {count} charts: "
            f"{_VALUES_MAX:,} values can be answered at once"
        )


# --------------------------------------------------------------------------------- what is answered


class _Points:
    """`[[time, value or null], …]`, with the time at which each bucket begins."""

    def __init__(self, window: Window) -> None:
        self._times = [
            orjson.Fragment(b'{"secs_since_epoch":%d,"nanos_since_epoch":%d}' % divmod(ns, 10**9))
            for ns in window.starts()
        ]

    def __call__(self, values: Series) -> list[Any]:
        return list(zip(self._times, values, strict=True))


def _named(window: Window, found: Named) -> list[Any]:
    points = _Points(window)
    return [[_shown(name), points(values)] for name, values in found]


def _shown(name: str) -> str:
    """A function as dashboards know it, `component/module.js:name`; routes as they are."""
    component, own = split_qualified(name)
    module, colon, function = own.rpartition(":")
    if not colon or " " in own:
        return name
    return f"{component}/{module}.js:{function}" if component else f"{module}.js:{function}"
