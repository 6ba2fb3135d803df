"""Fetching a provider's documents, on a thread of its own: the event loop never waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import http.client
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any, TypeVar

from cupola.errors import BadRequestError, CupolaError, OperatorError

T = TypeVar("T")
_CHUNK_BYTES = 64 * 1024
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=(\d{1,9})")
_monotonic = time.monotonic  # bound before the determinism guard replaces it


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
    deadline = _monotonic() + timeout_s
    try:
        request = urllib.request.Request(url, headers={"Accept": "application/json"})
        with _opener().open(request, timeout=timeout_s) as response:
            return Fetched(
                _body(response, url, deadline, size_bytes_max),
                response.headers.get_content_type(),
                _max_age_s(response.headers.get("Cache-Control", "")),
            )
    except urllib.error.HTTPError as error:
        error.close()
        text = f"{url} answers {error.code}."
        raise _outage(text) if error.code >= 500 or error.code == 429 else _refusal(text) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _outage(f"{url} cannot be fetched: {error}.") from None


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_SafeRedirects())


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if req.type == "https" and urllib.parse.urlsplit(newurl).scheme != "https":
            return None  # told as the answer that it is
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _body(response: Any, url: str, deadline: float, size_bytes_max: int) -> bytes:
    chunks = []
    size = 0
    while chunk := response.read1(_CHUNK_BYTES):
        chunks.append(chunk)
        size += len(chunk)
        if size > size_bytes_max:
            raise _refusal(
                f"{url} is larger than {size_bytes_max} bytes (the limit key_set_bytes_max)."
            )
        if _monotonic() > deadline:
            raise _outage(f"{url} takes too long (the limit key_set_fetch_s).")
    return b"".join(chunks)


def _max_age_s(cache_control: str) -> float | None:
    cache_control = cache_control.lower()
    if "no-store" in cache_control or "no-cache" in cache_control:
        return 0.0
    found = _MAX_AGE.search(cache_control)
    return float(found[1]) if found else None


def _refusal(text: str) -> BadRequestError:
    return BadRequestError(
        f"The auth provider's keys are not available: {text}", code="AuthProviderDiscoveryFailed"
    )


def _outage(text: str) -> OperatorError:
    return OperatorError(
        f"The auth provider's keys are not available: {text}", code="AuthProviderDiscoveryFailed"
    )


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
    timer = loop.call_later(timeout_s, lambda: answer_once(_outage(text)))
    try:
        threading.Thread(target=run, name="cupola-auth-keys", daemon=True).start()
    except RuntimeError as error:
        answer_once(_outage(f"no thread can be started: {error}."))


def _result_of(work: Callable[[], T]) -> T | CupolaError:
    try:
        return work()
    except CupolaError as error:
        return error
    except Exception as error:  # a bug of ours must not leave anybody waiting
        return _outage(f"an unexpected error: {error!r}.")
