"""Moving sessions forward: which queries run again, and when their clients hear of it.

A **pass** takes every stale live query and every session that waits for a Transition to one
timestamp T. It begins at the head; if it cannot end within the turn's budget it keeps a snapshot of
T and goes on in slices over later turns, while commits go on. Whatever they touch belongs to the
next pass. So a herd is bounded, each session moves to one timestamp, and none starves, however busy
the writers: a session is at most two passes behind.

Sessions whose transport is full take no part: nothing is computed for them until they drain, and
then one Transition takes them to the newest timestamp.
"""

from __future__ import annotations

import collections
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final

from cupola.backend.left_behind import LeftBehind, is_left_behind, missed_max
from cupola.backend.node import Node
from cupola.backend.outbox import attempt_each
from cupola.backend.queries import QueryRun, QueryRunner, Snapshot, report_shown
from cupola.backend.redaction import outcomes_shown_to
from cupola.backend.sessions import SessionHost
from cupola.database.committer import Published
from cupola.errors import PersistenceError
from cupola.persistence import Snapshot as PinnedReader
from cupola.reactivity import CacheEntry
from cupola.runtimes.python.in_process import CallTooLong
from cupola.sync.effects import AddedQuery
from cupola.sync.frames import Beginnings
from cupola.sync.outcome import QueryOutcome
from cupola.values import qualified

_LOG = logging.getLogger("cupola")
_NEVER = 1 << 63  # ns
_delivery = attrgetter("deliver")
_HELD_ENTRIES_MIN: Final = 16
_NO_RUNS: Final[Mapping[CacheEntry, QueryRun]] = MappingProxyType({})


