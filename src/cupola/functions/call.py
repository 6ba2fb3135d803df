"""One call while it runs: everything its `ctx` needs, and what it leaves behind."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from cupola.auth import Identity, SessionTokens
from cupola.database.catalog import Index
from cupola.database.cursors import END, CursorSealer
from cupola.database.documents import StoredDocument
from cupola.database.pagination import PageRequest, PageResult, read_page
from cupola.database.ranges import KeyRange
from cupola.database.transaction import Transaction
from cupola.files import FileLinks
from cupola.functions.log_lines import LogBuffer
from cupola.limits import Limits

if TYPE_CHECKING:
    from cupola.functions.app import App
    from cupola.functions.definitions import Kind
    from cupola.functions.javascript import JavaScriptFunction
    from cupola.search.text_indexes import TextIndexes


class Interrupted(BaseException):
    """Raised inside user code to end a call, whose outcome then counts for nothing."""


class NeedsWorker(Interrupted):
    """The call runs a function of another language, which only workers can."""


class Interruption(Protocol):
    """Who may cut a call short, and must not do so while the engine is at work inside it."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class NoInterruption:
    """Nobody cuts this call short."""

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass


NEVER_INTERRUPTED = NoInterruption()

Invoke = Callable[["Call", Callable[[], Any]], Any]
"""Runs user code for a call: a runtime puts its guard and time budget around it."""


RunJavaScript = Callable[["Call", "JavaScriptFunction", bytes], bytes]
"""Runs a pushed function inside the caller's transaction; takes and gives encoded JSON."""


_NO_LOGS = LogBuffer()  # replaced by one with the deployment's limits


def invoke_plainly(call: Call, code: Callable[[], Any]) -> Any:
    return code()


@dataclasses.dataclass(slots=True)
class Call:
    """A query or mutation with its transaction. Nested calls share all but the kind and the log
    prefix.
    """

    app: App
    path: str
    kind: Kind
    transaction: Transaction
    identity: Identity
    now_ns: int
    seed: bytes
    request_id: str
    limits: Limits
    sealer: CursorSealer
    session_tokens: SessionTokens | None = None
    journal: str | None = None
    invoke: Invoke = invoke_plainly
    run_javascript: RunJavaScript | None = None
    interruption: Interruption = NEVER_INTERRUPTED
    logs: LogBuffer = _NO_LOGS
    parent: Call | None = None
    depth: int = 0
    numbers: Iterator[int] = dataclasses.field(default_factory=itertools.count)
    """Tells nested calls apart, however deep: those of one function draw other random numbers."""
    identity_observed: bool = False
    time_observed: bool = False
    next_journal: str | None = None
    paginated: bool = False
    job: str | None = None
    """The scheduled job that this call is part of."""
    completes_job: bool = False
    links: FileLinks | None = None
    text_indexes: Callable[[], TextIndexes] | None = None

    def __post_init__(self) -> None:
        if self.logs is _NO_LOGS:
            self.logs = LogBuffer(self.limits)

    def nested(self, path: str, kind: Kind) -> Call:
        """A call made by this one, inside its transaction."""
        name = b"%d %b" % (next(self.numbers), path.encode())
        seed = hashlib.blake2b(name, key=self.seed[:32], digest_size=16).digest()
        return dataclasses.replace(
            self,
            path=path,
            kind=kind,
            seed=seed,
            logs=self.logs,
            parent=self,
            depth=self.depth + 1,
            journal=None,
            next_journal=None,
            paginated=False,
        )

    def entering(self, component: str) -> Call:
        """This call as a function of `component` sees it: who calls is known inside the app only,
        and to nobody whom a component calls.
        """
        if component == self.component == "" or self.identity.attributes is None:
            return self
        hidden = self.identity.without_user()
        return dataclasses.replace(self, identity=hidden, logs=self.logs, parent=self)

    @property
    def component(self) -> str:
        """The component whose function runs; "": the app's own."""
        return self.transaction.component

    def read_page(
        self,
        place: tuple[Index, KeyRange] | None,
        *,
        descending: bool,
        keep: Callable[[StoredDocument], bool] | None,
        request: PageRequest,
        plan: bytes,
    ) -> PageResult:
        """The page of this call, whose end goes into its journal. `place`: None for a table that is
        yet to come.

        Raises:
            InvalidCursorError, DatabaseUseError: See `database.pagination.read_page`.
        """
        if place is None:
            end = self.sealer.seal(END, plan)
            result = PageResult([], True, end, None, None, end)
        else:
            result = read_page(
                self.transaction,
                *place,
                descending=descending,
                keep=keep,
                request=request,
                journal=self.journal,
                plan=plan,
                sealer=self.sealer,
            )
        self.next_journal = result.journal
        return result

    def observe_identity(self) -> None:
        """The result depends on who calls: it may be shared only among equal identities."""
        call: Call | None = self
        while call is not None:
            call.identity_observed = True
            call = call.parent

    def observe_time(self) -> None:
        """The result depends on when it was computed: it is not shared for ever."""
        call: Call | None = self
        while call is not None:
            call.time_observed = True
            call = call.parent
