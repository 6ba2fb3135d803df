"""Where the tables of components are in the ZIP of an export (spec: deploy API, section 13).

messages/documents.jsonl                        the app's table `messages`
_components/a/_components/b/rows/documents.jsonl  the table `rows` of the component `a/b`
"""

from __future__ import annotations

import re
from typing import Final

from cupola.values import qualified, split_qualified

_COMPONENTS: Final = "_components/"
_IN_FOLDERS = re.compile(r"(?:^|/)_components/([^/]+)(?=/)")


def folder_of(component: str) -> str:
    """The folder of a component, ending in `/`; that of the app is ""."""
    names = component.split("/") if component else []
    return "".join(f"{_COMPONENTS}{name}/" for name in names)


def folder_of_table(table: str) -> str:
    """The folder of a table, by its qualified name."""
    component, name = split_qualified(table)
    return f"{folder_of(component)}{name}"


def component_of(entry: str) -> str:
    """The path of the component whose folder an entry is in, whatever is before that."""
    return "/".join(_IN_FOLDERS.findall(entry))


def inside(component: str, other: str) -> str:
    """The path of a component that is at `other` from `component`."""
    return f"{component}/{other}" if component and other else component or other


def table_inside(component: str, table: str) -> str:
    """The qualified name of a table that is called `table` where `component` is the app."""
    own, name = split_qualified(table)
    return qualified(inside(component, own), name)
