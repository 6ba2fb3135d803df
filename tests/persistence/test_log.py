"""The log behind the current entries: what happened since a moment, and what was at one."""

from __future__ import annotations

from random import Random
from typing import Any

from .conftest import HOUR_NS


def past(persistence: Any, index: int, ts: int, limit: int) -> dict[str, bytes]:
    """All of an index as of `ts`, page by page."""
    found: dict[str, bytes] = {}
    place: bytes | None = b""
    last = b""
    while place is not None:
        page = persistence.past.scan_at(ts, index, place, limit=limit)
        assert len(page.rows) <= limit
        for key, row_ts, body in page.rows:
            assert key > last and row_ts <= ts
            last = key
            found[key.decode()] = body
        assert page.next is None or page.next > place
        place = page.next
    return found


def test_the_log_is_read_from_any_moment(notes: Any, persistence: Any) -> None:
    with notes.group():
        first = notes.put("a", "general", "one")
        second = notes.put("b", "general", "two")
    with notes.group():
        third = notes.remove("a")

    log = persistence.reader
    moments = (0, first - 1, first, second, third - 1, third, third + 9)
    assert [log.version_at(ts) for ts in moments] == [0, 0, 1, 2, 2, 3, 3]
    rows = log.changes(None, 1, 3, limit=10)
    assert [(row.version, row.ts, row.id, row.body) for row in rows] == [
        (2, second, "b", b"two"),
        (3, third, "a", None),
    ]
    assert len(log.changes(None, 0, 3, limit=2)) == 2
    assert len(log.changes(None, 0, 1, limit=2)) == 1


def test_an_empty_log_has_nothing_and_was_nothing(persistence: Any) -> None:
    assert persistence.reader.version_at(0) == persistence.reader.version_at(9) == 0
    assert persistence.reader.changes(None, 0, 9, limit=5) == []
    assert persistence.past.scan_at(5, 1, b"", limit=5) == ([], None)


def test_the_newest_version_of_any_moment_is_found(notes: Any, persistence: Any) -> None:
    """However many there are: commits of some versions each, and the moments between them."""
    random = Random(11)
    newest_at: dict[int, int] = {}
    for _ in range(60):
        notes.now += 7
        with notes.group():
            for _ in range(random.randint(1, 3)):
                notes.put(f"note{random.randint(0, 25):02}", "general")
        newest_at[persistence.head_ts] = persistence.reader.newest_version()
    for ts, version in newest_at.items():
        assert persistence.reader.version_at(ts) == version
        assert persistence.reader.version_at(ts + 1) == version


def test_each_moment_is_found_again_as_it_was(notes: Any, persistence: Any) -> None:
    """Whatever has changed since: over hours, in pages of any size, in any order of changes."""
    random = Random(7)
    truth: dict[str, bytes] = {}
    moments: list[tuple[int, dict[str, bytes]]] = []
    for step in range(120):
        with notes.group():
            for _ in range(random.randint(1, 4)):
                note = f"note{random.randint(0, 25):02}"
                if note in truth and random.random() < 0.4:
                    notes.remove(note)
                    del truth[note]
                else:
                    text = f"{note} {step}"
                    notes.put(note, "general", text)
                    truth[note] = text.encode()
        moments.append((persistence.head_ts, dict(truth)))
        if step % 10 == 0:
            notes.now += random.choice([1, HOUR_NS // 3, 5 * HOUR_NS])
    with notes.group():
        for note in list(truth):
            notes.remove(note)
    for ts, expected in moments:
        for limit in (1, 3, 100):
            assert past(persistence, notes.BY_ID, ts, limit) == expected
