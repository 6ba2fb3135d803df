"""Queries and mutations of pushed JavaScript, run to their end by a Deno process of our own.

A call is a conversation: we send what to run; the process answers with syscalls, each of which
waits for our reply, and at last with a result or a failure. A function that calls another makes a
conversation inside the conversation. While the process computes, the clock of the call runs; while
we do, it stands still. Past a limit the process is killed, which nothing in it can prevent, and a
spare one, started beforehand, takes its place.
"""

from __future__ import annotations

import hashlib
import json
import select
import socket
import time
from functools import cache
from typing import Any

import msgspec

from cupola.errors import (
    ApplicationError,
    CupolaError,
    DeveloperError,
    LimitError,
    OperatorError,
)
from cupola.functions.bundles import Bundle
from cupola.functions.call import Call, Interrupted
from cupola.functions.context import MutationCtx, QueryCtx
from cupola.functions.definitions import Function, Kind
from cupola.functions.execution import Execution, check_arguments, execution_of, run_nested
from cupola.functions.failure import error_message, tell
from cupola.functions.javascript import JavaScriptFunction
from cupola.functions.log_lines import LogBuffer
from cupola.functions.near_limits import warn_of_time
from cupola.limits import Limits
from cupola.runtimes.python import guard
from cupola.runtimes.v8.deno import Deno, ProcessEnded, TookTooLong, host_source
from cupola.runtimes.v8.failures import JavaScriptError, for_javascript, thrown
from cupola.runtimes.v8.read_ahead import has_ids
from cupola.runtimes.v8.results import checked_result
from cupola.runtimes.v8.source_maps import SourceMaps
from cupola.runtimes.v8.syscalls import Syscalls, is_catchable
from cupola.values import decode, decode_canonical, encode

HEAP_BYTES_MAX = 128 * 2**20
"""Of one process: the documented 64 MiB of a function, and room for contexts to be collected."""
CONTEXTS_AHEAD = 2
"""So many of the module that was called last are ready (`WARM_MAX` of `host/transactions.mjs`)."""
_QUIET_MS = 1.0
_START_S = 30.0
_monotonic = time.monotonic  # bound here, before the guard of Python functions replaces it
_TIRED_BYTES = 200 * 2**20
_LOOK_S = 0.01
_STALL_FACTOR = 8  # how much longer than its time a call may take on a busy machine

WEB_NAMES = [
    *(
        "AbortController",
        "AbortSignal",
        "AsyncLocalStorage",
        "AsyncResource",
        "Blob",
        "Crypto",
        "CryptoKey",
        "CustomEvent",
    ),
    *("DOMException", "Event", "EventTarget", "File", "FormData", "Headers", "Performance"),
    *("PerformanceEntry", "PerformanceMark", "PerformanceMeasure"),
    *("ReadableStream", "ReadableStreamBYOBReader", "ReadableStreamDefaultReader"),
    *("TextDecoderStream", "TextEncoderStream", "TransformStream", "WritableStream"),
    *(
        "WritableStreamDefaultWriter",
        "Request",
        "Response",
        "SubtleCrypto",
        "TextDecoder",
        "TextEncoder",
        "URL",
    ),
    *("URLSearchParams", "atob", "btoa", "crypto", "performance", "structuredClone"),
]


@cache
def prelude() -> bytes:
    """What a host needs before anything else: the scripts that furnish contexts."""
    names = (
        *("environment", "console", "abi", "temporal", "failures", "exports"),
        *("web", "urls", "fetch", "crypto", "streams", "transforms", "performance"),
    )
    sources = {name: host_source(f"{name}.js") for name in names}
    return msgspec.json.encode({"sources": sources, "webNames": WEB_NAMES})


def bundle_frame(bundle: Bundle) -> bytes:
    """A bundle for a host. Modules that begin with "use node" never run there."""
    modules = [(m.path, m.source) for m in bundle.modules if m.environment == "isolate"]
    return json.dumps(
        {
            "modules": modules,
            "environment": bundle.environment,
            "environments": bundle.environments,
            "seed": bundle.import_seed.hex(),
            "now": bundle.import_time_ms,
        }
    ).encode()


def blank_process() -> Deno:
    """One without a bundle, which gets ready for one on its own.

    Raises:
        OperatorError: It does not start.
    """
    deno = Deno("transactions.mjs", HEAP_BYTES_MAX)
    try:
        deno.send(b"P", prelude())
    except ProcessEnded as ended:
        raise cannot_start() from ended
    return deno


