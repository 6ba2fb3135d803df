"""Cupola: a transactional document database, the functions that run against it, and live sync.

What functions need is here; `cupola.Backend` is a whole deployment in process, without a network.
Each name is imported when somebody asks for it: the command starts servers anew with a fixed hash
seed, and must not pay for the engine before that.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cupola.backend import Backend
    from cupola.database.ranges import Range
    from cupola.errors import ApplicationError, CupolaError
    from cupola.functions.audit_logs import AuditVar
    from cupola.functions.context import ActionCtx, MutationCtx, QueryCtx
    from cupola.functions.crons import Crons
    from cupola.functions.definitions import (
        action,
        internal_action,
        internal_mutation,
        internal_query,
        mutation,
        query,
    )
    from cupola.functions.expressions import field
    from cupola.functions.http import HttpCtx, Request, Response, http_action
    from cupola.functions.pages import Page, PaginationOptions
    from cupola.functions.requests import RequestMetadata
    from cupola.functions.storage import FileMetadata, StorageId, StoredFile
    from cupola.schema import Aggregate, Id, Table, TextIndex, Unique, VectorIndex
    from cupola.values import UNSET, Int64, UnsetType

__version__ = "0.1.0"

_PLACES = {
    "cupola.backend": ("Backend",),
    "cupola.database.ranges": ("Range",),
    "cupola.errors": ("ApplicationError", "CupolaError"),
    "cupola.functions.audit_logs": ("AuditVar",),
    "cupola.functions.context": ("ActionCtx", "MutationCtx", "QueryCtx"),
    "cupola.functions.crons": ("Crons",),
    "cupola.functions.definitions": (
        "action",
        "internal_action",
        "internal_mutation",
        "internal_query",
        "mutation",
        "query",
    ),
    "cupola.functions.expressions": ("field",),
    "cupola.functions.http": ("HttpCtx", "Request", "Response", "http_action"),
    "cupola.functions.pages": ("Page", "PaginationOptions"),
    "cupola.functions.requests": ("RequestMetadata",),
    "cupola.functions.storage": ("FileMetadata", "StorageId", "StoredFile"),
    "cupola.schema": ("Aggregate", "Id", "Table", "TextIndex", "Unique", "VectorIndex"),
    "cupola.values": ("UNSET", "Int64", "UnsetType"),
}
_MODULES = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [
    "UNSET",
    "ActionCtx",
    "Aggregate",
    "ApplicationError",
    "AuditVar",
    "Backend",
    "Crons",
    "CupolaError",
    "FileMetadata",
    "HttpCtx",
    "Id",
    "Int64",
    "MutationCtx",
    "Page",
    "PaginationOptions",
    "QueryCtx",
    "Range",
    "Request",
    "RequestMetadata",
    "Response",
    "StorageId",
    "StoredFile",
    "Table",
    "TextIndex",
    "Unique",
    "UnsetType",
    "VectorIndex",
    "__version__",
    "action",
    "field",
    "http_action",
    "internal_action",
    "internal_mutation",
    "internal_query",
    "mutation",
    "query",
]


def __getattr__(name: str) -> Any:
    """The public name, from the module that defines it."""
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'cupola' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(module), name)
    return value
