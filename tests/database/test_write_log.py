"""The write log keeps what the oldest running snapshot needs, and nothing before it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from cupola.database.documents import StoredDocument
from cupola.database.read_set import Interval
from cupola.database.search_indexes import SearchIndex
from cupola.database.text_keys import WrittenText, searched
from cupola.database.write_log import WriteLog, WrittenKey
from cupola.schema import TextIndexDefinition
from cupola.values import after, encode, encode_key

INDEX = 7
NAMES = ("a", "b", "c")

steps = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), st.sampled_from(NAMES), st.integers(0, 3)),
        st.tuples(st.just("open")),
        st.tuples(st.just("close"), st.integers(0, 5)),
        st.tuples(st.just("roll back"), st.integers(0, 3)),
    ),
    max_size=60,
)


def written(name: str, number: int) -> WrittenKey:
    return WrittenKey(INDEX, (encode_key(name), encode_key(float(number)), encode_key("id")))


def under(name: str) -> Interval:
    prefix = encode_key(name)
    return Interval(INDEX, 1, prefix, prefix, after(prefix))


@settings(max_examples=200, deadline=None)
@given(steps)
def test_every_running_snapshot_finds_all_writes_since(steps):
    """Whatever else ran and ended meanwhile, as in a plain list of all commits."""
    log, commits, running, ts = WriteLog(), [], [], 0
    for step in steps:
        if step[0] == "commit":
            ts += 1
            commits.append((ts, step[1]))
            log.add(ts, [written(step[1], step[2])])
        elif step[0] == "open":
            running.append(ts)
            log.open_snapshot(ts)
        elif step[0] == "close" and running:
            log.close_snapshot(running.pop(step[1] % len(running)))
        elif step[0] == "roll back":
            newest = max([ts - step[1], *running])
            log.drop_after(newest)
            commits = [commit for commit in commits if commit[0] <= newest]
        for since in running:
            assert log.covers(since)
            for name in NAMES:
                touched = [at for at, other in commits if at > since and other == name]
                assert log.first_touch([under(name)], since) == min(touched, default=None)
                conflict = log.first_conflict([under(name)], since)
                assert (conflict is not None) == bool(touched)


def test_overlapping_snapshots_do_not_keep_the_log_for_ever():
    """There may always be some call in a worker: what no one of them needs is let go."""
    log = WriteLog()
    log.open_snapshot(0)
    for ts in range(1, 1000):
        log.add(ts, [written("a", ts)])
        log.open_snapshot(ts)
        log.close_snapshot(ts - 1)
    assert sum(map(len, log._writes.values())) < 20
    log.close_snapshot(999)
    assert not log._writes


def test_words_of_written_documents_are_found_by_those_who_searched_for_them():
    """Their keys are made only then: nothing is filed for writes that no search asks about."""
    definition = TextIndexDefinition("search", "body", ("author",))
    index = SearchIndex(8, 10001, "search", "ready", definition, "index-id")

    def document(body: str, author: str) -> StoredDocument:
        return StoredDocument(1, encode({"_id": "id", "body": body, "author": author}))

    def search(word: str, *filters: str) -> list[Interval]:
        return searched(index, [word], word, (0, encode_key(filters[0])) if filters else None)

    log = WriteLog()
    log.open_snapshot(0)
    log.add(1, [], [WrittenText(index, "id", document("a Fox", "ada"), document("hares", "bob"))])
    for read in (search("fox"), search("hare"), search("fox", "ada"), search("ha", "bob")):
        conflict = log.first_conflict(read, 0)
        assert conflict is not None and conflict.ts == 1
        assert log.first_touch(read, 0) == 1
        assert log.first_conflict(read, 1) is None
    for read in (search("foxes"), search("hart"), search("fox", "bob"), search("are")):
        assert log.first_conflict(read, 0) is None
    log.drop_after(0)
    assert log.first_conflict(search("fox"), 0) is None