class JavaScriptRuntime:
    """Runs one call at a time."""

    def __init__(self, bundle: Bundle, limits: Limits, blank: Deno | None = None) -> None:
        """`blank`: from `blank_process`, if it was started before there was a bundle."""
        self._limits = limits
        self._bundle = bundle_frame(bundle)
        self._maps = SourceMaps({module.path: module for module in bundle.modules})
        self._spare: Deno | None = None
        self._deno = self._start(blank)
        self._await_ready(self._deno)
        self.replaced = 0
        self._last_place = _largest_module(bundle)
        self._contexts_ahead = 0  # of the module that was called last, at least
        self._is_preparing = False
        self._begun: _Conversation | None = None
        self._conversation: _Conversation | None = None  # the one under way

    def _start(self, blank: Deno | None = None) -> Deno:
        """A process that loads the bundle on its own while we do other things."""
        deno = blank or blank_process()
        try:
            deno.send(b"B", self._bundle)
        except ProcessEnded as ended:
            raise cannot_start() from ended
        return deno

    def _await_ready(self, deno: Deno) -> None:
        try:
            kind, _ = deno.receive(_START_S)
        except (TookTooLong, ProcessEnded) as error:
            deno.kill()
            raise cannot_start() from error
        assert kind == b"H", kind
        deno.bound_memory()

    def _replace(self) -> None:
        """The process was hurt, or has grown: the spare takes its place."""
        self._deno.kill()
        self.replaced += 1
        self._contexts_ahead, self._is_preparing = 0, False
        deno, self._spare = self._spare, None
        if deno is not None and deno.has_ended:  # the system was short of memory, say
            deno.kill()
            deno = None
        if deno is None:
            deno = self._start()
        self._await_ready(deno)
        self._deno = deno

    # ---------------------------------------------------------------- between calls

    def rest(self, engine: socket.socket) -> None:
        """Make ready for the calls to come, until `engine` has something to say.

        Not at once: whoever waits for the answer just given needs the processor first.
        """
        if self._deno.figures.resident_bytes() > _TIRED_BYTES:
            self._replace()  # before another call meets what this one has left behind
        if self._contexts_ahead == CONTEXTS_AHEAD and self._spare is not None:
            return
        if self._contexts_ahead and _is_readable(engine.fileno(), _QUIET_MS):
            return
        try:
            if not self._prepare(engine.fileno()):
                return
        except ProcessEnded:
            self._replace()
        if self._spare is None:
            self._spare = self._start()

    def _prepare(self, engine: int) -> bool:
        """Let the process make one context after the other. False: the engine wants something."""
        more = True
        while more:
            if not self._is_preparing:
                self._deno.send(b"W", self._last_place)
                self._is_preparing = True
            if _is_readable(engine, None, self._deno.fileno()):
                return False
            _, body = self._deno.receive(_START_S)
            self._is_preparing = False
            more = body == b"more"
        self._contexts_ahead = CONTEXTS_AHEAD
        return True

    def close(self) -> None:
        self._deno.kill()
        if self._spare is not None:
            self._spare.kill()

    # ---------------------------------------------------------------- calls

    def begin(self, function: JavaScriptFunction, args: bytes, seed: bytes, now_ns: int) -> None:
        """Send a call that `run` will be asked to run next, so that its code is at work while we
        open a snapshot: what it asks until then waits. Nothing is sent if its arguments do not
        look right; with the tables of the snapshot known, `run` decides.
        """
        try:
            check_arguments(function, args, self._limits)
            conversation = self._open(function)  # if the process has gone, sending tells
            conversation.send(function, args, seed, now_ns, b"R")
        except (CupolaError, ProcessEnded):
            return
        self._begun = conversation

    def forget_begun(self) -> None:
        """The call that `begin` has sent is not run after all."""
        if self._begun is not None:
            self._begun = None
            self._replace()

    def run(self, call: Call, function: JavaScriptFunction, args: bytes) -> Execution:
        """Run a call to its end. Errors of the app and its callers are returned, not raised."""
        value: bytes | None = None
        error: Exception | None = None
        told = None
        try:
            value = self._run_whole(call, function, args)
        except CupolaError as raised:
            error = raised
            told = (
                raised.told(call.request_id)
                if isinstance(raised, JavaScriptError)
                else tell(raised, call.request_id, None)
            )
        return execution_of(call, args, value, error, told)

    def run_for_python(self, call: Call, function: JavaScriptFunction, args: bytes) -> bytes:
        """Run a function that Python calls, inside its transaction, while its guard is lifted."""
        inner = call.entering(function.component).nested(function.path, function.kind)
        mark = call.transaction.mark()
        guarded = guard.suspend()
        call.interruption.pause()
        try:
            if self._conversation is not None:  # JavaScript has called the Python that calls
                return self._conversation.run(inner, function, args, b"N")
            return self._run_whole(inner, function, args)
        except CupolaError as error:
            if function.kind is Kind.MUTATION:
                call.transaction.rollback(mark)
            if isinstance(error, JavaScriptError) and error.data is not None:
                raise ApplicationError(decode(error.data)) from None
            raise
        finally:
            call.interruption.resume()
            guard.restore(guarded)

    def _run_whole(self, call: Call, function: JavaScriptFunction, args: bytes) -> bytes:
        """One conversation from beginning to end. Returns the encoded result."""
        begun, self._begun = self._begun, None
        if begun is None and self._deno.has_ended:
            self._replace()
        conversation = self._conversation = begun or self._open(function)
        try:
            value = conversation.run(call, function, args, b"R")
            conversation.warn_of_time(call.logs)
            return value
        except (ProcessEnded, TookTooLong) as failure:
            self._replace()
            raise conversation.failure(call.path, failure) from None
        except CupolaError as error:
            if conversation.is_open:  # it still waits for an answer that will not come
                self._replace()
            raise error
        except BaseException:
            self._replace()
            raise
        finally:
            self._conversation = None

    def _open(self, function: JavaScriptFunction) -> _Conversation:
        component = f"{function.component}//" if function.component else ""
        self._last_place = f"{component}{function.module}".encode()
        self._contexts_ahead = max(self._contexts_ahead - 1, 0)
        self._is_preparing = False  # what it says when it has will come before the call's end
        return _Conversation(self._deno, self._limits, self._maps)


