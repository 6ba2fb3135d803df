"""From Python type hints to codecs: the type hint is the validator.

| Hint | Validator | In Python |
|---|---|---|
| `str`, `bool`, `bytes`, `None` | string, boolean, bytes, null | the same |
| `float` | number | `float`; an `int` is accepted |
| `int` | number | a whole number within 2^53 |
| `Int64` | bigint | `Int64`; an `int` is accepted |
| `Id[Message]` | id of `messages` | `str` |
| `Any`, `object`, no hint | any | the value |
| `Literal["a", 3]`, an `Enum` | union of literals | the same, the member |
| `X | Y`, `Optional[X]` | union | the first that accepts |
| `X | UnsetType` (fields, parameters) | optional field | `UNSET` when absent |
| `list[X]`, `Sequence[X]`, `tuple[X, ...]` | array | `list`; `tuple` |
| `dict[str, X]`, `Mapping[str, X]` | record | `dict` |
| TypedDict, dataclass, msgspec Struct, pydantic model, attrs class | object | the same |
| a `Table` class | object with `_id` and `_creationTime` | the document |
| `datetime` | number: milliseconds since 1970, UTC | aware, UTC |
| `date`, `UUID`, `Path` | string | the same |

A field with a default is optional on the wire. Validators are trees, so a type may not contain
itself.
"""

import collections.abc
import datetime
import decimal
import enum
import types
import typing
from collections.abc import Callable
from typing import Any, cast

import msgspec

from cupola.errors import SchemaError
from cupola.schema.codecs import (
    CONVERTED,
    ArrayCodec,
    Codec,
    ConstrainedCodec,
    FloatCodec,
    Int64Codec,
    LiteralCodec,
    OptionalCodec,
    PlainCodec,
    RecordCodec,
    UnionCodec,
    WholeNumberCodec,
)
from cupola.schema.ids import Id
from cupola.schema.scalars import (
    ANY,
    BOOLEAN,
    BYTES,
    NULL,
    STRING,
    IdValidator,
)
from cupola.schema.shapes import CodedField, ShapeCodec, shape_of
from cupola.schema.subset import is_subset
from cupola.schema.validator_json import literal
from cupola.schema.validators import Validator, union_of
from cupola.values import Int64, UnsetType, is_identifier

_SCALARS: dict[Any, Codec] = {
    None: PlainCodec(NULL),
    types.NoneType: PlainCodec(NULL),
    bool: PlainCodec(BOOLEAN),
    float: FloatCodec(),
    int: WholeNumberCodec(),
    Int64: Int64Codec(),
    str: PlainCodec(STRING),
    bytes: PlainCodec(BYTES),
    object: PlainCodec(ANY),
    Any: PlainCodec(ANY),
    **CONVERTED,
}
_LISTS = (
    list,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Collection,
    collections.abc.Iterable,
    collections.abc.Iterator,
)
_RECORDS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_MARKERS = (typing.Required, typing.NotRequired, typing.Final, typing.ClassVar)
_UNSET_ADVICE = "X | UnsetType, for a field or parameter that may be absent"
_INSTEAD: dict[Any, str] = {
    set: "list[X]; the protocol has no sets",
    frozenset: "list[X]; the protocol has no sets",
    tuple: "tuple[X, ...] or list[X]; arrays have no fixed length",
    bytearray: "bytes",
    memoryview: "bytes",
    complex: "a TypedDict with two floats",
    decimal.Decimal: "str, or Int64 for a count of the smallest unit",
    datetime.time: "str",
    datetime.timedelta: "float, for example of seconds",
    UnsetType: _UNSET_ADVICE,
    collections.abc.Set: "list[X]; the protocol has no sets",
}


def codec_of(hint: Any, where: str) -> Codec:
    """The codec of a type hint.

    `where` names the hint in errors: "`messages:send`, parameter `tags`". Names in quotes must have
    been resolved.

    Raises:
        SchemaError: The hint has no validator; the code is InvalidTypeHint.
    """
    return _Reader(where).codec(hint)


