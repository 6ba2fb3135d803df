"""Transitions whose beginning many sessions share are, to each client, what they always were."""

from uuid import UUID

import pytest

from cupola.limits import DEFAULT_LIMITS
from cupola.sync.frames import SHARED_BYTES_MIN, Beginnings, Frame, SharedFrame
from cupola.sync.messages import decode_client_message
from cupola.sync.outcome import QueryOutcome
from cupola.sync.session import Session

NOW_MS = 1_795_350_032_455
LARGE = QueryOutcome.success(b'["%s"]' % (b"x" * SHARED_BYTES_MIN))
SMALL = QueryOutcome.success(b"[]")


def watching(outcome: QueryOutcome, *, clock_skew_ms: int = 0, chunk_size: int = 10**6) -> Session:
    """A session that shows an outcome at timestamp 5 of its query 0."""
    session = Session(chunked=True, chunk_size_bytes=chunk_size, limits=DEFAULT_LIMITS)
    connect = (
        b'{"type":"Connect","sessionId":"%s","connectionCount":0,"lastCloseReason":"x",'
        b'"clientTs":%d}'
    )
    add = (
        b'{"type":"ModifyQuerySet","baseVersion":0,"newVersion":1,"modifications":'
        b'[{"type":"Add","queryId":0,"udfPath":"a:b","args":[{}]}]}'
    )
    session_id = str(UUID(int=clock_skew_ms)).encode()
    for frame in (connect % (session_id, NOW_MS + clock_skew_ms), add):
        session.receive(decode_client_message(frame), NOW_MS, 10)
    session.begin_update()
    session.finish_update(5, {0: outcome}, NOW_MS)
    return session


def changed(session: Session, outcome: QueryOutcome, beginnings: Beginnings | None) -> list[Frame]:
    return session.push(6, [(0, outcome)], 77, beginnings)


def test_sessions_that_are_sent_the_same_share_one_object() -> None:
    beginnings: Beginnings = {}
    frames = [
        changed(watching(SMALL, clock_skew_ms=skew), LARGE, beginnings)[0] for skew in range(3)
    ]
    alone = [changed(watching(SMALL, clock_skew_ms=skew), LARGE, None)[0] for skew in range(3)]
    assert len(beginnings) == 1
    assert [bytes(frame) for frame in frames] == [bytes(frame) for frame in alone]
    assert [len(frame) for frame in frames] == [len(bytes(frame)) for frame in alone]
    assert len({bytes(frame) for frame in alone}) == 3, "their clocks differ"
    assert len({id(frame.shared) for frame in frames if isinstance(frame, SharedFrame)}) == 1


def test_a_session_at_another_version_shares_nothing_wrong() -> None:
    beginnings: Beginnings = {}
    behind, ahead = watching(SMALL), watching(SMALL)
    ahead.push(5, [(0, QueryOutcome.success(b"1"))], 7)
    ahead.begin_update()
    ahead.finish_update(6, {}, 7)
    for session in (behind, ahead):
        [frame] = changed(session, LARGE, beginnings)
        assert b'"endVersion":{"querySet":1,"identity":0,"ts":"BgAAAAAAAAA="}' in bytes(frame)
    assert len(beginnings) == 2


def test_what_is_small_is_sent_as_it_is() -> None:
    beginnings: Beginnings = {}
    [frame] = changed(watching(LARGE), SMALL, beginnings)
    assert type(frame) is bytes


@pytest.mark.parametrize("chunk_size", [100, SHARED_BYTES_MIN])
def test_what_is_too_large_is_cut_into_chunks_all_the_same(chunk_size: int) -> None:
    shared = changed(watching(SMALL, chunk_size=chunk_size), LARGE, {})
    alone = changed(watching(SMALL, chunk_size=chunk_size), LARGE, None)
    assert len(shared) > 1
    assert [len(frame) for frame in shared] == [len(frame) for frame in alone]