class Passes:
    """The sessions and queries that wait, and the pass that is under way."""

    def __init__(self, node: Node, runner: QueryRunner) -> None:
        self._node = node
        self._runner = runner
        self._stale: dict[CacheEntry, None] = {}
        self._first: dict[SessionHost, None] = {}
        self._waiting: dict[SessionHost, None] = {}
        self._pass: _Pass | None = None
        self._left_behind = LeftBehind(self)
        self.offload: Any = None  # backend.offload.Offload, where workers exist
        node.followers.append(self.follow)

    @property
    def is_idle(self) -> bool:
        return self._pass is None and not self._is_asked

    @property
    def _is_asked(self) -> bool:
        return bool(self._stale) or bool(self._waiting) or bool(self._first)

    def __len__(self) -> int:
        return len(self._stale) + (len(self._pass.entries) if self._pass is not None else 0)

    def follow(self, published: Sequence[Published]) -> None:
        """Commits happened: note which live queries they touched."""
        touch = self._node.cache.touch
        for commit in published:
            for entry in touch(commit.ts, commit.written, commit.texts):
                self._stale[entry] = None

    @property
    def generation(self) -> int:
        """Of results: those of an older one are of other code, say."""
        return self._node.cache.generation

    def everything_stale(self) -> None:
        """The code has changed. A pass under way began with the old one, and stands at a snapshot
        whose definitions the new one may not fit: its sessions wait for the next.
        """
        if self._pass is not None:
            for host in self._pass.sessions:
                self._waiting[host] = None
            self.abandon()
        for entry in self._node.cache.everything_stale():
            self._stale[entry] = None
        self._node.wake()

    def mark_stale(self, entry: CacheEntry) -> None:
        self._stale[entry] = None

    def schedule(self, host: SessionHost, *, first: bool = False) -> None:
        """A session waits for a Transition; `first`: before others, as its mutation is done."""
        if first:
            self._first[host] = None
        else:
            self._waiting[host] = None
        self._node.wake()

    def catch_up(self, host: SessionHost) -> None:
        """A session's transport has drained."""
        for entry in host.queries.values():
            if entry.stale:
                self._stale[entry] = None
        self.schedule(host)

    def run(self) -> bool:
        """Work for one turn's budget. Returns whether more is left to do."""
        if self._pass is None:
            if not self._is_asked:
                return False
            self._pass = self._begin()
        deadline = self._node.clock.monotonic_ns() + int(self._node.limits.rerun_time_s * 1e9)
        if self._pass.work(deadline) or not self._may_wait(self._pass):
            self._pass.end()
            self._pass = None
        else:
            self._node.counters["passes_over_turns"] += 1
        return self._pass is not None or self._is_asked

    def _may_wait(self, unfinished: _Pass) -> bool:
        """Hold on to a pass's snapshot until the next turn. Where none can be opened, the pass ends
        in this one: that stops all others for a while, and an error would stop them for good.
        """
        try:
            unfinished.keep_snapshot()
        except PersistenceError as error:
            _LOG.warning("Live queries could not wait for the next turn: %s", error.message)
            unfinished.work(_NEVER)
            return False
        return True

    def worker_result(self, entry: CacheEntry, run: QueryRun) -> None:
        """A worker has run a live query. Its sessions move in the next pass; or, if a commit has
        touched the query meanwhile, to the worker's own timestamp, where all they show holds there.
        """
        if not entry.must_run:  # a pass was quicker
            for host, _ in entry.listeners:
                self.schedule(host)
            return
        if not entry.listeners:
            return
        self.record(entry, run)
        for host, _ in list(entry.listeners):
            host.missed += 1
            if entry.stale:
                self.move(host, run.ts)
            else:
                self.schedule(host)
            if is_left_behind(host):
                self._left_behind.add(host)

    def record(self, entry: CacheEntry, run: QueryRun) -> None:
        """Note what a worker has found, for its listeners."""
        before = entry.identity_observed
        changed = self._runner.record(entry, run)
        if run.identity_observed and not before:
            self._split_listeners(entry)
        if changed:
            for host, query_id in entry.listeners:
                host.changed[query_id] = None
        if entry.stale:
            self._stale[entry] = None
            self._node.wake()

    def _split_listeners(self, entry: CacheEntry) -> None:
        for host, query_id in list(entry.listeners):
            if host.identity.cache_key != entry.identity.cache_key:
                own = _entry_of_its_own(self._runner, entry, host)
                self._node.cache.unlisten(entry, (host, query_id))
                self._node.cache.expect(own)
                host.queries[query_id] = own
                self._node.cache.listen(own, (host, query_id))
                host.changed[query_id] = None
                self.schedule(host)

    def move(
        self, host: SessionHost, ts: int, runs: Mapping[CacheEntry, QueryRun] = _NO_RUNS
    ) -> None:
        """One session's Transition to `ts`, if all its queries hold there; `runs`: some of them, at
        that very moment.
        """
        session = host.session
        waits = session.update_due and not session.updating
        if not host.is_open or not host.is_writable or waits:
            return
        if ts < max(session.ts, session.least_ts) or not host.identity_holds():
            return
        outcomes: dict[int, QueryOutcome] = {}
        newer = []
        for query_id, entry in host.queries.items():
            run, is_shown = runs.get(entry), query_id not in host.changed
            if entry.is_valid_at(ts) and (is_shown or entry.outcome is not None):
                if not is_shown and entry.outcome is not None:
                    outcomes[query_id] = entry.outcome
            elif run is not None and (
                entry.identity_observed  # so all its listeners are of its identity
                or not run.identity_observed
                or host.identity.cache_key == entry.identity.cache_key
            ):
                outcomes[query_id] = run.outcome
                if run.outcome.digest != entry.last_digest:
                    newer.append(query_id)
            else:
                return
        outcomes = self.shown(host, outcomes, ts)
        host.missed = missed_max(host) if runs else 0  # it will be left behind again soon
        host.changed.clear()
        if newer:
            host.changed.update(dict.fromkeys(newer))
            self.schedule(host)
        server_ts = self._node.clock.now_ns()
        if session.updating:
            frames = session.finish_update(ts, outcomes, server_ts)
        else:
            frames = session.push(ts, outcomes.items(), server_ts)
        host.send(ts, *frames)
        if session.update_due:
            self.schedule(host)

    def shown(
        self, host: SessionHost, outcomes: dict[int, QueryOutcome], ts: int
    ) -> dict[int, QueryOutcome]:
        """What this session is shown of these outcomes, now that it is."""
        for query_id in outcomes:
            if (entry := host.queries[query_id]).audits:
                report_shown(self._node, entry.key.path, entry.audits, host.identity, ts)
        if self._node.redacts_errors:
            return outcomes_shown_to(host.identity, outcomes)
        return outcomes

    def abandon(self) -> None:
        if self._pass is not None:
            self._pass.end()
            self._pass = None

    def _begin(self) -> _Pass:
        stale, self._stale = self._stale, {}
        waiting, self._first, self._waiting = {**self._first, **self._waiting}, {}, {}
        return _Pass(self._node, self._runner, self, stale, waiting)


