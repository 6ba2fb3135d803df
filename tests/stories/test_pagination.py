"""Pages that stay gapless while documents come and go inside, between and around them."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest

from cupola.functions.app import App
from cupola.limits import DEFAULT_LIMITS
from cupola.testing import Client, Deployment, Subscription


class Pages:
    """Pages of one list, loaded one after the other, as `usePaginatedQuery` does."""

    def __init__(self, client: Client, function: str, **args: Any) -> None:
        self._client, self._function, self._args = client, function, args
        self.live: list[Subscription] = []
        self.load_more()

    def load_more(self, count: int = 3) -> None:
        cursor = self.live[-1].value.continueCursor if self.live else None
        options = {"numItems": count, "cursor": cursor, "id": len(self.live)}
        self.live.append(
            self._client.subscribe(self._function, **self._args, paginationOpts=options)
        )

    @property
    def is_done(self) -> bool:
        return bool(self.live[-1].value.isDone)

    @property
    def ranks(self) -> list[float]:
        return [item.rank for page in self.live for item in page.value.page]

    @property
    def follow_each_other(self) -> bool:
        """Each page begins where the one before ends: its cursor has not moved."""
        cursors = [page.updates[0].continueCursor for page in self.live[:-1]]
        return cursors == [page.value.continueCursor for page in self.live[:-1]]


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("cache_bytes", [2_000, 100_000_000])
@pytest.mark.parametrize("seed", range(5))
def test_the_pages_together_are_the_list(
    story_app: App, order: str, cache_bytes: int, seed: int
) -> None:
    """At every Transition, whatever is inserted and deleted, even with too little memory."""
    chance = random.Random(seed)
    limits = dataclasses.replace(DEFAULT_LIMITS, query_cache_bytes_max=cache_bytes)
    with Deployment(story_app, limits=limits) as app:
        items = {
            rank: app.mutation("items:add", group="a", rank=rank)
            for rank in [float(rank) for rank in range(0, 100, 10)]
        }
        client = app.connect()
        pages = Pages(client, "items:page", group="a", order=order)
        checks = 0

        def check() -> None:
            """The loaded pages are a beginning of the list, all of it if the last page is."""
            nonlocal checks
            checks += 1
            ranks = sorted(items, reverse=order == "desc")
            shown = pages.ranks
            assert shown == ranks[: len(shown)]
            assert not pages.is_done or shown == ranks
            assert pages.follow_each_other

        client.on_transition = lambda: check() if len(client.session.results) else None
        for _ in range(60):
            match chance.choice(["insert", "insert", "delete", "delete", "more", "reconnect"]):
                case "insert":
                    rank = chance.choice([*items, 50.0]) + chance.choice([-1, 1]) * chance.random()
                    items[rank] = "?"
                    items[rank] = app.mutation("items:add", group="a", rank=rank)
                case "delete" if items:
                    app.mutation("items:remove", item=items.pop(chance.choice([*items])))
                case "more" if not pages.is_done:
                    client.on_transition, saved = None, client.on_transition
                    pages.load_more(chance.randrange(1, 5))
                    client.on_transition = saved
                case "reconnect":
                    client.on_transition, saved = None, client.on_transition
                    client.reconnect()
                    client.on_transition = saved
            check()
        assert checks > 60


def test_a_page_that_failed_for_a_while_keeps_its_end(cupola: Deployment) -> None:
    """An error in between is no reason to lose the place: the next page depends on it."""
    for rank in range(6):
        cupola.mutation("items:add", group="a", rank=rank)
    pages = Pages(cupola.connect(), "items:fragile_page", group="a")
    pages.load_more()

    broken = cupola.mutation("items:add", group="broken", rank=0)
    assert pages.live[0].error is not None
    cupola.mutation("items:add", group="a", rank=0.5)
    cupola.mutation("items:remove", item=broken)

    assert pages.ranks == [0, 0.5, 1, 2, 3, 4, 5]


def test_who_comes_while_a_page_is_stale_gets_a_page_of_the_size_asked_for(
    cupola: Deployment,
) -> None:
    """And not the one that others hold, whose ends are pinned."""
    for rank in range(3):
        cupola.mutation("items:add", group="a", rank=rank)
    first = Pages(cupola.connect(), "items:page", group="a", order="asc")
    late = cupola.connect()

    for rank in range(20):
        cupola.backend.submit(_add(rank / 100), lambda result: None)
    fresh = Pages(late, "items:page", group="a", order="asc")

    assert len(first.ranks) == 23
    assert len(fresh.ranks) == 3


def _add(rank: float) -> Any:
    from cupola.backend.calls import CallRequest
    from cupola.values import encode

    return CallRequest("mutation", "items:add", encode({"group": "a", "rank": rank}))
