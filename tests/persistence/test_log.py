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
        page = persistence.log.scan_at(ts, index, place, limit=limit)
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

    log = persistence.log
    assert [log.first_version_after(ts) for ts in (0, first, second, third, third + 9)] == [
        1, 2, 3, 4, 4,
    ]  # fmt: skip
    rows = log.log_from(2, limit=10)
    assert [(row.version, row.ts, row.id, row.body) for row in rows] == [
        (2, second, "b", b"two"),
        (3, third, "a", None),
    ]
    assert len(log.log_from(1, limit=2)) == 2


def test_an_empty_log_has_nothing_and_was_nothing(persistence: Any) -> None:
    assert persistence.log.first_version_after(0) == 1
    assert persistence.log.log_from(1, limit=5) == []
    assert persistence.log.scan_at(5, 1, b"", limit=5) == ([], None)


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
