"""Python objects to values where nothing declares their type: by looking at them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cupola.errors import InvalidValueError, SchemaError
from cupola.schema import Codec, codec_of
from cupola.values import Encoded

_CODECS: dict[type, Codec | None] = {}


def value_of(obj: Any) -> Any:
    """The value of an object; what has none is returned as it is, and refused when it is encoded.

    Dataclasses, Structs, pydantic models and the like, datetimes and UUIDs become what they would
    as a type hint.

    Raises:
        InvalidValueError: It is nested without end.
    """
    try:
        return _value_of(obj)
    except RecursionError:
        raise InvalidValueError(
            "A value is nested too deeply, or contains itself.", code="TooNestedError"
        ) from None


def _value_of(obj: Any) -> Any:
    kind = type(obj)
    if kind is str or kind is float or kind is bool or obj is None or isinstance(obj, Encoded):
        return obj
    if kind is list or kind is tuple:
        return [_value_of(item) for item in obj]
    if kind is dict:
        return {name: _value_of(item) for name, item in obj.items()}
    codec = _CODECS.get(kind, ...)
    if codec is ...:
        codec = _CODECS[kind] = _codec(kind)
    if codec is not None:
        return codec.to_value(obj)
    if isinstance(obj, Mapping):
        return {name: _value_of(item) for name, item in obj.items()}
    return obj


def _codec(kind: type) -> Codec | None:
    if issubclass(kind, int | str | bytes | Mapping):
        return None
    try:
        return codec_of(kind, kind.__qualname__)
    except SchemaError:
        return None
