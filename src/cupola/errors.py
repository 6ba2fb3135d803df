"""Every error raised on purpose: one small tree, sorted by who must act.

    CupolaError                   code: stable CamelCase, crosses the wire; http_status; message
    ├── DeveloperError            the app's code or schema: the same call fails the same way
    │   ├── ApplicationError      raised by the app itself, with data for its client
    │   ├── FunctionNotFoundError, FunctionKindError
    │   ├── ArgumentValidationError, ReturnsValidationError
    │   ├── SchemaError           a definition that makes no sense, or data that does not match it
    │   ├── InvalidValueError, InvalidIdError, InvalidCursorError
    │   ├── AuthConfigError          providers of users' tokens that make no sense
    │   ├── DatabaseUseError      a table, index or document used in a way that cannot work
    │   ├── UniqueViolationError, ReferenceViolationError
    │   ├── LimitError            a documented bound of functions, documents or transactions
    │   └── DeterminismError      something a query or mutation may not do
    ├── ClientError               the peer: bad request, bad credentials, broken protocol
    │   ├── BadRequestError, UnauthenticatedError, ForbiddenError, FileTooLargeError
    │   └── ProtocolError         a broken sync conversation
    ├── ConflictError             nobody: the runner retries
    └── OperatorError             the operator: no disk, no database, a bound reached
        ├── PersistenceError, FileStoreError, OverloadedError, PausedError
        └── OutOfRetentionError

Anything else that escapes is a bug of ours: it is logged with its traceback and shown to clients
only as InternalServerError. A message names the thing and the next step.
"""

from typing import Any, ClassVar


class CupolaError(Exception):
    """An error raised on purpose. `code` is stable and may be matched on."""

    code: str = "InternalServerError"
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.code, self.__dict__))


def _rebuild(
    kind: type[CupolaError], message: str, code: str, state: dict[str, Any]
) -> CupolaError:
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    error.__dict__.update(state)
    error.code = code
    return error


# --------------------------------------------------------------------------- the developer must act


class DeveloperError(CupolaError):
    """The app's code or schema is at fault: the same call fails the same way."""

    code = "DeveloperError"
    http_status = 400


class ApplicationError(DeveloperError):
    """Raised by an app to tell its client something, as `ConvexError` does.

    `data` is any Cupola value; it reaches the client whole, in production too.

        raise ApplicationError({"code": "RoomFull", "limit": 20})
    """

    code = "ApplicationError"

    def __init__(self, data: Any) -> None:
        super().__init__(data if isinstance(data, str) else repr(data))
        self.data = data


class FunctionNotFoundError(DeveloperError):
    code = "FunctionNotFound"
    http_status = 404


class FunctionKindError(DeveloperError):
    """A function was called as another kind than it is."""

    code = "FunctionPathWrongType"


class ArgumentValidationError(DeveloperError):
    code = "ArgumentValidationError"


class ReturnsValidationError(DeveloperError):
    code = "ReturnsValidationError"


class SchemaError(DeveloperError):
    """A schema that makes no sense, or a document that does not match its table."""

    code = "SchemaEnforcementError"


class AuthConfigError(DeveloperError):
    """A declaration of who issues users' tokens that makes no sense."""

    code = "InvalidAuthConfig"


class InvalidValueError(DeveloperError):
    """Something that is no Cupola value, or breaks a limit of values (spec: values, section 3)."""

    code = "InvalidValue"


class InvalidIdError(DeveloperError):
    code = "InvalidId"


class InvalidCursorError(DeveloperError):
    """A pagination cursor or journal that this query did not make. Clients look for the code in the
    text.
    """

    code = "InvalidCursor"


class DatabaseUseError(DeveloperError):
    """A table, index or document used in a way that cannot work."""

    code = "DatabaseUseError"


class UniqueViolationError(DeveloperError):
    """A write would give two documents the same values in a unique index.

    `document_id` is the document that has them already.
    """

    code = "UniqueViolation"

    def __init__(self, message: str, *, table: str, index: str, document_id: str) -> None:
        super().__init__(message)
        self.table = table
        self.index = index
        self.document_id = document_id


class ReferenceViolationError(DeveloperError):
    """A write would leave a reference that leads nowhere.

    `table` and `field` are the reference, `document_id` the document that holds it.
    """

    code = "ReferenceViolation"

    def __init__(self, message: str, *, table: str, field: str, document_id: str) -> None:
        super().__init__(message)
        self.table = table
        self.field = field
        self.document_id = document_id


class LimitError(DeveloperError):
    """A documented bound was passed. `code` and message name it."""

    code = "LimitExceeded"


class DeterminismError(DeveloperError):
    """A query or mutation tried something whose outcome does not depend on its arguments and the
    data alone.
    """

    code = "NotDeterministic"


class InvalidPathError(DeveloperError):
    """A text that is no path to a function at all."""

    code = "BadConvexFunctionIdentifier"


# ------------------------------------------------------------------------------- the peer must act


class ClientError(CupolaError):
    """The peer is at fault: bad arguments, bad credentials, broken protocol."""

    code = "BadRequest"
    http_status = 400


class BadRequestError(ClientError):
    code = "BadRequest"


class UnauthenticatedError(ClientError):
    code = "Unauthenticated"
    http_status = 401


class ForbiddenError(ClientError):
    code = "Forbidden"
    http_status = 403


class FileTooLargeError(ClientError):
    code = "FileTooLarge"
    http_status = 413


class ProtocolError(ClientError):
    """A broken sync conversation: the server answers FatalError and closes."""

    code = "ProtocolError"


# -------------------------------------------------------------------------------------- nobody acts


class ConflictError(CupolaError):
    """A later commit wrote inside the read set: run again. Seen only if all retries fail."""

    code = "OptimisticConcurrencyControlFailure"
    http_status = 503


# --------------------------------------------------------------------------- the operator must act


class OperatorError(CupolaError):
    """The machine or a bound of the deployment: disk, memory, queue."""

    code = "OperatorError"
    http_status = 503


class PersistenceError(OperatorError):
    """The log could not be read or written. Nothing was acknowledged that is not durable."""

    code = "PersistenceError"


class FileStoreError(OperatorError):
    """The place of stored files is full, cannot be reached, or has lost one."""

    code = "FileStoreError"


class OverloadedError(OperatorError):
    """A queue is full; `code` names it. The same call may work later."""

    code = "Overloaded"


class PausedError(OperatorError):
    """The deployment is paused: no function of the app runs."""

    code = "BackendIsNotRunning"


class OutOfRetentionError(OperatorError):
    code = "OutOfRetention"


class ConfigurationError(OperatorError):
    """A setting, folder or command line that cannot work."""

    code = "ConfigurationError"
