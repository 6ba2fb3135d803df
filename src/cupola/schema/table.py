"""Tables as classes: the type of their documents, and the definition of the table.

    class Message(Table, name="messages", indexes={"by_channel": ["channel"]}):
        channel: str
        author: Id["User"]
        body: str
        pinned: bool = False
        edited: float | UnsetType = UNSET

Annotations are the fields. A field with a default may be absent in stored documents and then reads
as the default; one of type `X | UnsetType` reads as `UNSET`. Hints are resolved when the table is
first used, so tables may refer to each other.

A document is in one of two states. A *constructed* one has its fields as attributes. A *stored*
one, which came from the database, keeps its encoded JSON and decodes it at the first look at any
field: the class has a non-data descriptor for each field, which fills the instance's `__dict__`
and is then out of the way. A document that only passes through is never decoded at all.
"""

import collections
import copy
import itertools
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self, dataclass_transform

from cupola.errors import SchemaError
from cupola.schema.codecs import Codec, PlainCodec, within
from cupola.schema.declarations import (
    Aggregate,
    IndexDeclaration,
    OnDelete,
    TextIndex,
    Unique,
    VectorIndex,
)
from cupola.schema.definitions import (
    ON_DELETE,
    SYSTEM_FIELDS,
    IndexDefinition,
    ReferenceDefinition,
    SchemaDefinition,
    TableDefinition,
    check_table,
    referenced_table,
)
from cupola.schema.hints import check_field_name, field_codec_of
from cupola.schema.ids import Id
from cupola.schema.mismatch import ValidationError
from cupola.schema.scalars import (
    IdValidator,
    LiteralValidator,
    ScalarValidator,
)
from cupola.schema.search_indexes import (
    SearchIndexDefinition,
    TextIndexDefinition,
    VectorIndexDefinition,
)
from cupola.schema.shapes import own_annotations, resolved_hints
from cupola.schema.validators import (
    Field,
    ObjectValidator,
    UnionValidator,
    Validator,
)
from cupola.values import UNSET, Encoded, EncodedItems, decode_canonical, encode


