"""The exact scan against plain arithmetic, with filters, while documents come, change and go."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cupola.search.vector_index import Condition, VectorIndex, unit

DIMENSIONS, TOLERANCE = 3, 1e-5


def similarity(a: Sequence[float], b: Sequence[float]) -> float:
    lengths = math.hypot(*a) * math.hypot(*b)
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0


numbers = st.integers(-3, 3).map(float)
vectors = st.lists(numbers, min_size=DIMENSIONS, max_size=DIMENSIONS)
ids = st.integers(0, 30).map("d{:02}".format)
values = st.sampled_from([b"red", b"green", b"blue"])
puts = st.tuples(ids, vectors, st.tuples(values, values))
removals = st.tuples(ids, st.none(), st.none())
conditions = st.lists(st.builds(Condition, st.integers(0, 1), values | st.just(b"?")), max_size=3)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(puts, puts, removals), max_size=60),
    vectors,
    st.integers(1, 12),
    st.none() | conditions.filter(bool),
)
def test_a_search_finds_what_plain_arithmetic_finds(changes, asked, limit, filters):
    """Small blocks and few values, so that rows move between blocks and many scores are equal."""
    index = VectorIndex(DIMENSIONS, 2, block_bytes=5 * 4 * DIMENSIONS)
    documents = {}
    for document_id, vector, fields in changes:
        if vector is None:
            index.remove(document_id)
            documents.pop(document_id, None)
        else:
            index.put(document_id, unit(vector), fields)
            documents[document_id] = vector, fields

    hits = index.search(unit(asked), limit, filters or ())

    expected = {
        document_id: similarity(vector, asked)
        for document_id, (vector, fields) in documents.items()
        if filters is None or any(fields[field] == value for field, value in filters)
    }
    assert len(index) == len(documents)
    assert len(hits) == min(limit, len(expected))
    assert len({hit.id for hit in hits}) == len(hits)
    for hit in hits:
        assert hit.score == pytest.approx(expected[hit.id], abs=TOLERANCE)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    left_out = [score for each, score in expected.items() if each not in {hit.id for hit in hits}]
    if left_out:
        assert hits[-1].score >= max(left_out) - TOLERANCE


def test_equal_scores_come_in_the_order_of_ids():
    """The same search twice gives the same page, whatever came first."""
    index = VectorIndex(2, 0)
    for name in ("c", "a", "d", "b"):
        index.put(name, unit([1.0, 1.0]), ())

    assert [hit.id for hit in index.search(unit([1.0, 0.0]), 2)] == ["a", "b"]


def test_direction_counts_and_length_does_not():
    """Cosine similarity, for numbers whose squares leave the range of floats too."""
    index = VectorIndex(2, 0)
    index.put("large", unit([1e300, 1e300]), ())
    index.put("tiny", unit([1e-300, -1e-300]), ())
    index.put("zero", unit([0.0, 0.0]), ())

    hits = index.search(unit([3.0, 3.0]), 3)

    assert [(hit.id, round(hit.score, 6)) for hit in hits] == [
        ("large", 1.0),
        ("tiny", 0.0),
        ("zero", 0.0),
    ]
    assert max(hit.score for hit in hits) <= 1.0


def test_what_is_not_finite_is_no_vector():
    assert unit([1.0, math.inf]) is None
    assert unit([math.nan, 1.0]) is None


def test_a_document_that_goes_takes_its_room_with_it():
    """Memory follows what there is, not what there was: blocks and values of filters."""
    index = VectorIndex(16, 1, block_bytes=4 * 16 * 8)
    empty = VectorIndex(16, 1, block_bytes=4 * 16 * 8)
    for name in range(100):
        index.put(f"d{name}", unit([1.0] * 16), [b"%d" % name])
    full = index.size_bytes
    for name in range(99):
        index.remove(f"d{name}")
        index.remove(f"d{name}")

    assert len(index) == 1
    assert empty.size_bytes < index.size_bytes < full / 10


def test_ten_thousand_vectors_are_found_as_arithmetic_finds_them():
    """The figure of the reference is a recall of 0.95; a scan has to have all of them."""
    generator = np.random.default_rng(4711)
    data = generator.standard_normal((10_000, 256))
    index = VectorIndex(256, 1)
    for row, vector in enumerate(data):
        index.put(f"{row}", unit(vector), [b"%d" % (row % 100)])
    directions = data / np.linalg.norm(data, axis=1)[:, None]

    for asked in generator.standard_normal((5, 256)):
        scores = directions @ asked
        best = {str(row) for row in np.argsort(-scores)[:64]}
        found = {hit.id for hit in index.search(unit(asked), 64)}
        assert len(best & found) >= 63  # the last may be as near as the next, to seven digits
        only = [row for row in np.argsort(-scores) if row % 100 == 7][:64]
        filtered = [hit.id for hit in index.search(unit(asked), 64, [Condition(0, b"7")])]
        assert filtered[:10] == [str(row) for row in only][:10]
        assert all(int(row) % 100 == 7 for row in filtered) and len(filtered) == 64
