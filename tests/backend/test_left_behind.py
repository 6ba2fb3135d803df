"""Sessions whose queries a worker is to run at one moment."""

import pytest

from cupola import QueryCtx, query
from cupola.backend.left_behind import is_left_behind
from cupola.functions.app import App
from cupola.testing import Deployment


@query
def one(ctx: QueryCtx) -> int:
    return 1


class Worker:
    """It has been asked, and has not answered yet."""

    def run_together(self, entries, done):
        self.done = done


@pytest.mark.parametrize("is_push_between", [True, False])
def test_one_whose_queries_fail_rests_unless_other_code_is_why(is_push_between):
    with Deployment(App({"main:one": one}, {})) as app:
        app.connect().subscribe("main:one", {})
        passes, worker = app.backend.passes, Worker()
        (host,) = app.backend._sessions.values()
        passes.offload, host.missed = worker, 100
        passes._left_behind.add(host)
        passes.offload = None
        if is_push_between:
            app.backend.node.cache.everything_stale()
        worker.done({})
        assert is_left_behind(host) is is_push_between
