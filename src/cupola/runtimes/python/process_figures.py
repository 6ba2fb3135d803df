"""What the kernel counts of a process. Its files are opened once, so that a look costs one system
call.
"""

from __future__ import annotations

import os

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class ProcessFigures:
    """Of one process, until `close`."""

    def __init__(self, pid: int) -> None:
        self._statm = _opened(f"/proc/{pid}/statm")
        self._schedstat = _opened(f"/proc/{pid}/task/{pid}/schedstat")

    def resident_bytes(self) -> int:
        """0 when the process is gone."""
        figures = _figures(self._statm)
        return figures[1] * _PAGE_BYTES if len(figures) > 1 else 0

    def processor_s(self) -> float:
        """How long its main thread has run, in s; 0 when that cannot be told."""
        figures = _figures(self._schedstat)
        return figures[0] / 1e9 if figures else 0.0

    def close(self) -> None:
        for descriptor in (self._statm, self._schedstat):
            if descriptor >= 0:
                os.close(descriptor)
        self._statm = self._schedstat = -1


def _opened(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def _figures(descriptor: int) -> list[int]:
    try:
        return [int(word) for word in os.pread(descriptor, 200, 0).split()]
    except (OSError, ValueError):
        return []