def field_codec_of(hint: Any, where: str) -> tuple[Codec, bool]:
    """The codec of a field or parameter, and whether it may be absent (`X | UnsetType`)."""
    return _Reader(where).field(hint)


class _Reader:
    def __init__(self, where: str) -> None:
        self._where = where
        self._variables: dict[Any, Any] = {}
        self._open: list[Any] = []

    def field(self, hint: Any) -> tuple[Codec, bool]:
        members = _members_of_union(hint)
        if UnsetType not in members:
            return self.codec(hint), False
        rest = [member for member in members if member is not UnsetType]
        if not rest:
            raise self._refuse(hint, _UNSET_ADVICE)
        return self._union(rest), True

    def codec(self, hint: Any) -> Codec:
        hint = self._variables.get(hint, hint) if isinstance(hint, typing.TypeVar) else hint
        if _is_hashable(hint) and hint in _SCALARS:
            return _SCALARS[hint]
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin is typing.Annotated:
            return self._annotated(arguments[0], arguments[1:])
        if origin in _MARKERS:
            return self.codec(arguments[0])
        if origin in (typing.Union, types.UnionType):
            return self._union(list(arguments))
        if origin is typing.Literal:
            return self._literal([(each, each) for each in arguments])
        if isinstance(hint, typing.TypeVar):
            return self.codec(hint.__bound__ or Any)
        if isinstance(hint, typing.NewType):
            return self.codec(hint.__supertype__)
        if type(hint).__name__ == "TypeAliasType":
            return self.codec(hint.__value__)
        return self._of_class(hint, origin or hint, arguments)

    def _of_class(self, hint: Any, kind: Any, arguments: tuple[Any, ...]) -> Codec:
        if kind in _LISTS:
            return ArrayCodec(self.codec(arguments[0] if arguments else Any))
        if kind is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
            return ArrayCodec(self.codec(arguments[0]), tuple)
        if kind in _RECORDS:
            return self._record(hint, *(arguments or (str, Any)))
        if not isinstance(kind, type) or kind in _INSTEAD:
            raise self._refuse(hint, _INSTEAD.get(kind))
        if issubclass(kind, Id):
            return self._id(hint, arguments)
        if hasattr(kind, "__cupola_codec__"):
            codec: Codec = kind.__cupola_codec__()
            return codec
        if issubclass(kind, enum.Enum):
            return self._literal([(member.value, member) for member in kind])
        return self._shape(hint, kind, arguments)

    def _union(self, members: list[Any]) -> Codec:
        if UnsetType in members:
            raise self._refuse(UnsetType, _UNSET_ADVICE)
        codecs = [self.codec(each) for each in members if each is not types.NoneType]
        codec = codecs[0] if len(codecs) == 1 else UnionCodec(codecs)
        return OptionalCodec(codec) if types.NoneType in members else codec

    def _literal(self, objects: list[tuple[Any, Any]]) -> Codec:
        validators: list[Validator] = []
        pairs: list[tuple[Any, Any]] = []
        for raw, obj in objects:
            raw = raw.value if isinstance(raw, enum.Enum) else raw
            if raw is None:
                validators.append(NULL)
                pairs.append((None, obj))
                continue
            try:
                validator = literal(raw)
            except SchemaError:
                raise self._refuse(
                    obj, "strings, numbers, booleans and Int64 in literals and enums"
                ) from None
            validators.append(validator)
            pairs.append((validator.value, obj))
        return LiteralCodec(union_of(validators), pairs)

    def _id(self, hint: Any, arguments: tuple[Any, ...]) -> Codec:
        if not arguments or arguments[0] is Any:
            return _SCALARS[str]
        (table,) = arguments
        if typing.get_origin(table) is typing.Literal:
            (name,) = typing.get_args(table)
        else:
            name = getattr(table, "__table_name__", None)
        if not isinstance(name, str):
            raise self._refuse(hint, 'Id[Message] with a Table class, or Id[Literal["messages"]]')
        return PlainCodec(IdValidator(name))

    def _record(self, hint: Any, key: Any, item: Any) -> Codec:
        keys = self.codec(key)
        if not is_subset(keys.validator, STRING) or typing.get_origin(key) is typing.Literal:
            raise self._refuse(hint, "dict[str, X], dict[Id[T], X], or a TypedDict for fixed names")
        return RecordCodec(keys, self.codec(item))

    def _annotated(self, hint: Any, metadata: tuple[Any, ...]) -> Codec:
        codec = self.codec(hint)
        for each in metadata:
            try:
                check = _check_of(hint, each)
            except (TypeError, ValueError, ImportError) as error:
                raise SchemaError(
                    f"{self._where}: {each!r} cannot be checked here: {error}",
                    code="InvalidTypeHint",
                ) from None
            if check is not None:
                codec = ConstrainedCodec(codec, check)
        return codec

    def _shape(self, hint: Any, kind: type, arguments: tuple[Any, ...]) -> Codec:
        shape = shape_of(kind)
        if shape is None:
            raise self._refuse(hint, None)
        if kind in self._open:
            raise self._refuse(hint, "Any where it contains itself; validators are finite")
        where, variables = self._where, self._variables
        self._open.append(kind)
        parameters = getattr(kind, "__parameters__", ())
        self._variables = dict(zip(parameters, map(self._closed, arguments), strict=False))
        fields = []
        for each in shape.fields:
            self._where = f"{where}, field `{each.name}` of `{kind.__name__}`"
            check_field_name(each.wire, self._where)
            codec, absent = self.field(each.hint)
            fields.append(
                CodedField(
                    each.name, each.wire, codec, absent or each.has_default, each.has_default
                )
            )
        self._open.pop()
        self._where, self._variables = where, variables
        return ShapeCodec(shape, fields)

    def _closed(self, hint: Any) -> Any:
        """`hint` with the type variables of the class that is being read filled in."""
        if isinstance(hint, typing.TypeVar):
            return self._variables.get(hint, Any)
        if typing.get_origin(hint) and (parameters := getattr(hint, "__parameters__", ())):
            return hint[tuple(self._variables.get(each, Any) for each in parameters)]
        return hint

    def _refuse(self, hint: Any, instead: str | None) -> SchemaError:
        name = hint.__qualname__ if isinstance(hint, type) else str(hint).replace("typing.", "")
        advice = f"use {instead}" if instead else "use a type listed in the reference of types"
        return SchemaError(
            f"{self._where}: the type hint `{name}` has no validator; {advice}.",
            code="InvalidTypeHint",
        )


