"""Whether an id occurs twice among the rows of an import, however many there are."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from cupola.deploy.import_rows import ImportRefused

_IN_MEMORY_MAX: Final = 100_000
_RUNS_MAX: Final = 100


class DistinctIds:
    """Ids of one table. The newest are in memory; those before are in files below `folder`, sorted,
    until `finish` looks at all of them together.
    """

    def __init__(self, folder: Path, in_memory_max: int = _IN_MEMORY_MAX) -> None:
        self._folder = folder
        self._in_memory_max = in_memory_max
        self._newest: set[str] = set()
        self._runs: list[Path] = []
        self._count = 0

    def add(self, document_id: str) -> None:
        """Raises: ImportRefused: It was among the newest ones, too."""
        if document_id in self._newest:
            raise _twice(document_id)
        self._newest.add(document_id)
        if len(self._newest) >= self._in_memory_max:
            self._spill(iter(sorted(self._newest)))
            self._newest.clear()
            if len(self._runs) >= _RUNS_MAX:  # each is an open file in the end
                self._join()

    def finish(self) -> None:
        """Raises: ImportRefused: One occurs twice."""
        if self._runs:
            self._spill(iter(sorted(self._newest)))
            self._newest.clear()
            self._join()
        for run in self._runs:
            run.unlink()
        self._runs.clear()

    def _join(self) -> None:
        before, self._runs = self._runs, []
        with ExitStack() as files:
            lines = [files.enter_context(run.open()) for run in before]
            self._spill(line.removesuffix("\n") for line in heapq.merge(*lines))
        for run in before:
            run.unlink()

    def _spill(self, ids: Iterator[str]) -> None:
        """Write sorted ids down. Raises: ImportRefused: Two are the same."""
        self._count += 1
        path = self._folder / f"{self._count}.ids"
        self._runs.append(path)
        with path.open("w") as file:
            file.writelines(f"{each}\n" for each in _distinct(ids))


def _distinct(ids: Iterator[str]) -> Iterator[str]:
    last = None
    for each in ids:
        if each == last:
            raise _twice(each)
        last = each
        yield each


def _twice(document_id: str) -> ImportRefused:
    return ImportRefused(
        f'The id "{document_id}" occurs twice; leave one of the two out.', code="InvalidId"
    )
