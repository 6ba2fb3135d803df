"""Who evaluates pushed JavaScript."""

from __future__ import annotations

from cupola.backend import Backend
from cupola.functions.bundles import Analyzer


def v8_analyzer(backend: Backend) -> Analyzer:
    """The one that runs V8. Loaded late: most servers only serve."""
    from cupola.runtimes.v8.analyzer import V8Analyzer

    return V8Analyzer(backend.limits, backend.packages_folder)
