"""The processes beside this one, for a deployment whose data is in a file: those that run functions
and those that keep indexes.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from cupola.backend.vector_searches import SearchIndexBuilds
from cupola.database.search_indexes import NothingToBuild, SearchBuilds

if TYPE_CHECKING:
    from cupola.backend.backend import Backend
    from cupola.backend.text_workers import TextWorkers


class Workers:
    """None, until `use` says where the data is; started with `attach`.

    What each kind needs is loaded only then.
    """

    def __init__(self, backend: Backend, secret: bytes) -> None:
        self._backend = backend
        self._secret = secret
        self.texts: TextWorkers | None = None
        self.data_path: str | None = None
        """The database file, where workers read it too."""
        self.stalled: list[str] = []
        """Functions that never run on the loop: they have stopped it before."""

    @property
    def packages_folder(self) -> str:
        """Where npm packages are installed; empty without a data folder."""
        path = self.data_path
        return str(Path(path).resolve().parent / "packages") if path is not None else ""

    def use(self, data_path: str) -> None:
        from cupola.backend.text_workers import TextWorkers
        from cupola.backend.vector_workers import VectorWorkers
        from cupola.search.places import text_folder

        backend = self._backend
        self.data_path = data_path
        self.texts = TextWorkers(backend, data_path)
        backend.node.text_folder = text_folder(data_path)
        backend.node.runtime.time_s = backend.limits.in_process_time_s
        backend.vectors = VectorWorkers(backend, data_path)

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Functions that are slow, and actions, run in workers from now on."""
        if self.data_path is not None:
            self._make(self.data_path, loop)

    def _make(self, data_path: str, loop: asyncio.AbstractEventLoop) -> None:
        from cupola.backend.action_workers import ActionWorkers
        from cupola.backend.offload import Offload

        backend = self._backend
        offload = Offload(backend, data_path, self._secret, loop)
        offload.stalled = self.stalled
        offload.code_changed()
        backend.mutations.offload = offload
        backend.passes.offload = offload
        backend.actions = ActionWorkers(backend, loop)

    def attach_indexes(self, loop: asyncio.AbstractEventLoop) -> None:
        """Indexes are kept in the background from now on."""
        self._backend.vectors.attach(loop)
        if self.texts is not None:
            self.texts.attach(loop)

    def search_builds(self) -> SearchBuilds:
        """Who builds indexes for searches, that a push waits for."""
        return SearchIndexBuilds(self.texts or NothingToBuild(), self._backend.vectors)

    def close_indexes(self) -> None:
        self._backend.vectors.close()
        if self.texts is not None:
            self.texts.close()
