"""What tables and indexes an app declares, and their JSON.

A definition says what should be; what is (numbers, states of backfills) is the database's business.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias, get_args

import orjson
from msgspec import Struct, field

from cupola.errors import SchemaError
from cupola.schema.declarations import OnDelete
from cupola.schema.mismatch import ValidationError
from cupola.schema.scalars import (
    ANY,
    NUMBER,
    AnyValidator,
    IdValidator,
    Json,
    NullValidator,
    TableNumbers,
)
from cupola.schema.search_indexes import (
    SearchIndexDefinition,
    check_search_indexes,
    search_indexes_from_json,
    search_indexes_to_json,
)
from cupola.schema.validator_json import validator_from_json
from cupola.schema.validators import (
    Field,
    ObjectValidator,
    UnionValidator,
    Validator,
)
from cupola.values import UNSET, in_force, is_component_path, is_identifier, split_qualified

SYSTEM_FIELDS: Final = ("_id", "_creationTime")
BUILT_IN_INDEXES: Final = ("by_id", "by_creation_time")
ON_DELETE: Final = get_args(OnDelete)
_STORED_FILES: Final = "_storage"  # documents of the system that only deletions end


class IndexDefinition(Struct, frozen=True):
    """`fields` as declared: without `_creationTime`, which every index gets at its end.

    `unique`: no two documents agree in all fields. `aggregate`: the number fields whose sums and
    extremes are kept beside the counts of ranges; None: nothing is.
    """

    name: str
    fields: tuple[str, ...]
    staged: bool = False
    unique: bool = False
    aggregate: tuple[str, ...] | None = None

    def to_json(self) -> Json:
        """The reference's form; what it does not know is there only where it is used."""
        tree: dict[str, Json] = {"indexDescriptor": self.name, "fields": list(self.fields)}
        if self.unique:
            tree["unique"] = True
        if self.aggregate is not None:
            tree["aggregate"] = list(self.aggregate)
        return tree

    def is_built_like(self, other: object) -> bool:
        """Whether both need the same rows, so that one can become the other at once."""
        if not isinstance(other, IndexDefinition):
            return False
        mine = self.fields, self.unique, self.aggregate
        return mine == (other.fields, other.unique, other.aggregate)


AnyIndexDefinition: TypeAlias = IndexDefinition | SearchIndexDefinition


class ReferenceDefinition(Struct, frozen=True):
    """`field` holds the id of a document of `table`, which is there as long as this one is."""

    field: str
    table: str
    on_delete: OnDelete

    def to_json(self) -> Json:
        return {"field": self.field, "table": self.table, "onDelete": self.on_delete}


class TableDefinition(Struct, frozen=True):
    """`document` describes the fields without the system fields, which every document has."""

    name: str
    document: Validator = ANY
    indexes: tuple[IndexDefinition, ...] = ()
    searches: tuple[SearchIndexDefinition, ...] = ()
    references: tuple[ReferenceDefinition, ...] = ()

    def to_json(self) -> Json:
        def plain(staged: bool) -> Json:
            return [index.to_json() for index in self.indexes if index.staged == staged]

        references = [reference.to_json() for reference in self.references]
        return {
            "tableName": self.name,
            "indexes": plain(False),
            "stagedDbIndexes": plain(True),
            **search_indexes_to_json(self.searches),
            "documentType": self.document.to_json(),
            **({"references": references} if references else {}),
        }

    def document_checker(self, tables: TableNumbers | None) -> Callable[[Mapping[str, Any]], None]:
        """A check of a document's fields, with or without system fields, before it is written.

        The returned function raises SchemaError, code SchemaEnforcementError.
        """
        accepts = _with_system_fields(self.document, self.name, optional=True).predicate(tables)

        def check(document: Mapping[str, Any]) -> None:
            if accepts(document):
                return
            fields = {k: v for k, v in document.items() if k not in SYSTEM_FIELDS}
            try:
                self.document.explain(fields, tables)
            except ValidationError as error:
                raise SchemaError(
                    f'Failed to insert or update a document in table "{self.name}" because it '
                    f"does not match the schema: {error.message}"
                ) from None

        return check

    def stored_document(self) -> Validator:
        """The validator of whole documents: the declared fields with `_id` and `_creationTime`."""
        return _with_system_fields(self.document, self.name, optional=False)


def _with_system_fields(document: Validator, table: str, *, optional: bool) -> Validator:
    match document:
        case ObjectValidator():
            system = {
                "_id": Field(IdValidator(table), optional),
                "_creationTime": Field(NUMBER, optional),
            }
            return ObjectValidator({**document.fields, **system})
        case UnionValidator():
            members = document.members
            return UnionValidator(
                tuple(_with_system_fields(member, table, optional=optional) for member in members)
            )
        case _:
            return document


