"""Timestamps on the wire, and the version triple that chains Transitions together.

A client's whole state is described by three counters: the query set it asked for, the identity it
showed, and the timestamp at which every result it holds is valid. Each Transition says from which
triple to which it leads. The theory is one sentence: *no component ever goes back, and each
Transition starts where the previous one ended*; so a client that has missed a frame notices, and
one that has not is never wrong. (The sync protocol, sections 2 and 5.)
"""

import base64
import binascii
import struct
from functools import lru_cache
from typing import Final, NamedTuple

from cupola.errors import ProtocolError

TIMESTAMP_MAX: Final = 2**63 - 1

_LITTLE_ENDIAN_U64 = struct.Struct("<Q")


@lru_cache(maxsize=1024)
def encode_timestamp(ts: int) -> bytes:
    """A timestamp in JSON, without quotes: base64 of 8 little-endian bytes, 12 characters.

    Cached, since one timestamp goes to every session that a commit touches.
    """
    if not 0 <= ts <= TIMESTAMP_MAX:
        raise ValueError(f"a timestamp lies between 0 and 2^63 - 1, not {ts}")
    return binascii.b2a_base64(_LITTLE_ENDIAN_U64.pack(ts), newline=False)


def decode_timestamp(text: str) -> int:
    """The reverse of `encode_timestamp`: exactly 12 characters, canonical padding.

    Raises:
        ProtocolError: The text is no timestamp.
    """
    try:
        data = base64.b64decode(text, validate=True)
        if len(data) == 8 and base64.b64encode(data).decode() == text:
            ts: int = _LITTLE_ENDIAN_U64.unpack(data)[0]
            if ts <= TIMESTAMP_MAX:
                return ts
    except ValueError:
        pass
    raise ProtocolError(
        f"{text[:40]!r} is no timestamp: expected base64 of 8 little-endian bytes, at most 2^63 - 1"
    )


class StateVersion(NamedTuple):
    """What a client holds: which query set, as whom, as of when."""

    query_set: int
    identity: int
    ts: int

    def encode(self) -> bytes:
        return b'{"querySet":%d,"identity":%d,"ts":"%b"}' % (
            self.query_set,
            self.identity,
            encode_timestamp(self.ts),
        )

    def may_become(self, later: "StateVersion") -> bool:
        """Whether a Transition may lead from here to `later`: no component goes back."""
        return (
            self.query_set <= later.query_set
            and self.identity <= later.identity
            and self.ts <= later.ts
        )

    def __str__(self) -> str:
        return f"(query set {self.query_set}, identity {self.identity}, ts {self.ts})"


ZERO_VERSION: Final = StateVersion(0, 0, 0)
