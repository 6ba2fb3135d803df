"""What a value must fulfil to be stored as a document (spec: values, section 3)."""

from __future__ import annotations

from typing import Any

from cupola.errors import InvalidValueError
from cupola.limits import Limits
from cupola.values.bounds import in_force
from cupola.values.model import UNSET
from cupola.values.size import SIZE_PER_ENCODED_MAX, document_size

_SYSTEM_FIELDS = frozenset({"_id", "_creationTime"})
_ID_LENGTH = 32


def check_document(
    value: dict[str, Any], limits: Limits | None = None, encoded: bytes | None = None
) -> None:
    """Raise InvalidValueError unless the value, which `encode` accepts, can be a document.

    System fields that it does not have yet count for its size. `encoded`: what `encode` has made of
    a document that has them, which mostly tells without another look at the value.
    """
    limits = limits or in_force()
    for name in value:
        if name[:1] == "_" and name not in _SYSTEM_FIELDS and value[name] is not UNSET:
            raise InvalidValueError(
                f"`{name}` cannot be a field of a document: names that start with an underscore "
                "are the system's."
            )
    nesting_max = limits.document_nesting_max
    if encoded is not None:
        openings = encoded.count(b"{") + encoded.count(b"[")  # those inside texts, too
        size_max = len(encoded) * SIZE_PER_ENCODED_MAX
        if openings <= nesting_max and size_max <= limits.document_size_bytes_max:
            return
    if nesting_exceeds(value, nesting_max):
        raise InvalidValueError(
            f"The document is nested deeper than {nesting_max} levels.", code="TooNestedError"
        )
    size = document_size(value, _ID_LENGTH)
    if size > limits.document_size_bytes_max:
        raise InvalidValueError(
            f"The document is too large: {size} bytes; at most {limits.document_size_bytes_max}.",
            code="ValueTooLargeError",
        )


def nesting_exceeds(value: Any, levels: int) -> bool:
    """Whether arrays and objects are nested deeper than `levels`; a scalar has none."""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return False
    if levels == 0:
        return True
    for item in value:
        kind = type(item)
        if kind is str or kind is float:
            continue
        if nesting_exceeds(item, levels - 1):
            return True
    return False