class _Pass:
    """One pass: everything in it ends up at `snapshot.ts`."""

    def __init__(
        self,
        node: Node,
        runner: QueryRunner,
        passes: Passes,
        stale: Iterable[CacheEntry],
        waiting: Iterable[SessionHost],
    ) -> None:
        self._node = node
        self._runner = runner
        self._passes = passes
        self.snapshot: Snapshot = runner.head()
        self._pinned: PinnedReader | None = None
        self.entries: collections.deque[CacheEntry] = collections.deque()
        self._queued: set[CacheEntry] = set()
        self._found: collections.deque[CacheEntry] = collections.deque()  # stale, not yet queued
        self._awaits: dict[SessionHost, int] = {}  # how many entries each of them waits for
        self._awaited_by: dict[CacheEntry, dict[SessionHost, None]] = {}
        self._ready: collections.deque[SessionHost] = collections.deque()
        self._pushed: list[SessionHost] = []  # in this slice
        self._to_show: dict[CacheEntry, QueryOutcome] = {}  # the cache may drop them meanwhile
        self._beginnings: Beginnings = {}
        self._held_max = _HELD_ENTRIES_MIN
        self._shows_audited = False  # to whom an audit log belongs
        self._server_ts = 0  # ns; one for all who are sent something in the same turn
        self._is_forming = True
        for host in waiting:
            self._admit(host)
        self._found.extend(entry for entry in stale if entry.stale)
        self._gather()
        self._is_forming = False
        for host, count in self._awaits.items():
            if not count:
                self._ready.append(host)

    @property
    def sessions(self) -> Iterable[SessionHost]:
        """Those whose Transition is still to come."""
        return self._awaits

    # ---------------------------------------------------------------- who takes part

    def _admit(self, host: SessionHost) -> None:
        """Begin a session's update: subscribe what it added, forget what it removed."""
        if not host.is_open or host in self._awaits:
            return
        if not host.is_writable or not host.identity_holds():
            return
        self._awaits[host] = 0
        if host.session.update_due:
            self._begin_update(host)
        for query_id in host.changed:
            self._hold(host.queries[query_id])
        for entry in host.queries.values():
            if entry.stale:
                self._let_wait(host, entry)

    def _begin_update(self, host: SessionHost) -> None:
        update = host.session.begin_update()
        if update is not None:
            for query_id in update.removed:
                self._unsubscribe(host, query_id)
            if update.identity_changed:
                self._change_identity(host)
            for added in update.added:
                self._subscribe(host, added)

    def _let_wait(self, host: SessionHost, entry: CacheEntry) -> None:
        """A session of this pass moves when this entry has run, and the others it waits for."""
        hosts = self._awaited_by.get(entry)
        if hosts is None:
            hosts = self._awaited_by[entry] = {}
            self._found.append(entry)
        if host not in hosts:
            hosts[host] = None
            self._awaits[host] += 1

    def _hold(self, entry: CacheEntry) -> None:
        """Keep a result that a session of this pass has not seen; run it again if it is lost."""
        if entry.outcome is not None:
            self._to_show[entry] = entry.outcome
        elif entry not in self._to_show:
            entry.stale = True

    def _gather(self) -> None:
        """Queue what was found stale. Its listeners take part, and bring along what they show."""
        while self._found:
            entry = self._found.popleft()
            if entry not in self._queued and any(
                host.is_writable and host.is_open for host, _ in entry.listeners
            ):
                self._queued.add(entry)
                self.entries.append(entry)
                self._await(entry)

    def _await(self, entry: CacheEntry) -> None:
        """All listeners that can hear of it wait for this entry."""
        for host, query_id in list(entry.listeners):  # `_admit` changes who listens
            if host in self._awaits:
                if host.queries.get(query_id) is entry:
                    self._let_wait(host, entry)
            elif self._is_forming:  # later on, it may have seen what this pass does not show
                self._admit(host)

    def _subscribe(self, host: SessionHost, added: AddedQuery) -> None:
        self._unsubscribe(host, added.query_id)
        key = self._runner.key_of(
            qualified(added.component_path or "", added.path),
            added.args,
            added.journal,
            None,
            may_call_internal=host.identity.may_call_internal,
        )
        self._listen(host, added.query_id, self._runner.entry(key, host.identity))
        host.changed[added.query_id] = None

    def _listen(self, host: SessionHost, query_id: int, entry: CacheEntry) -> None:
        self._node.cache.expect(entry)
        host.queries[query_id] = entry
        self._node.cache.listen(entry, (host, query_id))
        if entry.outcome is None:
            entry.stale = True  # its bytes were dropped for memory

    def _unsubscribe(self, host: SessionHost, query_id: int) -> None:
        entry = host.queries.pop(query_id, None)
        host.changed.pop(query_id, None)
        if entry is not None:
            self._node.cache.unlisten(entry, (host, query_id))

    def _change_identity(self, host: SessionHost) -> None:
        for query_id, entry in list(host.queries.items()):
            self._node.cache.unlisten(entry, (host, query_id))
            key = entry.key._replace(journal=entry.journal)  # its pages keep their ends
            key = self._runner.key_for(key, host.identity)
            self._listen(host, query_id, self._runner.entry(key, host.identity))
            host.changed[query_id] = None

    # ---------------------------------------------------------------- running

    def work(self, deadline_ns: int) -> bool:
        """Run queries until the deadline; complete sessions as they become ready. Returns whether
        all is done.
        """
        monotonic_ns = self._node.clock.monotonic_ns
        self._server_ts = self._node.clock.now_ns()
        try:
            while True:
                while self._ready:
                    self._complete(self._ready.popleft())
                if not self.entries:
                    return True
                if monotonic_ns() >= deadline_ns:
                    self._forget_shown()
                    return False
                self._run(self.entries.popleft())
        finally:
            self._send_pushed()

    def _run(self, entry: CacheEntry) -> None:
        if not entry.listeners:
            return
        offload = self._passes.offload
        if offload is not None and offload.takes_query(entry):
            self._leave_out(entry)
            return
        before = entry.identity_observed
        try:
            changed, run = self._runner.run_entry(entry, self.snapshot)
        except CallTooLong:
            if offload is not None:
                offload.take_query(entry)
                self._leave_out(entry)
                return
            run = self._runner.timed_out(entry, self.snapshot)
            changed = self._runner.record(entry, run)
        if run.identity_observed and not before:
            self._split_by_identity(entry)
        if entry.stale:  # a commit touched it after this pass's snapshot
            self._passes.mark_stale(entry)
        if changed:
            for host, query_id in entry.listeners:
                host.changed[query_id] = None
        if changed or any(query_id in host.changed for host, query_id in entry.listeners):
            self._to_show[entry] = entry.outcome or run.outcome
        self._release(entry)

    def _release(self, entry: CacheEntry) -> None:
        """The entry has run: the sessions that waited for nothing else are ready."""
        all_awaits = self._awaits
        for host in self._awaited_by.pop(entry, ()):
            count = all_awaits.get(host)
            if count is None:
                continue  # left out meanwhile
            all_awaits[host] = count - 1
            if count == 1:
                self._ready.append(host)

    def _leave_out(self, entry: CacheEntry) -> None:
        """A worker runs this query: sessions that show it move in a later pass, when its result is
        here.
        """
        for host, _ in entry.listeners:
            self._awaits.pop(host, None)

    def _split_by_identity(self, entry: CacheEntry) -> None:
        """The query has now looked at its caller: listeners of another identity need an entry of
        their own.
        """
        for host, query_id in list(entry.listeners):
            if host.identity.cache_key != entry.identity.cache_key:
                self._node.cache.unlisten(entry, (host, query_id))
                own = _entry_of_its_own(self._runner, entry, host)
                if own.ts > self.snapshot.ts:
                    own = CacheEntry(entry.key, host.identity)
                self._listen(host, query_id, own)
                host.changed[query_id] = None
                self._hold(own)
                if own.stale and host in self._awaits:
                    self._let_wait(host, own)
        self._gather()

    def _complete(self, host: SessionHost) -> None:
        """Send one session its Transition to this pass's timestamp."""
        session = host.session
        self._awaits.pop(host, None)
        if not host.is_open or session.closed:
            return
        ts = self.snapshot.ts
        if ts < session.ts:  # a worker's result has moved it further already
            return
        outcomes = self._outcomes(host)
        if outcomes is None or session.update_due:
            # The next pass shows it more: an answer that went out meanwhile, or a result run anew.
            self._passes.schedule(host)
            return
        if self._shows_audited or self._node.redacts_errors:
            outcomes = self._passes.shown(host, outcomes, ts)
        host.changed.clear()
        host.missed = 0
        server_ts = self._server_ts
        if session.updating:
            frames = session.finish_update(ts, outcomes, server_ts)
            if host.session.update_due:  # again, by what came meanwhile
                self._passes.schedule(host)
            if frames:
                self._node.counters["transitions"] += 1
                host.send(ts, *frames)
        elif outcomes:
            frames = session.push(ts, outcomes.items(), server_ts, self._beginnings)
            if frames:
                host.keep(ts, frames)
                self._pushed.append(host)

    def _send_pushed(self) -> None:
        """What was pushed in this slice waits for its commit as one delivery."""
        hosts, self._pushed = self._pushed, []
        if not hosts:
            return
        self._node.counters["transitions"] += len(hosts)
        self._node.outbox.put(self.snapshot.ts, partial(attempt_each, map(_delivery, hosts)))

    def _outcomes(self, host: SessionHost) -> dict[int, QueryOutcome] | None:
        """What a session may not have seen yet; None if the bytes of one were dropped for memory
        meanwhile.
        """
        outcomes: dict[int, QueryOutcome] = {}
        for query_id in host.changed:
            entry = host.queries.get(query_id)
            if entry is None:
                continue
            outcome = entry.outcome or self._to_show.get(entry)
            if entry.audits:
                self._shows_audited = True
            if outcome is None:
                entry.stale = True
                self._passes.mark_stale(entry)
                return None
            outcomes[query_id] = outcome
        return outcomes

    # ---------------------------------------------------------------- over several turns

    def _forget_shown(self) -> None:
        """Let go of texts that all sessions of this pass have been sent. Looking for them takes
        time: only when there are twice as many as were needed the last time.
        """
        if max(len(self._to_show), len(self._beginnings)) < self._held_max:
            return
        self._to_show = {e: shown for e, shown in self._to_show.items() if self._is_awaited(e)}
        needed = {id(shown) for shown in self._to_show.values()}
        needed.update(id(entry.outcome) for entry in self._to_show)
        self._beginnings = {
            place: text
            for place, text in self._beginnings.items()
            if all(id(outcome) in needed for _, outcome in place[4:])
        }
        held = max(len(self._to_show), len(self._beginnings))
        self._held_max = max(_HELD_ENTRIES_MIN, 2 * held)

    def _is_awaited(self, entry: CacheEntry) -> bool:
        """Whether a session that moves later is still to be shown this entry."""
        return any(
            host in self._awaits and query_id in host.changed for host, query_id in entry.listeners
        )

    def keep_snapshot(self) -> None:
        """The turn is over and the pass is not: hold on to what it sees."""
        if self._pinned is None:
            node = self._node
            self._pinned = node.persistence.open_snapshot()
            node.committer.write_log.open_snapshot(self.snapshot.ts)
            self.snapshot = Snapshot(self._pinned, self.snapshot.ts, self.snapshot.catalog)

    def end(self) -> None:
        if self._pinned is not None:
            self._pinned.close()
            self._node.committer.write_log.close_snapshot(self.snapshot.ts)
            self._pinned = None


def _entry_of_its_own(runner: QueryRunner, entry: CacheEntry, host: SessionHost) -> CacheEntry:
    """The entry of this session's identity, for a query that has looked at its caller."""
    own = runner.entry(entry.key, host.identity)
    if own is entry:
        own = CacheEntry(entry.key, host.identity)
    own.identity_observed = True
    return own
