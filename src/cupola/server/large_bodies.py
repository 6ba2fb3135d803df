"""How much of large request bodies may be in memory at once, whoever sends them."""

import contextlib
from collections.abc import Iterator

from cupola.errors import OverloadedError
from cupola.server.messages import Request

_SMALL_BODY_DIGITS = 5
_LARGE_BODIES_MAX = 16


class LargeBodies:
    """Bodies that could be as large as is allowed: all of these together are bounded too."""

    def __init__(self, size_bytes_max: int) -> None:
        """`size_bytes_max`: how large one may be."""
        self._size_bytes_max = size_bytes_max
        self._reserved_bytes = 0

    @contextlib.contextmanager
    def reserved(self, request: Request) -> Iterator[None]:
        """There is room for the body of this request meanwhile.

        Raises:
            OverloadedError: There is not.
        """
        declared = request.headers.get(b"content-length")
        size_bytes_max = self._size_bytes_max
        reserved = size_bytes_max if declared is None else min(int(declared), size_bytes_max)
        if self._reserved_bytes + reserved > _LARGE_BODIES_MAX * size_bytes_max:
            raise OverloadedError(
                "Too many large request bodies are on their way; try again soon.",
                code="TooManyConcurrentRequests",
            )
        self._reserved_bytes += reserved
        try:
            yield
        finally:
            self._reserved_bytes -= reserved


def is_surely_small(request: Request) -> bool:
    """Whether its head says so."""
    declared = request.headers.get(b"content-length")
    return declared is not None and len(declared) <= _SMALL_BODY_DIGITS
