"""Which functions the system has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from cupola.functions.context import QueryCtx
from cupola.functions.definitions import Function, Kind, Visibility

PREFIX: Final = "_system/"

_FUNCTIONS: dict[str, Function[Any, Any]] = {}

Handler = Callable[..., Any]


def system_query(path: str) -> Callable[[Handler], Handler]:
    """Registers a query under `_system/…:name`. Parameter names are as they cross the wire."""
    return _registered(path, Kind.QUERY)


def system_mutation(path: str) -> Callable[[Handler], Handler]:
    """The same for a mutation."""
    return _registered(path, Kind.MUTATION)


def _registered(path: str, kind: Kind) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        function: Function[Any, Any] = Function(handler, kind, Visibility.INTERNAL)
        function.compile(PREFIX + path, {})
        _FUNCTIONS[function.path] = function
        return handler

    return register


class System:
    """The system's functions in one deployment, and what they tell that no table holds.

    `cloud_url`: where clients find the deployment. `site_url`: where its HTTP actions are.
    """

    def __init__(self) -> None:
        from cupola.system import (  # noqa: F401  # they register
            command_line,
            dashboard,
            deployment,
            schedules,
            scheduling,
            storage,
        )

        self.cloud_url = ""
        self.site_url = ""
        self.server_version: str | None = None

    @property
    def functions(self) -> dict[str, Function[Any, Any]]:
        """By path, such as `_system/cli/tables:default`."""
        return _FUNCTIONS


def system_of(ctx: QueryCtx) -> System:
    """The deployment's system, from inside one of its functions."""
    system = ctx._call.app.system
    assert isinstance(system, System)
    return system