class TableInfo:
    """What a Table class declares, with its type hints resolved."""

    def __init__(self, kind: "type[Table]") -> None:
        self.name: str = kind.__table_name__
        self.fields: dict[str, Codec] = {}
        """Field name -> codec."""
        self.defaults: dict[str, Any] = {}
        """What an absent field reads as, for fields that may be absent."""
        described: dict[str, Field] = {}
        hints = resolved_hints(kind, f"Table `{kind.__name__}`")
        for name in kind.__field_names__:
            codec, absent = field_codec_of(hints[name], f"Table `{kind.__name__}`, field `{name}`")
            optional = absent or name in kind.__field_defaults__
            self.fields[name] = codec
            described[name] = Field(codec.validator, optional)
            if optional:
                self.defaults[name] = kind.__field_defaults__.get(name, UNSET)
            if self.defaults.get(name, UNSET) is not UNSET:
                _check_default(kind, name, codec)
        self.document = ObjectValidator(described)
        self.indexes: tuple[IndexDefinition, ...] = kind.__index_definitions__
        self.definition = TableDefinition(
            self.name,
            self.document,
            self.indexes,
            kind.__search_definitions__,
            _reference_definitions(kind, self),
        )
        if self.definition.references or self.definition.searches:
            check_table(self.definition)
        self.stored = self.definition.stored_document()
        """The validator of whole documents, with `_id` and `_creationTime`."""
        self.codec = TableCodec(kind, self.stored)
        self.names = frozenset(self.fields)
        self.containers = {k for k, f in described.items() if not _is_scalar(f.validator)}
        """The fields whose Python objects can be changed in place."""
        self._constants = {k: v for k, v in self.defaults.items() if k not in self.containers}
        self._templates = {k: v for k, v in self.defaults.items() if k in self.containers}
        self.stored_names = self.names | set(SYSTEM_FIELDS)
        self.readers = [(k, c.to_python) for k, c in self.fields.items() if not c.identity]
        self.writers = [(k, c.to_value) for k, c in self.fields.items() if not _is_plain(c)]

    def completed(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields of a new document, with those that may be left out. Raises TypeError."""
        complete = self._with_defaults(fields)
        if complete.keys() == self.names:
            return complete
        if unknown := fields.keys() - self.names:
            raise TypeError(
                f"Table `{self.name}` has no field {_quoted(unknown)}; "
                f"it has {_quoted(self.names)}."
            )
        raise TypeError(
            f"A document of `{self.name}` needs {_quoted(self.names - complete.keys())}."
        )

    def completed_stored(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The declared and system fields of a stored document; absent ones as they read."""
        complete = self._with_defaults(fields)
        return {name: complete.get(name, UNSET) for name in (*SYSTEM_FIELDS, *self.fields)}

    def _with_defaults(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Each document gets lists and dicts of its own."""
        complete = {**self._constants, **fields}
        for name, template in self._templates.items():
            if name not in fields:
                complete[name] = copy.deepcopy(template)
        return complete


def _is_plain(codec: Codec) -> bool:
    return type(codec) is PlainCodec


def _check_default(kind: "type[Table]", name: str, codec: Codec) -> None:
    where = f"Table `{kind.__name__}`, field `{name}`"
    try:
        codec.validator.check(codec.to_value(kind.__field_defaults__[name]))
    except ValidationError as error:
        raise SchemaError(f"{where}: the default does not fit. {error}") from None


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def _is_scalar(validator: Validator) -> bool:
    """Whether a Python object of this type cannot be changed in place."""
    if isinstance(validator, UnionValidator):
        return all(map(_is_scalar, validator.members))
    return isinstance(validator, ScalarValidator | IdValidator | LiteralValidator)


class TableCodec:
    """Documents of one table as arguments and results. Stored ones pass through encoded."""

    identity = False

    def __init__(self, kind: "type[Table]", validator: Validator) -> None:
        self.validator = validator
        self._kind = kind

    def to_python(self, value: Any) -> "Table":
        return self._kind._from_stored(encode(value))

    def to_value(self, obj: Any) -> Any:
        if isinstance(obj, self._kind) and obj._body is None:
            return obj.to_value()
        return obj

    def to_values(self, objs: list[Any]) -> "StoredDocuments | None":
        """All at once, if they are stored documents of just this table and still what they were."""
        if set(map(type, objs)) != {self._kind}:
            return None
        bodies = list(map(_body_of, objs))
        if set(map(type, bodies)) != {bytes}:
            return None
        return StoredDocuments(bodies, self.validator)


class StoredDocuments(EncodedItems):
    """Documents of one table, as they are stored: the result of most queries, never decoded."""

    __slots__ = ("_validator",)

    def __init__(self, bodies: list[bytes], validator: Validator) -> None:
        super().__init__(bodies)
        self._validator = validator

    def _items_checked_by(self) -> Validator:
        """The validator that each was checked against when it was stored."""
        return self._validator


class _LazyTableInfo:
    """Resolves a table's hints at first use and leaves the result in its place."""

    def __init__(self) -> None:
        self._is_busy = False

    def __get__(self, instance: object, owner: "type[Table]") -> TableInfo:
        if owner is Table:
            raise SchemaError(
                "`Table` itself is no table: use a class derived from it.", code="InvalidTypeHint"
            )
        if self._is_busy:
            raise SchemaError(
                f"Table `{owner.__name__}` contains itself; "
                f'use Id["{owner.__name__}"] to refer to a document.',
                code="InvalidTypeHint",
            )
        self._is_busy = True
        try:
            info = TableInfo(owner)
        finally:
            self._is_busy = False
        type.__setattr__(owner, "__cupola_table__", info)
        return info


class _FieldReader:
    """Decodes a stored document at the first look at any of its fields."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: "Table | None", owner: type) -> Any:
        if instance is None:
            return self
        return instance._load(self._name)

    def __repr__(self) -> str:
        return f"<field {self._name}>"


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Table(Encoded):
    """Derive from it to declare a table; see the head of this module."""

    __slots__ = ("_body",)

    _body: bytes | tuple[bytes] | None
    """The encoded JSON of a stored document, in a tuple once lists of it may have been changed.

    None: a constructed document.
    """

    __table_name__: ClassVar[str]
    __field_names__: ClassVar[tuple[str, ...]] = ()
    __field_defaults__: ClassVar[dict[str, Any]] = {}
    __index_definitions__: ClassVar[tuple[IndexDefinition, ...]]
    __search_definitions__: ClassVar[tuple[SearchIndexDefinition, ...]]
    __reference_rules__: ClassVar[Mapping[str, OnDelete]]

    if TYPE_CHECKING:
        __cupola_table__: ClassVar[TableInfo]

        @property
        def _id(self) -> Id[Self]: ...

        @property
        def _creationTime(self) -> float: ...

    else:
        __cupola_table__ = _LazyTableInfo()
        _id = _FieldReader("_id")
        _creationTime = _FieldReader("_creationTime")

    def __init_subclass__(
        cls,
        *,
        name: str | None = None,
        indexes: Mapping[str, IndexDeclaration] | None = None,
        references: Mapping[str, OnDelete] | None = None,
        **more: Any,
    ) -> None:
        if more:
            raise SchemaError(
                f"Table class `{cls.__name__}` takes `name`, `indexes` and `references`, not "
                f"`{next(iter(more))}`. Indexes of all kinds are declared in `indexes`, those for "
                "searches as TextIndex(...) and VectorIndex(...).",
                code="InvalidTable",
            )
        super().__init_subclass__()
        if name is None:
            raise SchemaError(
                f"Table class `{cls.__name__}` needs the name of its table: "
                f'class {cls.__name__}(Table, name="{cls.__name__.lower()}s").',
                code="InvalidTableName",
            )
        own = _own_fields(cls)
        cls.__table_name__ = name
        cls.__field_defaults__ = {
            **{k: v for k, v in cls.__field_defaults__.items() if k not in own},
            **{field: cls.__dict__[field] for field in own if field in cls.__dict__},
        }
        cls.__field_names__ = tuple(dict.fromkeys((*cls.__field_names__, *own)))
        cls.__index_definitions__ = _index_definitions(cls, indexes or {})
        cls.__search_definitions__ = _search_definitions(indexes or {})
        cls.__reference_rules__ = dict(references or {})
        for field in own:
            setattr(cls, field, _FieldReader(field))
        type.__setattr__(cls, "__cupola_table__", _LazyTableInfo())

    def __init__(self, /, **fields: Any) -> None:
        info = self.__cupola_table__
        if fields.keys() != info.names:
            fields = info.completed(fields)
        _set_body(self, None)
        _set(self, "__dict__", fields)

    @classmethod
    def _from_stored(cls, body: bytes) -> Self:
        """The document that `body`, canonical encoded JSON with the system fields, holds."""
        document = object.__new__(cls)
        _set_body(document, body)
        return document

    @classmethod
    def _all_from_stored(cls, bodies: list[bytes]) -> list[Self]:
        """The documents that `bodies` hold, without a Python call for each."""
        documents = list(map(object.__new__, itertools.repeat(cls, len(bodies))))
        collections.deque(map(_set_body, documents, bodies), maxlen=0)
        return documents

    def _load(self, name: str) -> Any:
        """Decode all fields into the instance, and return one."""
        body = self._body
        if body is None:
            raise AttributeError(
                f"This `{type(self).__name__}` is not stored yet, so it has no `{name}`; "
                "ctx.db.insert returns the id, and ctx.db.get the stored document.",
                name=name,
                obj=self,
            )
        assert isinstance(body, bytes)
        attributes: Any = decode_canonical(body)
        info = self.__cupola_table__
        for field, to_python in info.readers:
            if field in attributes:
                attributes[field] = within(field, to_python, attributes[field])
        if attributes.keys() != info.stored_names:
            attributes = info.completed_stored(attributes)
        if info.containers:
            _set_body(self, (body,))
        _set(self, "__dict__", attributes)
        return attributes[name]

    def _checked_by(self) -> Validator | None:
        """The validator that the stored bytes were checked against, if they still hold."""
        return self.__cupola_table__.stored if type(self._body) is bytes else None

    @property
    def encoded(self) -> bytes:
        """The canonical encoded JSON."""
        body = self._body
        return body if isinstance(body, bytes) else encode(self.to_value())

    def to_value(self) -> dict[str, Any]:
        """The document as an object of the protocol; a constructed one has no system fields."""
        body = self._body
        value: Any
        if isinstance(body, bytes):
            value = decode_canonical(body)
            return typing.cast(dict[str, Any], value)
        value = dict(self.__dict__)
        if body is not None:
            value = {**typing.cast(dict[str, Any], decode_canonical(body[0])), **value}
        for name, convert in self.__cupola_table__.writers:
            if (item := value[name]) is not UNSET:
                value[name] = within(name, convert, item)
        return {name: item for name, item in value.items() if item is not UNSET}

    def to_dict(self) -> dict[str, Any]:
        """The fields as Python objects, system fields first, without those that are absent."""
        if self._body is not None and not self.__dict__:
            self._load("_id")
        names = (*SYSTEM_FIELDS, *self.__cupola_table__.fields)
        found = {name: self.__dict__.get(name, UNSET) for name in names}
        return {name: item for name, item in found.items() if item is not UNSET}

    def __eq__(self, other: object) -> bool:
        """Documents are equal if all their fields are, `_id` and `_creationTime` included."""
        if type(other) is not type(self):
            return NotImplemented
        return self.encoded == other.encoded

    def __hash__(self) -> int:
        return hash(self.encoded if self._body is None else self._id)

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={item!r}" for name, item in self.to_dict().items())
        return f"{type(self).__name__}({fields})"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._body is not None:
            return (type(self)._from_stored, (self.encoded,))
        return (_constructed, (type(self), self.__dict__))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(
            f"Documents are immutable; to change `{name}`, use "
            f'ctx.db.patch(document._id, {{"{name}": ...}}).',
            name=name,
            obj=self,
        )

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"Documents are immutable; to remove `{name}`, use "
            f'ctx.db.patch(document._id, {{"{name}": UNSET}}).',
            name=name,
            obj=self,
        )

    @classmethod
    def __cupola_codec__(cls) -> Codec:
        """The codec of this class as a type hint."""
        return cls.__cupola_table__.codec


_set = object.__setattr__
_set_body = Table.__dict__["_body"].__set__
_body_of = Table.__dict__["_body"].__get__
_RESERVED = frozenset(name for name in dir(Table) if not name.startswith("_"))


def _constructed(kind: type[Table], fields: dict[str, Any]) -> Table:
    return kind(**fields)


def _own_fields(kind: type[Table]) -> list[str]:
    """The names that the class body annotates, without class variables."""
    fields = []
    for name, hint in own_annotations(kind).items():
        text = hint if isinstance(hint, str) else ""
        if typing.get_origin(hint) is ClassVar or hint is ClassVar or "ClassVar" in text:
            continue
        if name.startswith("_"):
            raise SchemaError(
                f"Table `{kind.__name__}`: field `{name}` starts with `_`, which is kept for "
                "system fields; rename it.",
                code="FieldNameReserved",
            )
        if name in _RESERVED:
            raise SchemaError(
                f"Table `{kind.__name__}`: `{name}` is a method of every document; "
                "rename the field.",
                code="FieldNameReserved",
            )
        check_field_name(name, f"Table `{kind.__name__}`, field `{name}`")
        fields.append(name)
    return fields


def _index_definitions(
    kind: type[Table], indexes: Mapping[str, IndexDeclaration]
) -> tuple[IndexDefinition, ...]:
    definitions = []
    for name, declared in indexes.items():
        if isinstance(declared, str):
            raise SchemaError(
                f"Index `{name}` of table `{kind.__table_name__}`: write its fields as a list, "
                f'["{declared}"].',
                code="InvalidIndexField",
            )
        if not isinstance(declared, TextIndex | VectorIndex):
            definitions.append(_index_definition(name, declared))
    check_table(TableDefinition(kind.__table_name__, indexes=tuple(definitions)))
    for index in definitions:
        for path in (*index.fields, *(index.aggregate or ())):
            if path.split(".")[0] not in kind.__field_names__:
                raise SchemaError(
                    f"Index `{index.name}` of table `{kind.__table_name__}` names `{path}`, but "
                    f"the table has {_quoted(kind.__field_names__) or 'no fields'}.",
                    code="InvalidIndexField",
                )
    return tuple(definitions)


def _search_definitions(
    indexes: Mapping[str, IndexDeclaration],
) -> tuple[SearchIndexDefinition, ...]:
    definitions: list[SearchIndexDefinition] = []
    for name, declared in indexes.items():
        match declared:
            case TextIndex(field=field, filters=filters, staged=staged):
                definitions.append(TextIndexDefinition(name, field, tuple(filters), staged))
            case VectorIndex(field=field, dimensions=size, filters=filters, staged=staged):
                definitions.append(VectorIndexDefinition(name, field, size, tuple(filters), staged))
    return tuple(definitions)


def _index_definition(name: str, declared: Sequence[str] | Unique | Aggregate) -> IndexDefinition:
    match declared:
        case Unique():
            return IndexDefinition(name, declared.fields, unique=True)
        case Aggregate():
            return IndexDefinition(
                name, declared.fields, unique=declared.unique, aggregate=declared.of
            )
        case _:
            return IndexDefinition(name, tuple(declared))


def _reference_definitions(kind: type[Table], info: TableInfo) -> tuple[ReferenceDefinition, ...]:
    definitions = []
    for field, on_delete in kind.__reference_rules__.items():
        if on_delete not in ON_DELETE:
            raise SchemaError(
                f"Table `{info.name}`, reference `{field}`: {on_delete!r} is none of "
                f"{', '.join(repr(rule) for rule in ON_DELETE)}.",
                code="InvalidReferenceField",
            )
        target = referenced_table(info.document, field)
        definitions.append(ReferenceDefinition(field, target or "", on_delete))
    return tuple(definitions)


def schema_of(tables: Iterable[type[Table]], *, validate: bool = True) -> SchemaDefinition:
    """The schema that these classes declare.

    Raises:
        SchemaError: Two have one name, or a definition that cannot be.
    """
    definitions = [table.__cupola_table__.definition for table in tables]
    return SchemaDefinition.of(definitions, validate=validate)
