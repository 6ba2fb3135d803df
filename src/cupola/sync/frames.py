"""Frames: whole text messages on their way to a client."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

SHARED_BYTES_MIN = 1024


class SharedFrame(msgspec.Struct, gc=False):
    """A message whose beginning is one object for all clients that are sent the same.

    A change that a thousand clients see is a thousand Transitions that differ in a few bytes at
    their end, if at all. Joined, they would be a thousand copies of the result, each written to
    memory and read again; so the transport gets the two pieces. `bytes(frame)` joins them.
    """

    shared: bytes
    own: bytes

    def __len__(self) -> int:
        return len(self.shared) + len(self.own)

    def __bytes__(self) -> bytes:
        return self.shared + self.own


Frame: TypeAlias = bytes | SharedFrame

Beginnings: TypeAlias = dict[tuple[Any, ...], bytes]
"""The beginnings made so far, by the versions between which they lead and what they show."""
