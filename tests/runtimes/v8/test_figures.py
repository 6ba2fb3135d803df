"""Aggregated and unique indexes, from JavaScript."""

import pytest

pytestmark = pytest.mark.node


def test_figures_of_a_range(server):
    """With a mutation's own writes, and by the range of the query."""
    assert server.query("figures:all", **{"from": 0.0}) == [0.0, 0.0, None, None, None, None]
    ids = []
    for count, weight in enumerate((0.1, 0.2, 5.0), 1):
        added = server.mutation("figures:add", weight=weight)
        assert added["count"] == count
        ids.append(added["id"])

    figures = server.query("figures:all", **{"from": 0.15}, id=ids[2])
    assert figures == [2.0, 5.2, 0.2, 5.0, 5.0, 1.0]


def test_figures_that_no_index_keeps_are_refused(server):
    said = server.failure("query", "figures:wrong", figure="count")
    assert "by_channel` is not aggregated" in said


def test_a_value_that_is_taken_is_refused(server):
    server.mutation("figures:add", weight=1.0, code="a")
    said = server.failure("mutation", "figures:add", weight=2.0, code="a")
    assert "`messages` already has a document with this `code`" in said
