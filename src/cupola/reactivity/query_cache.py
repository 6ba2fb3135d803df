"""What queries came to, shared by everyone who asks the same.

One entry per (function, arguments, journal) and, where the query looked at its caller, identity. An
entry is *live* while somebody listens to it: then a commit that touches it makes it stale and it is
run again. Without listeners it is kept until it is touched or its memory is needed; one whose query
looked at the clock is given to nobody new after some seconds (spec: function runtime, section 15).

Past the memory bound idle entries go first, the longest unused before others; then live entries
drop their bytes and keep the digest, which is all that "unchanged" needs; whoever asks for the
value runs the query again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from cupola.clock import Clock
from cupola.database.read_set import Interval
from cupola.database.text_keys import WrittenText
from cupola.database.write_log import WrittenKey
from cupola.reactivity.subscriptions import Subscriptions
from cupola.sync.outcome import QueryOutcome

_ENTRY_BYTES = 600  # objects around the bytes, measured
_INTERVAL_BYTES = 300


class QueryKey(NamedTuple):
    """What is asked: canonical path, canonical encoded arguments, and the journal to start from."""

    path: str
    args: bytes
    journal: str | None
    component_path: str | None = None
    internal: bool = False
    """Asked by someone who may call internal functions, of one: nobody else may find the answer."""


class CacheEntry:
    """One query's latest outcome, and who listens."""

    __slots__ = (
        "audits",
        "digest",
        "expires_ns",
        "identity",
        "identity_observed",
        "intervals",
        "journal",
        "key",
        "listeners",
        "outcome",
        "registered",
        "runs",
        "size",
        "stale",
        "touched_ts",
        "ts",
    )

    def __init__(self, key: QueryKey, identity: Any) -> None:
        self.key = key
        self.journal = key.journal
        """What the next run starts from. It outlives the outcome's bytes."""
        self.identity = identity
        self.identity_observed = False
        self.outcome: QueryOutcome | None = None
        self.digest: bytes | None = None
        """Of an outcome whose bytes were dropped."""
        self.intervals: tuple[Interval, ...] = ()
        self.ts = 0  # the snapshot it was last run at
        self.stale = True
        self.touched_ts = 0  # the first commit that touched it since; meaningful while stale
        self.audits: Sequence[str] = ()
        """Entries of audit logs, emitted for each caller who is shown the outcome."""
        self.listeners: dict[Any, None] = {}
        self.registered: tuple[QueryKey, bytes | None] | None = None
        self.size = 0
        self.runs = 0
        self.expires_ns: int | None = None
        """Of a query that looked at the clock: when whoever asks anew gets a run of their own."""

    @property
    def last_digest(self) -> bytes | None:
        """That of the last run's outcome."""
        return self.digest if self.outcome is None else self.outcome.digest

    @property
    def must_run(self) -> bool:
        """Whether there is no result at hand that may be given out."""
        return self.stale or self.outcome is None

    def is_valid_at(self, ts: int) -> bool:
        """Whether the last outcome, of which maybe only the digest is left, is the query's result
        at `ts`.
        """
        return self.ts <= ts and (not self.stale or ts < self.touched_ts)


