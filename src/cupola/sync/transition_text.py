"""The parts of a Transition's text that are made less often than it is sent."""

from functools import lru_cache
from typing import Final

_SKEW_MS_MAX: Final = 2**53


def version_head(query_set: int, identity: int) -> bytes:
    """A version triple as JSON, up to its timestamp."""
    return b'{"querySet":%d,"identity":%d,"ts":"' % (query_set, identity)


def skew_field(client_ts: float | None, now_ms: int) -> bytes | None:
    """The end of a Transition up to the server's timestamp; None if there is no sensible clock."""
    if client_ts is None:
        return None
    skew_ms = round(client_ts) - now_ms
    if abs(skew_ms) > _SKEW_MS_MAX:
        return None
    return b'],"clientClockSkew":%d,"serverTs":' % skew_ms


@lru_cache(maxsize=16)
def closing(server_ts: int) -> bytes:
    """The end of a Transition. Cached, since many sessions send at one moment."""
    return b"%d}" % server_ts