class SchemaDefinition(Struct, frozen=True):
    """Tables by name. With `validate` off, documents are not checked against them."""

    tables: dict[str, TableDefinition] = field(default_factory=dict)
    validate: bool = True

    @classmethod
    def of(
        cls,
        tables: Iterable[TableDefinition],
        *,
        validate: bool = True,
    ) -> "SchemaDefinition":
        """The schema of these tables, checked and sorted by name.

        Raises:
            SchemaError: A name, an index or a document type that cannot be.
        """
        by_name: dict[str, TableDefinition] = {}
        for table in sorted(tables, key=lambda table: table.name):
            if table.name in by_name:
                raise SchemaError(
                    f"Table `{table.name}` is declared twice; rename one.", code="TableNotUnique"
                )
            check_table(table)
            by_name[table.name] = table
        if len(by_name) > (most := in_force().tables_max):
            raise SchemaError(
                f"The schema has {len(by_name)} tables; at most {most} are allowed.",
                code="TooManyTables",
            )
        return cls(by_name, validate)

    def checked(self) -> "SchemaDefinition":
        """The same to be joined with others that are checked: if this one is not, its tables take
        any documents.
        """
        if self.validate:
            return self
        tables = {
            name: TableDefinition(name, ANY, table.indexes, table.searches)
            for name, table in self.tables.items()
        }
        return SchemaDefinition(tables, True)

    def to_json(self) -> Json:
        return {
            "tables": [self.tables[name].to_json() for name in sorted(self.tables)],
            "schemaValidation": self.validate,
        }

    @classmethod
    def from_json(cls, schema: Json | str | bytes) -> "SchemaDefinition":
        """Read the form that `defineSchema(...).export()` writes: its text, or the parsed tree.

        Raises:
            SchemaError: It is no such form, or describes a schema that cannot be.
        """
        tree = _parsed(schema) if isinstance(schema, str | bytes) else schema
        if not isinstance(tree, dict) or not isinstance(tree.get("tables"), list):
            raise _malformed("it must be an object with a list of `tables`")
        validate = tree.get("schemaValidation", False)
        if not isinstance(validate, bool):
            raise _malformed("`schemaValidation` must be true or false")
        return cls.of(map(_table_from_json, tree["tables"]), validate=validate)


# ------------------------------------------------------------------------------------------ rules


def check_table(table: TableDefinition) -> None:
    """Refuse names, indexes and document types that cannot be.

    Raises:
        SchemaError: The code names the rule.
    """
    component, own_name = split_qualified(table.name)
    _check_name(own_name, "a table", "InvalidTableName")
    if own_name.startswith("_") or not is_component_path(component):
        raise SchemaError(
            f"Table `{table.name}`: names that start with `_` are the system's; rename it.",
            code="TableNameReserved",
        )
    _check_document_type(table)
    count = len(table.indexes) + len(table.searches)
    if count > (most := in_force().indexes_per_table_max):
        raise SchemaError(
            f"Table `{table.name}` has {count} indexes; at most {most} are allowed.",
            code="TooManyIndexes",
        )
    names: set[str] = set()
    fields: dict[tuple[str, ...], str] = {}
    for index in table.indexes:
        _check_index(table.name, index)
        if index.name in names:
            raise _two_of_one_name(table.name, index.name)
        if (twin := fields.get(index.fields)) is not None:
            raise SchemaError(
                f"Indexes `{twin}` and `{index.name}` of table `{table.name}` have the same "
                "fields; remove one.",
                code="IndexNotUnique",
            )
        names.add(index.name)
        fields[index.fields] = index.name
    check_search_indexes(
        table.name, table.document, table.searches, _check_index_name, _check_index_field
    )
    for search in table.searches:
        if search.name in names:
            raise _two_of_one_name(table.name, search.name)
        names.add(search.name)
    for reference in table.references:
        check_reference(table, reference)


def _check_document_type(table: TableDefinition) -> None:
    document = table.document
    members = document.members if isinstance(document, UnionValidator) else (document,)
    for member in members:
        if isinstance(member, AnyValidator) and member is document:
            return
        if not isinstance(member, ObjectValidator):
            raise SchemaError(
                f"Table `{table.name}`: a document type is an object, a union of objects, or any; "
                f"not {member.describe()}.",
                code="InvalidDocumentType",
            )
        for name in member.fields:
            if name.startswith("_"):
                raise SchemaError(
                    f"Table `{table.name}`: field `{name}` starts with `_`, which is kept for "
                    "system fields; rename it.",
                    code="FieldNameReserved",
                )