class _Conversation:
    """One top-level call, those nested in it included, and the time it has left."""

    def __init__(self, deno: Deno, limits: Limits, maps: SourceMaps) -> None:
        self._deno = deno
        self._limits = limits
        self._maps = maps
        self._left_s = limits.user_time_s
        self._started = _monotonic()
        self._used_before_s = 0.0
        self._runs = 0  # each of them has randomness of its own
        self._brings_documents = False  # the run that was sent last: a frame with some follows
        self.is_open = False
        self._lost: BaseException | None = None  # why the process waits for an answer for ever

    def run(self, call: Call, function: JavaScriptFunction, args: bytes, kind: bytes) -> bytes:
        with call.transaction.within(function.component):
            return self._run(call, function, args, kind)

    def _run(self, call: Call, function: JavaScriptFunction, args: bytes, kind: bytes) -> bytes:
        transaction = call.transaction
        is_sent = kind == b"R" and self.is_open
        if not is_sent:  # JavaScript decodes the text itself
            check_arguments(function, args, call.limits, unresolved=transaction.awaits_commit)
        try:
            if not is_sent:
                self.send(function, args, call.seed, call.now_ns, kind)
            result = self._converse(call, args)
        except BaseException as error:
            self._lost = error
            raise
        if kind == b"R":
            self.is_open = False
        if isinstance(result, CupolaError):
            raise result
        call.app.table_numbers.update(transaction.catalog.numbers)  # some may be new
        transaction.note_unresolved(result)
        unresolved = transaction.awaits_commit
        return checked_result(function, result, call.limits, unresolved=unresolved)

    def send(
        self, function: JavaScriptFunction, args: bytes, seed: bytes, now_ns: int, kind: bytes
    ) -> None:
        """Let the process begin with a call. Raises ProcessEnded."""
        self._runs += 1
        self._brings_documents = has_ids(args)
        request = {
            "run": self._runs,
            "bringsDocuments": self._brings_documents,
            "path": function.module,
            "component": function.component,
            "name": function.name,
            "kind": function.kind.value,
            "args": f"[{args.decode()}]",
            "seed": hashlib.blake2b(seed + b"%d" % self._runs, digest_size=32).hexdigest(),
            "now": now_ns // 1_000_000,
        }
        self._deno.send(kind, msgspec.json.encode(request))
        if not self.is_open:
            self.is_open = True
            self._used_before_s = self._deno.figures.processor_s()  # while it works already

    def _converse(self, call: Call, args: bytes) -> bytes | CupolaError:
        """Answer syscalls until the function that `call` runs has ended."""
        syscalls = Syscalls(call, self, args if self._brings_documents else b"")
        deno = self._deno
        if self._brings_documents:
            deno.send(b"D", b"%d\n%b" % (self._runs, syscalls.documents_ahead()))
        while True:
            kind, body = self._receive()
            if kind == b"S":
                deno.send(self._answer(syscalls, body))
            elif kind == b"V":
                return syscalls.too_much or body
            elif kind == b"U":
                syscalls.read(body.decode())
            elif kind == b"L":
                level, _, text = body.decode("utf-8", "replace").partition(" ")
                call.logs.add(level, text)
            elif kind == b"T":
                call.observe_time()
            elif kind == b"E":
                return thrown(body, self._maps)
            elif kind != b"W":  # it was making contexts when the call came
                raise OperatorError(f"Deno said {kind!r}.", code="InternalServerError")

    def _answer(self, syscalls: Syscalls, body: bytes) -> bytes:
        op, _, arguments = body.partition(b"\n")
        try:
            return syscalls.answer(op.decode("utf-8", "replace"), arguments)
        except CupolaError as error:
            if not is_catchable(error):
                raise
            return b"1" + for_javascript(error)

    def _receive(self) -> tuple[bytes, bytes]:
        """The next frame, if it comes within the time that is left.

        Raises:
            TookTooLong, ProcessEnded
        """
        while True:
            since = _monotonic()
            try:
                frame = self._deno.receive(self._left_s)
            except TookTooLong:
                self._look_at_time()
                continue
            self._left_s -= _monotonic() - since
            if self._left_s <= 0:
                self._look_at_time()
            return frame

    def _look_at_time(self) -> None:
        """The time is up by the clock. On a busy machine the process may have waited for a
        processor: what it has used counts, and the clock only at last.
        """
        limit_s = self._limits.user_time_s
        used_s = self._deno.figures.processor_s() - self._used_before_s
        if used_s >= limit_s or _monotonic() - self._started > limit_s * _STALL_FACTOR:
            raise TookTooLong
        self._left_s = max(limit_s - used_s, _LOOK_S)

    def warn_of_time(self, logs: LogBuffer) -> None:
        limits = self._limits
        warn_of_time(logs, limits, "user_time_s", limits.user_time_s - self._left_s)

    def failure(self, path: str, failure: ProcessEnded | TookTooLong) -> CupolaError:
        """The documented error of a call that was ended."""
        if isinstance(failure, TookTooLong):
            return DeveloperError(
                "Function execution timed out (maximum duration: "
                f"{self._limits.user_time_s:g}s). `{path}` took too long: do less per call, or "
                "move the work to an action.",
                code="FunctionTimeout",
            )
        return LimitError(
            f"`{path}` ended its process; most likely it ran out of memory (maximum memory usage: "
            "64 MB). Read and build less per call.",
            code="FunctionOutOfMemory",
        )

    # ---------------------------------------------------------------- nested calls

    def run_nested(self, call: Call, function: Function[Any, Any], args: bytes) -> bytes:
        """Run a function inside the caller's transaction; a failed mutation's writes are undone."""
        if not isinstance(function, JavaScriptFunction):
            try:
                return self._run_python(call.entering(function.component), function, args)
            finally:
                if self._lost is not None:  # in a function that Python called: it cannot catch this
                    raise self._lost
        inner = call.entering(function.component).nested(function.path, function.kind)
        mark = call.transaction.mark()
        try:
            return self.run(inner, function, args, b"N")
        except CupolaError:
            if function.kind is Kind.MUTATION:
                call.transaction.rollback(mark)
            raise

    def _run_python(self, call: Call, function: Function[Any, Any], args: bytes) -> bytes:
        """Raises DeveloperError in place of whatever it raises that is no error of ours."""
        context = MutationCtx if function.kind is Kind.MUTATION else QueryCtx
        arguments: Any = decode_canonical(args)
        with call.transaction.within(function.component):
            try:
                return encode(run_nested(call, function, arguments, context))
            except (CupolaError, Interrupted):
                raise
            except BaseException as raised:
                error = raised
            folder = call.app.folder  # what the error says of itself is code of the app
            text = call.invoke(call, lambda: error_message(error, call.request_id, folder))
        _, _, what = text.partition("\n")
        raise DeveloperError(what, code="FunctionFailed") from error


def _largest_module(bundle: Bundle) -> bytes:
    """The module to be ready for before anything was called: what takes longest to compile."""
    modules = [m for m in bundle.modules if m.environment == "isolate" and not m.is_dependency]
    largest = max(modules, key=lambda module: len(module.source), default=None)
    return b"" if largest is None else largest.path.encode()


def _is_readable(descriptor: int, wait_ms: float | None, other: int | None = None) -> bool:
    """Whether it is, once the time is up (None: there is no end to it) or `other` is readable."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if other is not None:
        poll.register(other, select.POLLIN)
    return any(ready == descriptor for ready, _ in poll.poll(wait_ms))


def cannot_start() -> OperatorError:
    """Why there is no process."""
    return OperatorError(
        "The process for JavaScript does not start; set CUPOLA_DENO_STDERR=1 and look at what it "
        "prints.",
        code="NoJavaScriptRuntime",
    )
