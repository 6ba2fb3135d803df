"""Which Node the installed Deno is compatible with, without starting one to ask."""

from __future__ import annotations

from functools import cache
from typing import Final

_NODE_OF_DENO: Final = {"2.9.8": "26"}
"""Of the version that `constraints.txt` pins; a test compares it with what the program says."""


@cache
def node_runtime() -> str | None:
    """In the form in which dashboards show it, such as `nodejs26.x`; None where it is not known,
    since another Deno is installed.
    """
    from importlib.metadata import PackageNotFoundError, version  # slow to load

    try:
        node = _NODE_OF_DENO.get(version("deno"))
    except PackageNotFoundError:
        return None
    return None if node is None else f"nodejs{node}.x"
