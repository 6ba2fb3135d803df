"""Who evaluates pushed JavaScript."""

from __future__ import annotations

from cupola.backend import Backend
from cupola.errors import BadRequestError
from cupola.functions.bundles import Analyzer


def v8_analyzer(backend: Backend) -> Analyzer:
    """The one that runs V8. Loaded late: most servers only serve."""
    raise BadRequestError("TypeScript is not supported yet.", code="TypeScriptNotSupported")
