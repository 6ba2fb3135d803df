"""Which functions the system has.

Those that take a component's id (`componentId`: its path; null is the app) look at its tables, as
all do that are called with a component's path.
"""

from __future__ import annotations

import functools
import inspect
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
        function: Function[Any, Any] = Function(_scoped(handler), kind, Visibility.INTERNAL)
        function.is_systems = True
        function.compile(PREFIX + path, {})
        _FUNCTIONS[function.path] = function
        return handler

    return register


def _scoped(handler: Handler) -> Handler:
    named = {"componentId", "tableNamespace"} & inspect.signature(handler).parameters.keys()
    if not named:
        return handler

    @functools.wraps(handler)
    def look(ctx: QueryCtx, **args: Any) -> Any:
        component = next((args[name] for name in named if args.get(name)), None)
        transaction = ctx._call.transaction
        with transaction.within(transaction.component if component is None else component):
            return handler(ctx, **args)

    return look


class System:
    """The system's functions in one deployment, and what they tell that no table holds.

    `cloud_url`: where clients find the deployment. `site_url`: where its HTTP actions are.
    """

    def __init__(self) -> None:
        from cupola.system import (  # noqa: F401  # they register
            command_line,
            dashboard,
            dashboard_modules,
            deployment,
            event_queries,
            schedules,
            scheduling,
            storage,
        )

        self.cloud_url = ""
        self.site_url = ""
        self.server_version: str | None = None
        self.node_version: str | None = None
        """What "use node" modules are compatible with, such as `nodejs24.x`; None: there are
        none.
        """
        self.keeps_files = False
        """Whether stored files are where an export finds them."""

    @property
    def functions(self) -> dict[str, Function[Any, Any]]:
        """By path, such as `_system/cli/tables:default`."""
        return _FUNCTIONS


def system_of(ctx: QueryCtx) -> System:
    """The deployment's system, from inside one of its functions."""
    system = ctx._call.app.system
    assert isinstance(system, System)
    return system
