"""Documents as the engine holds them: encoded bytes first, decoded only when somebody looks."""

from __future__ import annotations

from collections.abc import Mapping

from cupola.schema import SYSTEM_FIELDS
from cupola.values import Value, decode_canonical

_STRING_TAG = b"\x10"  # of encoded strings (spec: values, section 5); no id contains it


def id_in(key: bytes) -> str:
    """The document id that ends every index key, as an encoded string without escapes."""
    return key[key.rindex(_STRING_TAG) + 1 : -1].decode()


def own_fields(document: Mapping[str, Value]) -> dict[str, Value]:
    """What a document holds but for the fields that the engine gives it."""
    return {name: value for name, value in document.items() if name not in SYSTEM_FIELDS}


class StoredDocument:
    """One version of a document: its encoded JSON (with `_id` and `_creationTime`) and its version
    number.

    `version` is None while the document exists only in an uncommitted transaction.
    """

    __slots__ = ("_value", "body", "parts", "version")

    def __init__(
        self, version: int | None, body: bytes, value: dict[str, Value] | None = None
    ) -> None:
        self.version = version
        self.body = body
        self._value = value
        self.parts: dict[int, tuple[bytes, ...]] = {}
        """Keys computed so far, by index number; see `Index.parts_of`."""

    @property
    def value(self) -> dict[str, Value]:
        """The decoded document. Shared: callers must not change it."""
        if self._value is None:
            decoded = decode_canonical(self.body)
            assert isinstance(decoded, dict)
            self._value = decoded
        return self._value
