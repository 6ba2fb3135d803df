"""Cross-origin requests (the HTTP API, section 10): any origin may call, for no cookie counts."""

from collections.abc import Mapping
from functools import lru_cache

Headers = list[tuple[bytes, bytes]]

_VARY = (b"vary", b"origin, access-control-request-method, access-control-request-headers")


@lru_cache(maxsize=256)
def cors_headers(origin: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """What every answer to a request with an `Origin` carries."""
    return (
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true"),
        _VARY,
    )


def preflight_headers(request: Mapping[bytes, bytes]) -> Headers:
    """The answer to OPTIONS: whatever the page asks for, for a day."""
    headers: Headers = [
        (b"content-length", b"0"),
        *cors_headers(request.get(b"origin", b"*")),
        (b"access-control-allow-methods", b"GET, POST, OPTIONS, PATCH, DELETE, PUT"),
        (b"access-control-max-age", b"86400"),
    ]
    if asked := request.get(b"access-control-request-headers"):
        headers.append((b"access-control-allow-headers", asked))
    return headers