class QueryCache:
    """All entries of a deployment, with the index of what they read."""

    def __init__(self, bytes_max: int, clock: Clock) -> None:
        self._bytes_max = bytes_max
        self._clock = clock
        self._entries: dict[tuple[QueryKey, bytes | None], CacheEntry] = {}
        self._idle: dict[CacheEntry, None] = {}  # in order of last use
        self._live: set[CacheEntry] = set()
        self._subscriptions: Subscriptions[CacheEntry] = Subscriptions()
        self._live_full: dict[
            CacheEntry, None
        ] = {}  # live entries that hold their bytes, oldest first
        self.generation = 0
        """Of results: what began in an older one may not be given out as fresh."""
        self.bytes = 0
        self.hits = 0
        self.misses = 0
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def intervals(self) -> int:
        return self._subscriptions.intervals

    def find(self, key: QueryKey, identity_key: bytes) -> CacheEntry | None:
        """The entry that answers this question for this caller, fresh or stale."""
        entry = self._entries.get((key, None))
        if entry is None:
            entry = self._entries.get((key, identity_key))
        if entry is None:
            return None
        if entry.expires_ns is not None and self._clock.monotonic_ns() >= entry.expires_ns:
            self.hide(entry)  # and drop it, unless somebody listens
            return None
        if entry in self._idle:
            del self._idle[entry]
            self._idle[entry] = None
        return entry

    def expect(self, entry: CacheEntry) -> None:
        """File an entry that is about to run, so that whoever asks the same meanwhile shares it.

        Whether it looks at its caller is not known yet; if it does, those of another identity get
        entries of their own when it has run.
        """
        place = (entry.key, entry.identity.cache_key if entry.identity_observed else None)
        if entry.registered is None and place not in self._entries:
            self._entries[place] = entry
            entry.registered = place

    def record(
        self,
        entry: CacheEntry,
        outcome: QueryOutcome,
        intervals: tuple[Interval, ...],
        ts: int,
        identity_observed: bool,
    ) -> bool:
        """Note what a run at `ts` came to. Returns whether clients would see a difference."""
        if intervals != entry.intervals:
            self._subscriptions.remove(entry, entry.intervals)
            self._subscriptions.add(entry, intervals)
            entry.intervals = intervals
        elif entry.runs == 0:
            self._subscriptions.add(entry, intervals)
        changed = entry.runs == 0 or outcome.digest != entry.last_digest
        if entry.outcome is None or changed or outcome.journal != entry.outcome.journal:
            entry.outcome = outcome
        entry.journal = outcome.journal
        entry.ts = ts
        entry.stale = False
        entry.runs += 1
        entry.identity_observed = entry.identity_observed or identity_observed
        self._register(entry)
        self._measure(entry)
        self._note_use(entry)
        self._make_room()
        return changed

    def _register(self, entry: CacheEntry) -> None:
        """File the entry under what it answers now.

        A page that was re-run is pinned to its journal: whoever asks without one must get a fresh
        page.
        """
        key = entry.key
        if entry.runs > 1 and entry.journal is not None:
            key = entry.key = key._replace(journal=entry.journal)
        place = (key, entry.identity.cache_key if entry.identity_observed else None)
        if entry.registered == place:
            return
        self._unregister(entry)
        if place not in self._entries:
            self._entries[place] = entry
            entry.registered = place

    def hide(self, entry: CacheEntry) -> None:
        """Whoever asks from now on gets a run of their own; the listeners keep what they have."""
        self._unregister(entry)
        self._note_use(entry)

    def _unregister(self, entry: CacheEntry) -> None:
        if entry.registered is not None:
            del self._entries[entry.registered]
            entry.registered = None

    # ---------------------------------------------------------------- listening

    def listen(self, entry: CacheEntry, listener: Any) -> None:
        entry.listeners[listener] = None
        self._live.add(entry)
        self._note_use(entry)

    def unlisten(self, entry: CacheEntry, listener: Any) -> None:
        entry.listeners.pop(listener, None)
        if not entry.listeners:
            self._live.discard(entry)
        if not entry.listeners and entry.stale:
            self.drop(entry)
        else:
            self._note_use(entry)

    def _note_use(self, entry: CacheEntry) -> None:
        self._idle.pop(entry, None)
        self._live_full.pop(entry, None)
        if not entry.listeners:
            if entry.registered is None:
                self.drop(entry)  # nobody can find it any more
            else:
                self._idle[entry] = None
        elif entry.outcome is not None:
            self._live_full[entry] = None

    # ---------------------------------------------------------------- what commits do

    def touch(
        self, ts: int, written: Iterable[WrittenKey], texts: Iterable[WrittenText] = ()
    ) -> Iterator[CacheEntry]:
        """Mark what a commit touched as stale. Yields live entries; idle ones are dropped."""
        for entry in self.readers(written, texts):
            if entry.stale:
                continue
            entry.stale = True
            entry.touched_ts = ts
            if entry.listeners:
                yield entry
            else:
                self.drop(entry)

    def readers(
        self, written: Iterable[WrittenKey], texts: Iterable[WrittenText] = ()
    ) -> set[CacheEntry]:
        """The entries that depend on what a commit wrote."""
        for text in texts:
            if self._subscriptions.has(text.index):
                written = (*written, *text.keys)
        return self._subscriptions.touched(written)

    def everything_stale(self) -> list[CacheEntry]:
        """New code: nothing that was computed by the old one may be given out as fresh."""
        self.generation += 1
        for entry in list(self._idle):
            self.drop(entry)
        for entry in self._live:
            entry.stale = True
        return list(self._live)

    def drop(self, entry: CacheEntry) -> None:
        """Forget an entry altogether."""
        if entry.runs:
            self._subscriptions.remove(entry, entry.intervals)
        self._unregister(entry)
        self._idle.pop(entry, None)
        self._live_full.pop(entry, None)
        self.bytes -= entry.size
        entry.size = 0
        entry.intervals = ()
        entry.runs = 0
        entry.stale = True

    # ---------------------------------------------------------------- memory

    def _measure(self, entry: CacheEntry) -> None:
        size = _ENTRY_BYTES + len(entry.key.args) + _INTERVAL_BYTES * len(entry.intervals)
        if entry.outcome is not None:
            size += entry.outcome.size_bytes
        self.bytes += size - entry.size
        entry.size = size

    def _make_room(self) -> None:
        while self.bytes > self._bytes_max and self._idle:
            self.evicted += 1
            self.drop(next(iter(self._idle)))
        while self.bytes > self._bytes_max and len(self._live_full) > 1:
            entry = next(iter(self._live_full))
            del self._live_full[entry]
            self.evicted += 1
            entry.digest = entry.last_digest
            entry.outcome = None
            self._measure(entry)
