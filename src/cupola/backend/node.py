"""What the parts of one running deployment share."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cupola.auth import Identity, SessionTokens
from cupola.backend.outbox import Outbox
from cupola.clock import Clock
from cupola.database.catalog import STORAGE
from cupola.database.committer import Committer, Published
from cupola.database.cursors import CursorSealer
from cupola.database.transaction import Transaction
from cupola.errors import (
    ForbiddenError,
    FunctionKindError,
    FunctionNotFoundError,
    InvalidValueError,
    PausedError,
)
from cupola.files import FileLinks
from cupola.functions.app import App
from cupola.functions.definitions import Function, Kind, Visibility
from cupola.functions.handles import handle_key
from cupola.limits import Limits
from cupola.persistence import Persistence
from cupola.reactivity import QueryCache
from cupola.runtimes.python.in_process import InProcessRuntime
from cupola.system import System
from cupola.system.registry import PREFIX
from cupola.values import decode, encode

if TYPE_CHECKING:
    from cupola.search.text_indexes import TextIndexes

State = Literal["starting", "ready", "draining", "failed"]


@dataclasses.dataclass(frozen=True, slots=True)
class ExecutionLog:
    """One run of a function, for those who watch: `cupola dev`, log streams. `caller` and
    `identity` are in the words of the log stream (spec: deploy API, section 12).
    """

    kind: str
    path: str
    request_id: str
    duration_s: float
    log_lines: list[str]
    error_message: str | None
    caller: str = "HttpApi"
    identity: str = "unknown"
    audits: Sequence[str] = ()
    """Entries of audit logs, as JSON."""
    is_cached: bool = False
    """Nothing ran: somebody was shown the result of a query, which has an audit log."""
    rows_read: Mapping[int, int] | None = None
    """By table, where somebody counts them: see `Node.transaction_type`."""

    @property
    def all_lines(self) -> list[str]:
        """What it logged, and its entries of audit logs, as lines of a kind of their own."""
        return [*self.log_lines, *(f"[AUDIT] {entry}" for entry in self.audits)]


class Node:
    """One process that serves one deployment: its parts, its state, and the counters of what it
    did.
    """

    def __init__(
        self,
        persistence: Persistence,
        committer: Committer,
        clock: Clock,
        limits: Limits,
        secret: bytes,
        runtime: InProcessRuntime,
    ) -> None:
        self.persistence = persistence
        self.committer = committer
        self.clock = clock
        self.limits = limits
        self.sealer = CursorSealer(secret)
        self.session_tokens = SessionTokens(secret)
        self.links = FileLinks(secret, STORAGE)
        self.handle_key = handle_key(secret)
        self.runtime = runtime
        self.cache = QueryCache(limits.query_cache_bytes_max, clock)
        self.outbox = Outbox(persistence.durable_ts)
        self.system = System()
        self.app = App({}, {})
        self.app.system = self.system
        self.state: State = "starting"
        self.redacts_errors = False
        self.is_paused = False
        self.wake: Callable[[], None] = lambda: None
        self.followers: list[Callable[[list[Published]], None]] = []
        self.watchers: list[Callable[[ExecutionLog], None]] = []
        self.auditors: list[Callable[[ExecutionLog], None]] = []
        """Told of executions with entries of audit logs alone."""
        self.tickers: list[Callable[[], None]] = []
        """Called about once a second."""
        self.saw_cached: Callable[[str], None] | None = None
        """Told of each query, by its path, that is answered by a result which is there."""
        self.transaction_type: type[Transaction] = Transaction
        """`CountedTransaction` while somebody wants to know which rows are read."""
        self._undecided: list[ExecutionLog] = []
        self.counters: collections.Counter[str] = collections.Counter()
        self.arguments = CanonicalArguments()
        self.text_folder: Path | None = None
        """Where the files of text indexes are; None: there are none."""
        self._text_indexes: TextIndexes | None = None

    def text_indexes(self) -> TextIndexes:
        """What text searches look into. It is loaded with the first of them."""
        if self._text_indexes is None:
            from cupola.search.text_indexes import TextIndexes

            self._text_indexes = TextIndexes(
                self.limits,
                self.text_folder,
                lambda read: read(self.persistence.reader),
                lambda: self.persistence.head_ts,
            )
        return self._text_indexes

    @property
    def head_ts(self) -> int:
        return self.persistence.head_ts

    def new_request_id(self) -> str:
        return self.clock.random_bytes(8).hex()

    def publish(self, published: list[Published]) -> None:
        """Tell everyone who follows commits; called right after their group was appended. Of a
        group in which nobody wrote there is nothing to tell.
        """
        if not published:
            return
        self.app.table_numbers.update(self.committer.catalog.numbers)
        for follower in self.followers:
            follower(published)

    def report(self, log: ExecutionLog, ts: int | None) -> None:
        """Tell watchers of an execution that shows the commit at `ts`, once that is durable.

        `ts` None: it is part of the open group, which must be decided first.
        """
        if ts is None:
            self._undecided.append(log)
            return
        for watcher in self.watchers:
            self.outbox.put(ts, partial(watcher, log))
        if log.audits:
            for auditor in self.auditors:
                self.outbox.put(ts, partial(auditor, log))

    def group_decided(self, failure: str | None = None) -> None:
        """The open group is appended, or has failed whole: now watchers may hear of it."""
        logs, self._undecided = self._undecided, []
        for log in logs:
            if failure is not None:
                log = dataclasses.replace(log, error_message=failure)
            self.report(log, self.head_ts)

    def refuse_if_paused(self, path: str) -> None:
        """Raises: PausedError: The deployment is paused, and this is a function of the app."""
        if self.is_paused and not path.startswith(PREFIX):
            raise PausedError(
                "Cannot run functions while this deployment is paused. Resume it with "
                "`cupola resume`, or in the settings of its dashboard."
            )

    def find(self, path: str, kind: Kind | None, identity: Identity, public_only: bool) -> Function:  # type: ignore[type-arg]
        """The function that a caller names.

        Raises:
            FunctionNotFoundError: It does not exist, or may not be seen by this caller.
            ForbiddenError: This caller may only run queries.
            FunctionKindError: It is of another kind.
            PausedError: No function of the app runs now.
        """
        if self.is_paused:
            self.refuse_if_paused(path)
        if path.startswith(PREFIX) and not identity.may_call_internal:
            raise ForbiddenError(
                "You do not have permission to perform this operation (functions of the system "
                "need an admin key).",
                code="OperationNotPermitted",
            )
        try:
            function = self.app.find(path)
        except FunctionNotFoundError as error:
            if public_only:
                hint = error.message.partition(".")[2]
                raise FunctionNotFoundError(
                    f"Could not find public function for '{path}'.{hint}"
                ) from None
            raise
        internal = function.visibility is Visibility.INTERNAL
        if internal and public_only and not identity.may_call_internal:
            raise FunctionNotFoundError(
                f"Could not find public function for '{path}'. Did you forget to save or deploy it?"
            )
        if identity.read_only and function.kind is not Kind.QUERY:
            raise ForbiddenError(
                "A read-only admin key can only run queries; "
                f"`{function.path}` is of kind {function.kind.value}.",
                code="OperationNotPermitted",
            )
        if kind is not None and function.kind is not kind:
            raise FunctionKindError(
                f"Trying to execute {function.path} as {kind.value}, but it is defined as "
                f"{function.kind.value}."
            )
        return function


class CanonicalArguments:
    """Argument texts to their canonical form, remembered for the small ones that come again and
    again.
    """

    _MEMORY_ENTRIES = 20_000
    _TEXT_BYTES_MAX = 1024

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {b"{}": b"{}"}

    def of(self, text: bytes) -> bytes:
        """The canonical text; a text that is no value stays itself, since it fails the same way
        each time.
        """
        known = self._known.get(text)
        if known is not None:
            return known
        try:
            canonical = encode(decode(text))
        except InvalidValueError:
            canonical = text
        if len(text) <= self._TEXT_BYTES_MAX:
            if len(self._known) >= self._MEMORY_ENTRIES:
                self._known.clear()
            self._known[text] = canonical
        return canonical


def request_id_of(session: bytes | None, request: int) -> str:
    """The id of what a session asked for in its n-th request: who knows both finds it in logs."""
    return hashlib.blake2b(b"%d" % request, digest_size=8, key=session or b"").hexdigest()


def arguments_digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()
