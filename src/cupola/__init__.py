"""Cupola: a transactional document database, the functions that run against it, and live sync.

What functions need is here; `cupola.Backend` is a whole deployment in process, without a network.
"""

from typing import TYPE_CHECKING, Any

from cupola.database.ranges import Range
from cupola.errors import ApplicationError, CupolaError
from cupola.functions.context import ActionCtx, MutationCtx, QueryCtx
from cupola.functions.definitions import (
    action,
    internal_action,
    internal_mutation,
    internal_query,
    mutation,
    query,
)
from cupola.functions.expressions import field
from cupola.functions.pages import Page, PaginationOptions
from cupola.schema import Id, Table
from cupola.values import UNSET, Int64, UnsetType

if TYPE_CHECKING:
    from cupola.backend import Backend

__version__ = "0.1.0"

__all__ = [
    "UNSET",
    "ActionCtx",
    "ApplicationError",
    "Backend",
    "CupolaError",
    "Id",
    "Int64",
    "MutationCtx",
    "Page",
    "PaginationOptions",
    "QueryCtx",
    "Range",
    "Table",
    "UnsetType",
    "__version__",
    "action",
    "field",
    "internal_action",
    "internal_mutation",
    "internal_query",
    "mutation",
    "query",
]


def __getattr__(name: str) -> Any:
    """`cupola.Backend` loads the engine when somebody asks for it: functions do not need it."""
    if name == "Backend":
        from cupola.backend import Backend

        return Backend
    raise AttributeError(f"module 'cupola' has no attribute {name!r}")
