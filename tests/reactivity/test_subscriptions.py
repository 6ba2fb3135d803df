"""Which queries a written key touches: the clever structure against the obvious one."""

from hypothesis import given, settings
from hypothesis import strategies as st

from cupola.database.read_set import Interval
from cupola.database.write_log import WrittenKey
from cupola.reactivity import Subscriptions
from cupola.reactivity.subscriptions import IntervalGroup
from cupola.values import after, encode_key

INDEX = 7

names = st.sampled_from(["a", "b", "a\0b", ""])
numbers = st.integers(0, 40).map(float)


@st.composite
def intervals(draw):
    """A range of numbers under a name, a whole name, or the whole index."""
    kind = draw(st.sampled_from(["all", "name", "range"]))
    if kind == "all":
        return Interval(INDEX, 0, b"", b"", None)
    prefix = encode_key(draw(names))
    if kind == "name":
        return Interval(INDEX, 1, prefix, prefix, after(prefix))
    low, high = sorted([draw(numbers), draw(numbers)])
    return Interval(INDEX, 1, prefix, prefix + encode_key(low), after(prefix + encode_key(high)))


@st.composite
def written_keys(draw):
    return WrittenKey(INDEX, (encode_key(draw(names)), encode_key(draw(numbers)), encode_key("id")))


@settings(max_examples=150, deadline=None)
@given(st.lists(intervals(), max_size=60), st.lists(written_keys(), max_size=10), st.data())
def test_a_written_key_finds_exactly_the_intervals_that_contain_it(reads, writes, data):
    """One look-up per number of fields gives what comparing with every interval would give."""
    subscriptions: Subscriptions[int] = Subscriptions()
    for owner, interval in enumerate(reads):
        subscriptions.add(owner, [interval])
    gone = data.draw(st.sets(st.sampled_from(range(len(reads))))) if reads else set()
    for owner in gone:
        subscriptions.remove(owner, [reads[owner]])

    touched = subscriptions.touched(writes)

    assert touched == {
        owner
        for owner, interval in enumerate(reads)
        if owner not in gone and any(interval.contains(b"".join(w.parts)) for w in writes)
    }


def test_nothing_is_left_when_everyone_has_gone():
    """A server that runs for months must not keep what nobody listens to."""
    subscriptions: Subscriptions[int] = Subscriptions()
    interval = Interval(INDEX, 1, b"p", b"p1", b"p2")
    subscriptions.add(1, [interval])
    subscriptions.add(2, [interval])
    subscriptions.remove(1, [interval])
    subscriptions.remove(2, [interval])

    assert subscriptions.intervals == 0
    assert subscriptions._groups == {}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.binary(max_size=2), st.binary(max_size=2)), max_size=400),
    st.lists(st.binary(max_size=2), max_size=5),
)
def test_a_crowded_group_stays_right_when_its_buckets_split(ranges, keys):
    """Many different ranges under one prefix, as with one range per client on one index."""
    group: IntervalGroup[int] = IntervalGroup()
    for owner, (start, end) in enumerate(ranges):
        group.add(start, end, owner)
    for owner in range(0, len(ranges), 3):
        group.remove(*ranges[owner], owner)

    for key in keys:
        found: set[int] = set()
        group.find(key, found)
        assert found == {
            owner for owner, (start, end) in enumerate(ranges) if owner % 3 and start <= key < end
        }
