"""How a call runs: decode, bind, invoke, validate, encode."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cupola.errors import (
    ArgumentValidationError,
    DeveloperError,
    InvalidValueError,
    LimitError,
    ReturnsValidationError,
)
from cupola.functions.call import Call, Interrupted, NeedsWorker
from cupola.functions.conversion import value_of
from cupola.functions.definitions import Function, Kind
from cupola.functions.failure import Told, tell
from cupola.functions.javascript import JavaScriptFunction
from cupola.functions.near_limits import warn_of_sizes, warn_of_usage
from cupola.limits import Limits
from cupola.values import Value, decode, decode_canonical, encode, size_of


@dataclasses.dataclass(slots=True)
class Execution:
    """What one run of a function came to. Exactly one of `value` and `error` is set."""

    value: bytes | None
    error: BaseException | None
    log_lines: list[str]
    identity_observed: bool = False
    journal: str | None = None
    told: Told | None = None
    time_observed: bool = False
    audits: Sequence[str] = ()
    """Entries of audit logs, see `functions.audit_logs`."""

    def failure(self, request_id: str, folder: Path | None) -> Told:
        """What failed, in words. What the app raised was told while the call still ran."""
        if self.told is not None:
            return self.told
        assert self.error is not None
        return tell(self.error, request_id, folder)


MakeContext = Callable[[Call], Any]


def execute(
    call: Call, function: Function[Any, Any], args: bytes, context: MakeContext
) -> Execution:
    """Run a query or mutation in its transaction. Errors of the app and its callers are returned,
    not raised.
    """
    value: bytes | None = None
    error: BaseException | None = None
    told: Told | None = None

    def run() -> bytes:
        nonlocal told
        try:
            return _run(call, function, context(call), args)
        except Interrupted:
            raise
        except BaseException as raised:  # its text is code of the app: part of what is bounded
            told = tell(raised, call.request_id, call.app.folder)
            raise

    try:
        value = call.invoke(call, run)
    except Interrupted:
        raise
    except BaseException as raised:  # whatever user code raises, SystemExit too, is its result
        if isinstance(raised, KeyboardInterrupt) and _comes_from_the_keyboard():
            raise
        error = raised
    return execution_of(call, args, value, error, told)


def execution_of(
    call: Call, args: bytes, value: bytes | None, error: BaseException | None, told: Told | None
) -> Execution:
    """What a top-level call has come to and leaves behind, warnings of limits included."""
    warn_of_usage(call.transaction.usage, call.logs)
    warn_of_sizes(call.logs, call.limits, args, value)
    return Execution(
        value,
        error,
        call.logs.lines,
        call.identity_observed,
        call.next_journal,
        told,
        call.time_observed,
        call.logs.audits,
    )


def _comes_from_the_keyboard() -> bool:
    """Whether Ctrl-C raises KeyboardInterrupt in this process: servers handle it otherwise."""
    return signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _run(call: Call, function: Function[Any, Any], ctx: Any, args: bytes) -> bytes:
    # This may run validators of the app's own types.
    kwargs = bind_arguments(function, args, call.limits, unresolved=call.transaction.awaits_commit)
    return encode_result(function, function.handler(ctx, **kwargs), call.limits)


def run_nested(
    call: Call, function: Function[Any, Any], args: dict[str, Any], context: MakeContext
) -> Any:
    """Run a function inside the caller's transaction; a failed mutation's writes are undone.

    Raises:
        NeedsWorker: It is JavaScript, and this process runs none.
    """
    if isinstance(function, JavaScriptFunction):
        if call.run_javascript is None:
            raise NeedsWorker
        return decode_canonical(call.run_javascript(call, function, encode_arguments(args)))
    inner = call.nested(function.path, function.kind)
    mark = call.transaction.mark()
    try:
        data = encode_arguments(args)
        value = inner.invoke(inner, lambda: _run(inner, function, context(inner), data))
    except BaseException:
        call.interruption.pause()
        try:
            if function.kind is Kind.MUTATION:
                call.transaction.rollback(mark)
        finally:
            call.interruption.resume()
        raise
    return decode_result(function, value)


def bind_arguments(
    function: Function[Any, Any], args: bytes, limits: Limits, *, unresolved: bool = False
) -> dict[str, Any]:
    """Encoded JSON of the arguments object to Python keyword arguments.

    Raises:
        ArgumentValidationError: They do not match the function's type hints.
    """
    value = check_arguments(function, args, limits, unresolved=unresolved)
    try:
        return function.parameters.bind(value)
    except DeveloperError as error:
        raise ArgumentValidationError(f"ArgumentValidationError: {error.message}") from error


def check_arguments(
    function: Function[Any, Any], args: bytes, limits: Limits, *, unresolved: bool = False
) -> dict[str, Any]:
    """Decode an arguments object and hold it against the function's validator. `unresolved`: as in
    `values.decode`.

    Raises:
        ArgumentValidationError: They do not match.
    """
    if len(args) > limits.arguments_size_bytes_max * 2:
        raise _arguments_too_large(limits)
    try:
        value = decode(args, unresolved=unresolved)
    except InvalidValueError as error:
        raise ArgumentValidationError(f"ArgumentValidationError: {error.message}") from error
    if len(args) > limits.arguments_size_bytes_max < size_of(value):
        raise _arguments_too_large(limits)
    if not isinstance(value, dict):
        raise ArgumentValidationError(
            f"ArgumentValidationError: `{function.path}` takes one object of named arguments, "
            f"not {type(value).__name__}."
        )
    try:
        function.check_arguments(value)
    except DeveloperError as error:
        raise ArgumentValidationError(f"ArgumentValidationError: {error.message}") from error
    return value


def _arguments_too_large(limits: Limits) -> LimitError:
    return LimitError(
        f"The arguments are larger than {limits.arguments_size_bytes_max:,} bytes; "
        "store large data in documents or files and pass ids.",
        code="ArgumentsTooLarge",
    )


def encode_arguments(args: Mapping[str, Any]) -> bytes:
    """Python keyword arguments of a nested call to encoded JSON."""
    return encode({name: value_of(item) for name, item in args.items()})


def encode_result(function: Function[Any, Any], result: Any, limits: Limits) -> bytes:
    """A handler's return value to encoded JSON.

    Raises:
        ReturnsValidationError: It does not match the declared return type.
        InvalidValueError: It is nothing that can cross the wire.
    """
    codec = function.returns
    try:
        if codec is None:
            data = encode(value_of(result))
        else:
            value = codec.to_value(result)
            function.check_result(value)
            data = encode(value)
    except InvalidValueError as error:
        raise InvalidValueError(
            f"`{function.path}` returned something that cannot be sent: {error.message}",
            code=error.code,
        ) from error
    except DeveloperError as error:
        raise ReturnsValidationError(f"ReturnsValidationError: {error.message}") from error
    if len(data) > limits.result_size_bytes_max:
        raise LimitError(
            f"`{function.path}` returned {len(data):,} bytes; the limit is "
            f"{limits.result_size_bytes_max:,}. Return less, or paginate.",
            code="ResultTooLarge",
        )
    return data


def decode_result(function: Function[Any, Any], data: bytes) -> Any:
    """Encoded JSON of a result, for a caller in Python."""
    value: Value = decode_canonical(data)
    codec = function.returns
    return value if codec is None or codec.identity else codec.to_python(value)
