"""A GET of a provider's document, by Python's own HTTP client.

Loaded when the first is fetched: most deployments have no provider, and every start would pay.
"""

from __future__ import annotations

import http.client
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from cupola.auth.fetching import Fetched, outage, refusal

_CHUNK_BYTES = 64 * 1024
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=(\d{1,9})")
_monotonic = time.monotonic  # before the determinism guard replaces it


def get(url: str, *, timeout_s: float, size_bytes_max: int) -> Fetched:
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
        raise outage(text) if error.code >= 500 or error.code == 429 else refusal(text) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise outage(f"{url} cannot be fetched: {error}.") from None


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
            raise refusal(
                f"{url} is larger than {size_bytes_max} bytes (the limit key_set_bytes_max)."
            )
        if _monotonic() > deadline:
            raise outage(f"{url} takes too long (the limit key_set_fetch_s).")
    return b"".join(chunks)


def _max_age_s(cache_control: str) -> float | None:
    cache_control = cache_control.lower()
    if "no-store" in cache_control or "no-cache" in cache_control:
        return 0.0
    found = _MAX_AGE.search(cache_control)
    return float(found[1]) if found else None
