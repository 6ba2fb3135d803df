"""Object-like types: TypedDict, dataclasses, msgspec Structs, pydantic models, attrs classes.

All of them become one closed object validator and one codec; they differ in how fields are listed
and how an object is made. Nothing is imported for a library that the app does not use: its classes
are known by the attributes they carry.
"""

import dataclasses
import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from cupola.errors import SchemaError
from cupola.schema.codecs import Codec, within
from cupola.schema.mismatch import ValidationError, display
from cupola.schema.validator_json import literal
from cupola.schema.validators import Field, ObjectValidator
from cupola.values import UNSET


class ShapeField(NamedTuple):
    """One field as its class declares it."""

    name: str  # in Python
    wire: str
    hint: Any
    has_default: bool = False


class Shape(NamedTuple):
    """What a class says about its objects."""

    kind: type
    fields: list[ShapeField]
    build: Callable[..., Any]
    """Called with the fields by keyword, or by `wire` name in one dict if `by_dict`."""
    by_dict: bool = False
    tag: tuple[str, str | int] | None = None


def shape_of(kind: type) -> Shape | None:
    """The shape of a class, or None if it is no object-like type that we know."""
    if issubclass(kind, dict) and hasattr(kind, "__required_keys__"):
        return _of_typed_dict(kind)
    if dataclasses.is_dataclass(kind):
        return _of_dataclass(kind)
    if issubclass(kind, msgspec.Struct):
        return _of_struct(kind)
    if hasattr(kind, "__pydantic_core_schema__") and hasattr(kind, "model_validate"):
        return _of_pydantic_model(kind)
    if hasattr(kind, "__attrs_attrs__"):
        return _of_attrs_class(kind)
    return None


def own_annotations(kind: Any) -> dict[str, Any]:
    """The annotations of a class or function as they stand there, names not looked up."""
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(kind, format=annotationlib.Format.FORWARDREF)
    return inspect.get_annotations(kind)


def resolved_hints(kind: Any, where: str) -> dict[str, Any]:
    """The type hints of a class or function, with names in quotes looked up.

    Raises:
        SchemaError: A name is not defined where the hint stands.
    """
    try:
        return typing.get_type_hints(kind, include_extras=True)
    except NameError as error:
        raise SchemaError(
            f"{where}: a type hint names `{error.name}`, which its module does not define. "
            "Import it there, outside `if TYPE_CHECKING`.",
            code="InvalidTypeHint",
        ) from None
    except TypeError as error:
        raise SchemaError(
            f"{where}: a type hint makes no sense: {error}.", code="InvalidTypeHint"
        ) from None


def _of_typed_dict(kind: Any) -> Shape:
    fields = []
    for name, hint in resolved_hints(kind, kind.__qualname__).items():
        absent = name not in kind.__required_keys__
        while (marker := typing.get_origin(hint)) in (typing.Required, typing.NotRequired):
            absent = marker is typing.NotRequired
            (hint,) = typing.get_args(hint)
        fields.append(ShapeField(name, name, hint, absent))
    return Shape(kind, fields, dict, by_dict=True)


def _of_dataclass(kind: Any) -> Shape:
    hints = resolved_hints(kind, kind.__qualname__)
    fields = [
        ShapeField(
            each.name,
            each.name,
            hints[each.name],
            each.default is not dataclasses.MISSING
            or each.default_factory is not dataclasses.MISSING,
        )
        for each in dataclasses.fields(kind)
        if each.init
    ]
    return Shape(kind, fields, kind)


def _of_struct(kind: type[msgspec.Struct]) -> Shape:
    fields = [
        ShapeField(each.name, each.encode_name, each.type, not each.required)
        for each in msgspec.structs.fields(kind)
    ]
    config = kind.__struct_config__
    tag = None if config.tag is None else (str(config.tag_field), config.tag)
    return Shape(kind, fields, kind, tag=tag)


def _of_pydantic_model(kind: Any) -> Shape:
    kind.model_rebuild()
    fields = []
    for name, each in kind.model_fields.items():
        alias = each.validation_alias
        wire = alias if isinstance(alias, str) else name
        fields.append(ShapeField(name, wire, each.annotation, not each.is_required()))
    return Shape(kind, fields, kind.model_validate, by_dict=True)


def _of_attrs_class(kind: Any) -> Shape:
    hints = resolved_hints(kind, kind.__qualname__)
    constructor = inspect.signature(kind).parameters
    fields = [
        ShapeField(
            each.name,
            each.alias,
            hints.get(each.name, Any),
            constructor[each.alias].default is not inspect.Parameter.empty,
        )
        for each in kind.__attrs_attrs__
        if each.init
    ]
    return Shape(kind, fields, lambda found: kind(**found), by_dict=True)


class CodedField(NamedTuple):
    """A field with its codec. `optional`: it may be absent on the wire."""

    name: str
    wire: str
    codec: Codec
    optional: bool
    has_default: bool


class ShapeCodec:
    """Objects of a class as closed objects of the protocol."""

    def __init__(self, shape: Shape, fields: list[CodedField]) -> None:
        described = {each.wire: Field(each.codec.validator, each.optional) for each in fields}
        self._tag: dict[str, Any] = {}
        if shape.tag is not None:
            name, tag = shape.tag
            self._tag = {name: tag}
            described = {name: Field(literal(tag)), **described}
        self.validator = ObjectValidator(described)
        self._is_dict = shape.build is dict
        self.identity = self._is_dict and all(each.codec.identity for each in fields)
        self._shape = shape
        self._fields = fields
        self._codecs = {each.name: each.codec for each in fields}

    def to_python(self, value: Any) -> Any:
        if self.identity:
            return value
        shape = self._shape
        found: dict[str, Any] = {}
        for name, wire, codec, _, has_default in self._fields:
            item = value.get(wire, UNSET)
            if item is not UNSET:
                if not codec.identity:
                    item = within(wire, codec.to_python, item)
            elif has_default:
                continue
            found[wire if shape.by_dict else name] = item
        try:
            return shape.build(found) if shape.by_dict else shape.build(**found)
        except (ValueError, TypeError) as error:
            raise ValidationError(
                f"Value cannot be a `{shape.kind.__name__}`: {error}",
                details=(("Value", display(value)),),
            ) from None

    def to_value(self, obj: Any) -> Any:
        if self._is_dict:
            return self._dict_to_value(obj) if isinstance(obj, Mapping) else obj
        if not isinstance(obj, self._shape.kind):
            return obj
        value: dict[str, Any] = dict(self._tag)
        for name, wire, codec, _, _ in self._fields:
            item = getattr(obj, name)
            if item is not UNSET:
                value[wire] = within(wire, codec.to_value, item)
        return value

    def _dict_to_value(self, obj: Mapping[Any, Any]) -> dict[Any, Any]:
        return {
            name: within(name, self._codecs[name].to_value, item) if name in self._codecs else item
            for name, item in obj.items()
            if item is not UNSET
        }
