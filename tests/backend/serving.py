"""A backend at work, without sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cupola.backend import Backend
from cupola.limits import Limits
from cupola.persistence.sqlite import SqlitePersistence


@asynccontextmanager
async def serving(folder: Path, app: Path, **limits: Any) -> AsyncIterator[Backend]:
    """A deployment on a file, with its workers, on the running loop."""
    path = str(folder / "data.sqlite3")
    backend = Backend(SqlitePersistence(path), limits=Limits(**limits))
    backend.use_workers(path)
    backend.load(app)
    backend.attach(asyncio.get_running_loop())
    try:
        yield backend
    finally:
        await backend.close()
