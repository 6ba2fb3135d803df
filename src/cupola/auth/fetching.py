"""Fetching a provider's documents, on a thread of its own: the event loop never waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from cupola.errors import BadRequestError, CupolaError, OperatorError

_LOG = logging.getLogger("cupola")

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Fetched:
    """A document. `max_age_s`: how long its server says it stays good; None if it does not."""

    data: bytes
    media_type: str
    max_age_s: float | None


Fetch = Callable[[str], Fetched]


def fetch(url: str, *, timeout_s: float, size_bytes_max: int) -> Fetched:
    """GET a document; called on a thread that may wait.

    Raises:
        BadRequestError (AuthProviderDiscoveryFailed): The provider has no such document.
        OperatorError (AuthProviderDiscoveryFailed): It cannot be reached, or fails itself.
    """
    from cupola.auth import http_get

    return http_get.get(url, timeout_s=timeout_s, size_bytes_max=size_bytes_max)


Answer = Callable[["T | CupolaError"], None]


def on_a_thread(work: Callable[[], T], answer: Answer[T], *, timeout_s: float) -> None:
    """Run `work` beside the event loop; `answer` is called once, on the loop that runs now.

    After `timeout_s` the answer is an OperatorError, whatever the thread still waits for: looking
    up a name has no time-out of its own. The thread is a daemon, so it does not keep the process
    from ending. Where no loop runs, as in scripts and tests, nobody else is kept waiting: `work`
    runs at once.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        answer(_result_of(work))
        return
    is_answered = False

    def answer_once(result: T | CupolaError) -> None:
        nonlocal is_answered
        if not is_answered:
            is_answered = True
            timer.cancel()
            answer(result)

    def run() -> None:
        result = _result_of(work)
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(answer_once, result)

    text = f"its provider does not answer within {timeout_s:g} s."
    timer = loop.call_later(timeout_s, lambda: answer_once(outage(text)))
    try:
        threading.Thread(target=run, name="cupola-auth-keys", daemon=True).start()
    except RuntimeError as error:
        answer_once(outage(f"no thread can be started: {error}."))


def _result_of(work: Callable[[], T]) -> T | CupolaError:
    try:
        return work()
    except CupolaError as error:
        return error
    except Exception as error:  # a bug of ours: told, since many may wait for this answer
        _LOG.exception("The keys of an auth provider could not be fetched")
        return outage(f"an unexpected error: {error!r}.")


def refusal(text: str) -> BadRequestError:
    return BadRequestError(
        f"The auth provider's keys are not available: {text}", code="AuthProviderDiscoveryFailed"
    )


def outage(text: str) -> OperatorError:
    return OperatorError(
        f"The auth provider's keys are not available: {text}", code="AuthProviderDiscoveryFailed"
    )