def _two_of_one_name(table: str, index: str) -> SchemaError:
    return SchemaError(
        f"Table `{table}` has two indexes named `{index}`; rename one.", code="IndexNameNotUnique"
    )


def _check_index_name(name: str, where: str) -> None:
    _check_name(name, f"an index, as the {where}", "InvalidIndexName")
    if name.startswith("_") or name in BUILT_IN_INDEXES:
        raise SchemaError(
            f"The {where} must be renamed: {', '.join(BUILT_IN_INDEXES)} and names that start "
            "with `_` are built in.",
            code="IndexNameReserved",
        )


def _check_index(table: str, index: IndexDefinition) -> None:
    where = f"index `{index.name}` of table `{table}`"
    _check_index_name(index.name, where)
    if not index.fields:
        raise SchemaError(f"The {where} has no fields; name at least one.", code="IndexFieldsEmpty")
    if len(index.fields) > (most := in_force().fields_per_index_max):
        raise SchemaError(
            f"The {where} has {len(index.fields)} fields; at most {most} are allowed.",
            code="TooManyIndexFields",
        )
    for path in index.fields:
        _check_index_field(where, path)
    if len(set(index.fields)) < len(index.fields):
        raise SchemaError(f"The {where} names a field twice.", code="IndexFieldsNotUnique")
    for path in index.aggregate or ():
        _check_index_field(where, path)
    if len(index.aggregate or ()) > most:
        raise SchemaError(
            f"The {where} aggregates {len(index.aggregate or ())} fields; at most {most} are "
            "allowed.",
            code="TooManyIndexFields",
        )


def check_reference(table: TableDefinition, reference: ReferenceDefinition) -> None:
    """Refuse a reference that no rule could keep.

    Raises:
        SchemaError: It is no field that holds ids of one table, has no index, or cannot be emptied.
    """
    where = f"Table `{table.name}`: the reference `{reference.field}`"
    target = referenced_table(table.document, reference.field)
    if target is None:
        raise SchemaError(
            f"{where} is no field that holds an id: annotate it as Id[...], or Id[...] | None.",
            code="InvalidReferenceField",
        )
    if target != reference.table:
        raise SchemaError(
            f"{where} is to `{reference.table}`, but the field holds ids of `{target}`.",
            code="InvalidReferenceField",
        )
    own_name = split_qualified(target)[1]
    if own_name.startswith("_") and own_name != _STORED_FILES:
        raise SchemaError(
            f"{where} is to `{target}`, whose documents go by themselves some time after the "
            "function has run, whatever refers to them. Leave it out of the references: the field "
            "may keep the id, and `ctx.db.system.get` then finds nothing.",
            code="InvalidReferenceField",
        )
    if not any(index.fields[0] == reference.field for index in table.indexes if not index.staged):
        raise SchemaError(
            f"{where} needs an index that begins with the field, to find what refers to a deleted "
            f'document: indexes={{"by_{reference.field}": ["{reference.field}"]}}.',
            code="InvalidReferenceField",
        )
    if reference.on_delete == "set-null" and emptied(table.document, reference.field) is ...:
        raise SchemaError(
            f"{where} cannot be set to null: let the field be None (Id[...] | None) or absent "
            "(Id[...] | UnsetType = UNSET).",
            code="InvalidReferenceField",
        )


def referenced_table(document: Validator, name: str) -> str | None:
    """The table whose ids a top-level field holds; None: it holds something else as well."""
    if not isinstance(document, ObjectValidator) or name not in document.fields:
        return None
    validator = document.fields[name].validator
    members = validator.members if isinstance(validator, UnionValidator) else (validator,)
    tables = {member.table for member in members if isinstance(member, IdValidator)}
    others = [m for m in members if not isinstance(m, IdValidator | NullValidator)]
    return tables.pop() if len(tables) == 1 and not others else None


def emptied(document: Validator, name: str) -> Any:
    """What stands for "no document" in a reference: None, UNSET (it is absent), or `...`: nothing
    does.
    """
    assert isinstance(document, ObjectValidator)
    found = document.fields[name]
    if found.validator.accepts(None):
        return None
    return UNSET if found.optional else ...


def _check_index_field(where: str, path: str) -> None:
    if path == "_creationTime":
        raise SchemaError(
            f"The {where} names `_creationTime`, which every index ends with anyway; leave it out.",
            code="IndexFieldsContainCreationTime",
        )
    if path == "_id":
        raise SchemaError(
            f"The {where} names `_id`; every document is found by it anyway. Leave it out.",
            code="IndexFieldsContainId",
        )
    if path.startswith("_"):
        raise SchemaError(
            f"The {where} names `{path}`; fields that start with `_` are the system's.",
            code="IndexFieldNameReserved",
        )
    for part in path.split("."):
        _check_name(part, f"a field, as {where} has it", "InvalidIndexField")


