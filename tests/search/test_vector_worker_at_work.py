"""What the vector worker tells the engine."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cupola.limits import Limits
from cupola.persistence.sqlite import SqlitePersistence
from cupola.runtimes import vector_worker
from cupola.runtimes.python.messages import (
    FollowLog,
    FrameBuffer,
    Ready,
    Setup,
    VectorsKept,
    from_worker_decoder,
    limit_fields,
)
from cupola.runtimes.vector_worker import SAVED, VectorWorker
from cupola.search import vector_indexes
from cupola.search.vector_indexes import VectorIndexes

from .vector_world import BY_PLOT, Movies, catch_up, movie


def test_a_worker_that_catches_up_does_not_fall_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it is ended before it is done, again and again: each begins where the files end."""
    monkeypatch.setattr(vector_indexes, "_SLICE", 1)
    monkeypatch.setattr(vector_indexes, "_SAVE_CHANGES_MIN", 1)
    monkeypatch.setattr(vector_worker, "_TOLD_S", 0.0)
    path = str(tmp_path / "data.sqlite3")
    movies = Movies(SqlitePersistence(path), BY_PLOT)
    movies.add(movie([1.0, 0.0, 0.0]))
    saved = VectorIndexes(Path(path + SAVED), 2**30)
    catch_up(saved, movies)
    saved.save_due()
    movies.add(*(movie([1.0, float(n), 0.0]) for n in range(5)))

    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker = VectorWorker(theirs)
        worker._take(Setup("", {}, path, b"", limit_fields(Limits()), {}))
        worker._take(FollowLog())
        slices = 0
        while worker._has_work:
            worker._work()
            slices += 1
        told = [from_worker_decoder.decode(each) for each in FrameBuffer().feed(ours.recv(1 << 20))]

    assert slices >= 5 and isinstance(told[0], Ready)
    assert [type(each) for each in told[1:]] == [VectorsKept] * (slices - 1)
    movies.persistence.close()