def _members_of_union(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return typing.get_args(hint)
    return (hint,)


def _is_hashable(hint: Any) -> bool:
    try:
        hash(hint)
    except TypeError:
        return False
    return True


def _check_of(hint: Any, rule: Any) -> Callable[[Any], object] | None:
    """What checks an object against `rule`, a piece of the metadata of Annotated; None: no rule.

    Understood are msgspec.Meta and whatever pydantic understands, by the library that made them.
    """
    library = type(rule).__module__.partition(".")[0]
    if library not in ("msgspec", "pydantic", "pydantic_core", "annotated_types"):
        return None
    annotated = cast(Any, typing.Annotated)[_without_our_types(hint), rule]
    if library == "msgspec":
        msgspec.json.schema(annotated)  # raises TypeError if the rule does not apply
        return lambda obj: msgspec.convert(obj, annotated)
    import pydantic

    return pydantic.TypeAdapter(annotated).validate_python


def _without_our_types(hint: Any) -> Any:
    """The type of the object itself, in words that every library knows."""
    kind = typing.get_origin(hint) or hint
    if kind in _LISTS or kind in _RECORDS:
        return list if kind in _LISTS else dict
    if isinstance(kind, type) and issubclass(kind, Id | Int64):
        return str if issubclass(kind, Id) else int
    return hint


def check_field_name(name: str, where: str) -> None:
    """Refuse what validators cannot name. Raises SchemaError."""
    if not is_identifier(name):
        raise SchemaError(
            f"{where}: `{name}` cannot be the name of a field; use up to 64 letters A to Z, digits "
            "and underscores, or dict[str, X] for other names.",
            code="InvalidFieldName",
        )