def _check_name(name: str, what: str, code: str) -> None:
    if not is_identifier(name):
        raise SchemaError(
            f"`{name[:80]}` cannot be the name of {what}: use up to 64 letters A to Z, digits and "
            "underscores, the first no digit, and not only underscores.",
            code=code,
        )


# ------------------------------------------------------------------------------------------- JSON


def _parsed(text: str | bytes) -> Json:
    try:
        return orjson.loads(text)
    except ValueError as error:
        raise _malformed(str(error)) from None


def _table_from_json(tree: Json) -> TableDefinition:
    if not isinstance(tree, dict) or not isinstance(name := tree.get("tableName"), str):
        raise _malformed("each table is an object with a `tableName`")
    indexes = [
        *_indexes_from_json(tree, "indexes", name, staged=False),
        *_indexes_from_json(tree, "stagedDbIndexes", name, staged=True),
    ]
    searches = tuple(search_indexes_from_json(tree, name))
    references = [_reference_from_json(r, name) for r in _list(tree, "references", name)]
    document_type = tree.get("documentType")
    document = ANY if document_type is None else _document_from_json(document_type, name)
    references += _noted_references(tree, document)
    return TableDefinition(name, document, tuple(indexes), searches, tuple(references))


def _noted_references(tree: Json, document: Validator) -> Iterable[ReferenceDefinition]:
    """References noted on the index that begins with their field.

    Only what stands on an index passes through `defineSchema(...).export()`.
    """
    for index in tree.get("indexes") or ():
        if (on_delete := index.get("onDelete")) is None:
            continue
        field = index["fields"][0] if index["fields"] else ""
        target = referenced_table(document, field) or ""
        yield _reference_from_json(
            {"field": field, "table": target, "onDelete": on_delete}, tree["tableName"]
        )


def _reference_from_json(tree: Json, table: str) -> ReferenceDefinition:
    try:
        field, target, on_delete = tree["field"], tree["table"], tree["onDelete"]
    except (TypeError, KeyError):
        field = target = on_delete = None
    if not isinstance(field, str) or not isinstance(target, str) or on_delete not in ON_DELETE:
        raise _malformed(
            f"each of the `references` of `{table}` has a `field`, a `table` and an `onDelete`"
        )
    return ReferenceDefinition(field, target, on_delete)


def _indexes_from_json(
    tree: Json, kind: str, table: str, *, staged: bool
) -> Iterable[IndexDefinition]:
    for index in _list(tree, kind, table):
        name = index.get("indexDescriptor") if isinstance(index, dict) else None
        fields = index.get("fields") if isinstance(index, dict) else None
        if (
            not isinstance(name, str)
            or not isinstance(fields, list)
            or not all(isinstance(path, str) for path in fields)
        ):
            raise _malformed(
                f"each of the `{kind}` of `{table}` has an `indexDescriptor` and a list of `fields`"
            )
        aggregate = index.get("aggregate")
        unique = index.get("unique", False)
        if (
            not isinstance(unique, bool)
            or not (aggregate is None or isinstance(aggregate, list))
            or not all(isinstance(path, str) for path in aggregate or ())
        ):
            raise _malformed(
                f"`unique` of index `{table}.{name}` is true or false, `aggregate` a list of fields"
            )
        yield IndexDefinition(
            name,
            tuple(fields),
            staged,
            unique,
            tuple(aggregate) if aggregate is not None else None,
        )


def _list(tree: Json, key: str, table: str) -> list[Json]:
    found = tree.get(key)
    if found is None:
        return []
    if not isinstance(found, list):
        raise _malformed(f"`{key}` of `{table}` must be a list")
    return found


def _document_from_json(tree: Json, table: str) -> Validator:
    try:
        return _without_system_fields(validator_from_json(tree))
    except SchemaError as error:
        raise SchemaError(f"Table `{table}`: {error.message}", code=error.code) from None


def _without_system_fields(document: Validator) -> Validator:
    match document:
        case ObjectValidator():
            fields = {k: v for k, v in document.fields.items() if k not in SYSTEM_FIELDS}
            return ObjectValidator(fields)
        case UnionValidator():
            return UnionValidator(tuple(map(_without_system_fields, document.members)))
        case _:
            return document


def _malformed(reason: str) -> SchemaError:
    return SchemaError(f"This is no schema: {reason}.", code="InvalidSchema")
