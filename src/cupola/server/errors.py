"""Errors as HTTP answers (the HTTP API, section 9)."""

import logging

import orjson

from cupola.errors import (
    BadRequestError,
    ClientError,
    ConflictError,
    CupolaError,
    InvalidPathError,
    OperatorError,
)

logger = logging.getLogger("cupola.server")

# A failed call is HTTP 200 with `status: "error"`, unless its error is about the transport.
TRANSPORT_ERRORS = (InvalidPathError, ClientError, ConflictError, OperatorError)


class InternalError(CupolaError):
    """A bug of ours, as peers see it."""


class NotFoundError(ClientError):
    code = "NotFound"
    http_status = 404


class MethodNotAllowedError(ClientError):
    code = "MethodNotAllowed"
    http_status = 405


class RequestTimeoutError(ClientError):
    code = "RequestTimeout"
    http_status = 408


class BodyTooLargeError(ClientError):
    """`unread` says that the rest of the body is still on its way: the connection must end."""

    code = "BodyTooLarge"
    http_status = 413

    def __init__(self, message: str, *, unread: bool = False) -> None:
        super().__init__(message)
        self.unread = unread


def bad_json(reason: object) -> BadRequestError:
    return BadRequestError(f"The request body is not as expected: {reason}.", code="BadJsonBody")


def error_body(error: CupolaError) -> bytes:
    """`{"code": …, "message": …}`, the form that all clients look for."""
    return orjson.dumps({"code": error.code, "message": _encodable(error.message)})


def internal_error(error: BaseException) -> CupolaError:
    """What a peer may know of a bug of ours, which goes to the log with its traceback."""
    logger.error("Internal server error", exc_info=error)
    return InternalError("Your request couldn't be completed. Try again later.")


def _encodable(text: str) -> str:
    """The text without lone surrogates, which an error may quote from bad input."""
    return text.encode("utf-8", "replace").decode()
