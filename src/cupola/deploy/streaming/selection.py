"""What of the data a tool wants, and how its values are written (spec: deploy API, section 16).

A selection is a tree: what is named decides, and `_other` decides for the rest.

    {"_other": "excluded", "": {"_other": "excluded", "messages": {"_other": "included"}}}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from cupola.errors import BadRequestError
from cupola.values import clean_from_encoded, decode_canonical, encode_export

ROOT: Final = ""
_OTHER: Final = "_other"
_INCLUDED: Final = ("included", "incl")
_EXCLUDED: Final = ("excluded", "excl")
_SYSTEM_FIELD: Final = "_id"  # without it a row could not be told from others

Form = Callable[[bytes], bytes]
"""From canonical encoded JSON to the JSON that was asked for."""

FORMS: Final[Mapping[str, Form]] = {
    "json": clean_from_encoded,
    "convex_clean_json": clean_from_encoded,
    "convex_encoded_json": lambda body: body,
    "export_json": lambda body: encode_export(decode_canonical(body)),
}


def form_named(name: str | None) -> Form:
    """Raises: BadRequestError (BadFormat): There is none of this name."""
    form = FORMS.get(name or "json")
    if form is None:
        raise BadRequestError(
            f"There is no format {name!r}; use one of {', '.join(FORMS)}.", code="BadFormat"
        )
    return form


class Selection:
    """Which tables and columns of the app are wanted."""

    def __init__(self, tree: Any = None) -> None:
        """`tree` None: everything. Raises: BadRequestError: It is no selection."""
        root = _branch({_OTHER: "included"} if tree is None else tree, ROOT)
        self._tables: Any = root
        self.text = orjson.dumps(tree, option=orjson.OPT_SORT_KEYS).decode()
        """The same for equal selections."""

    @classmethod
    def of(
        cls, table: str | None = None, component: str | None = None, tree: Any = None
    ) -> Selection:
        """From what a request may say, which is one of these or nothing.

        Raises: BadRequestError: It says several, or names a component that is not there.
        """
        if component not in (None, ROOT):
            raise BadRequestError(f"There is no component {component!r}.", code="BadSelection")
        if tree is not None and table is not None:
            raise BadRequestError("Give `selection` or `tableName`, not both.", code="BadSelection")
        if table is None:
            return cls(tree)
        return cls({_OTHER: "excluded", ROOT: {_OTHER: "excluded", table: {_OTHER: "included"}}})

    def has(self, table: str) -> bool:
        return _branch(self._tables, table) is not False

    def columns(self, table: str) -> Callable[[str], bool] | None:
        """Which columns of a wanted table are wanted; None: all of them."""
        branch = _branch(self._tables, table)
        if branch is True or (set(branch) == {_OTHER} and branch[_OTHER] in _INCLUDED):
            return None
        return lambda name: name == _SYSTEM_FIELD or _branch(branch, name) is not False


def _branch(tree: Any, name: str) -> Any:
    """What a tree says of a name: True, False, or a tree that says more."""
    if isinstance(tree, bool):
        return tree
    if not isinstance(tree, dict):
        raise _bad()
    found = tree[name] if name in tree and name != _OTHER else tree.get(_OTHER, "excluded")
    if found in _INCLUDED or found in _EXCLUDED:
        return found in _INCLUDED
    if not isinstance(found, dict):
        raise _bad()
    return found


def _bad() -> BadRequestError:
    return BadRequestError(
        'A selection is `{"_other": "included" or "excluded", name: selection, ...}`.',
        code="BadSelection",
    )
