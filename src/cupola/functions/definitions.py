"""What a server function is: its kind, who may call it, and what it takes and returns.

    @query
    def list(ctx: QueryCtx, channel: str) -> Sequence[Message]: ...

Type hints are the validators. A decorated function is a `Function`; calling it from other Python
code is a plain call of what is inside, in the same transaction and without validation.
"""

from __future__ import annotations

import abc
import enum
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, ParamSpec, TypeVar

from cupola.errors import FunctionNotFoundError, SchemaError
from cupola.schema import Codec, ParameterCodec, Table, return_codec_of

P = ParamSpec("P")
R = TypeVar("R", covariant=True)


class Kind(enum.Enum):
    QUERY = "query"
    MUTATION = "mutation"
    ACTION = "action"


class Visibility(enum.Enum):
    PUBLIC = "public"
    INTERNAL = "internal"


class Function(Generic[P, R]):
    """A server function as its module defines it. Loading the app compiles it, under a path."""

    exchanges_api_keys = False
    """Whether it takes the `secret_hash` of an API key, and returns a `token` of its user or None.
    """
    component = ""
    """The component that it belongs to; "": the app itself."""
    is_systems = False
    """Whether the deployment brings it along, whatever its app."""

    def __init__(self, handler: Callable[P, R], kind: Kind, visibility: Visibility) -> None:
        functools.update_wrapper(self, handler)
        self.handler = handler
        self.kind = kind
        self.visibility = visibility
        self.path = ""
        self.parameters: ParameterCodec
        self.returns: Codec | None = None
        self.check_arguments: Callable[[Any], None]
        self.check_result: Callable[[Any], None]
        _require_right_form(handler, kind)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.handler(*args, **kwargs)

    def __repr__(self) -> str:
        return (
            f"<{self.visibility.value} {self.kind.value} {self.path or self.handler.__qualname__}>"
        )

    def compile(self, path: str, tables: Mapping[str, int]) -> None:
        """Build codecs and checks once, so that a bad hint fails the push and not the first call.

        `tables`: table name to number, read at each check of an id.

        Raises:
            SchemaError: A type hint that no value can have.
        """
        self.path = path
        self.parameters = ParameterCodec(self.handler, path)
        self.returns = return_codec_of(self.handler, path)
        self.check_arguments = self.parameters.validator.checker(tables)
        if self.returns is not None:
            self.check_result = self.returns.validator.checker(tables)


class FunctionGroup(abc.ABC):
    """Functions and tables that a library brings along.

    A module of an app that holds such an object defines them: `users = PasswordUsers()` in
    `functions/auth.py` makes `auth:sign_in`.
    """

    tables: Sequence[type[Table]] = ()

    @property
    @abc.abstractmethod
    def functions(self) -> Mapping[str, Function[Any, Any]]:
        """By name; asked once when the app is loaded."""


def path_of(function: Function[Any, Any] | str) -> str:
    if isinstance(function, Function):
        return function.path
    if isinstance(function, str):
        return function
    raise FunctionNotFoundError(
        f'Functions are called by reference or by path such as "messages:list", not {function!r}.'
    )


def _require_right_form(handler: Callable[..., Any], kind: Kind) -> None:
    is_async = inspect.iscoroutinefunction(handler)
    name = handler.__qualname__
    if kind is Kind.ACTION and not is_async:
        raise SchemaError(
            f"Action `{name}` must be an `async def`: actions may wait for the outside world.",
            code="BadFunction",
        )
    if kind is not Kind.ACTION and (is_async or inspect.isasyncgenfunction(handler)):
        raise SchemaError(
            f"`{name}` is a {kind.value} and must be a plain `def`: it waits for nothing but the "
            "database, which is local. Only actions are `async def`.",
            code="BadFunction",
        )
    if kind is not Kind.ACTION and inspect.isgeneratorfunction(handler):
        raise SchemaError(
            f"`{name}` yields; a {kind.value} returns its result, for example as a list.",
            code="BadFunction",
        )


def query(handler: Callable[P, R]) -> Function[P, R]:
    """A public query: a pure function of its arguments and the data, cached and live."""
    return Function(handler, Kind.QUERY, Visibility.PUBLIC)


def mutation(handler: Callable[P, R]) -> Function[P, R]:
    """A public mutation: one transaction, all or nothing."""
    return Function(handler, Kind.MUTATION, Visibility.PUBLIC)


def action(handler: Callable[P, R]) -> Function[P, R]:
    """A public action: may do I/O, and reaches the data through queries and mutations."""
    return Function(handler, Kind.ACTION, Visibility.PUBLIC)


def internal_query(handler: Callable[P, R]) -> Function[P, R]:
    """A query that only other functions and admins can call."""
    return Function(handler, Kind.QUERY, Visibility.INTERNAL)


def internal_mutation(handler: Callable[P, R]) -> Function[P, R]:
    """A mutation that only other functions and admins can call."""
    return Function(handler, Kind.MUTATION, Visibility.INTERNAL)


def internal_action(handler: Callable[P, R]) -> Function[P, R]:
    """An action that only other functions and admins can call."""
    return Function(handler, Kind.ACTION, Visibility.INTERNAL)
