"""Tables and indexes as an app declares them."""

import json
from typing import Any

import pytest

from cupola.errors import SchemaError
from cupola.limits import DEFAULT_LIMITS, Limits
from cupola.schema import (
    ANY,
    BIGINT,
    NUMBER,
    STRING,
    ArrayValidator,
    Field,
    IdValidator,
    IndexDefinition,
    ObjectValidator,
    SchemaDefinition,
    TableDefinition,
    TextIndexDefinition,
    UnionValidator,
    VectorIndexDefinition,
)
from cupola.values import Int64, encode_id, use_limits

EXPORTED = {
    "tables": [
        {
            "tableName": "messages",
            "indexes": [{"indexDescriptor": "by_author", "fields": ["author", "n"]}],
            "stagedDbIndexes": [{"indexDescriptor": "by_n", "fields": ["n"]}],
            "searchIndexes": [
                {"indexDescriptor": "s", "searchField": "body", "filterFields": ["author"]}
            ],
            "stagedSearchIndexes": [],
            "vectorIndexes": [
                {
                    "indexDescriptor": "vi",
                    "vectorField": "emb",
                    "dimensions": 3,
                    "filterFields": ["author"],
                }
            ],
            "stagedVectorIndexes": [],
            "documentType": {
                "type": "object",
                "value": {
                    "body": {"fieldType": {"type": "string"}, "optional": False},
                    "author": {
                        "fieldType": {"type": "id", "tableName": "users"},
                        "optional": False,
                    },
                    "n": {"fieldType": {"type": "bigint"}, "optional": True},
                    "emb": {
                        "fieldType": {"type": "array", "value": {"type": "number"}},
                        "optional": True,
                    },
                },
            },
        }
    ],
    "schemaValidation": True,
}
DOCUMENT = ObjectValidator(
    {
        "body": Field(STRING),
        "author": Field(IdValidator("users")),
        "n": Field(BIGINT, True),
        "emb": Field(ArrayValidator(NUMBER), True),
    }
)
TABLES = {"users": 10001, "messages": 10002}
USER_ID = encode_id(10001, bytes(16))
MESSAGE_ID = encode_id(10002, bytes(16))


def with_indexes(*indexes: IndexDefinition) -> TableDefinition:
    return TableDefinition("messages", DOCUMENT, indexes)


def test_an_exported_schema_is_read_and_written_again() -> None:
    schema = SchemaDefinition.from_json(EXPORTED)
    assert schema.tables["messages"].indexes == (
        IndexDefinition("by_author", ("author", "n")),
        IndexDefinition("by_n", ("n",), staged=True),
    )
    assert schema.tables["messages"].searches == (
        TextIndexDefinition("s", "body", ("author",)),
        VectorIndexDefinition("vi", "emb", 3, ("author",)),
    )
    assert schema.tables["messages"].document == DOCUMENT
    assert schema.to_json() == EXPORTED
    assert SchemaDefinition.from_json(json.dumps(schema.to_json())) == schema


def test_what_is_left_out_has_its_documented_meaning() -> None:
    schema = SchemaDefinition.from_json({"tables": [{"tableName": "t"}]})
    assert schema.validate is False
    assert schema.tables["t"] == TableDefinition("t", ANY)


def test_tables_are_sorted_by_name() -> None:
    schema = SchemaDefinition.of([TableDefinition("b"), TableDefinition("a")])
    assert [table["tableName"] for table in schema.to_json()["tables"]] == ["a", "b"]


def test_system_fields_of_a_document_type_are_ignored() -> None:
    value = EXPORTED["tables"][0]["documentType"]["value"]  # type: ignore[index]
    system = {
        "_id": {"fieldType": {"type": "id", "tableName": "messages"}, "optional": False},
        "_creationTime": {"fieldType": {"type": "number"}, "optional": False},
    }
    plain = {"type": "object", "value": {**value, **system}}
    for tree in (plain, {"type": "union", "value": [plain]}):
        table = {"tableName": "messages", "documentType": tree}
        document = SchemaDefinition.from_json({"tables": [table]}).tables["messages"].document
        assert document in (DOCUMENT, UnionValidator((DOCUMENT,)))


@pytest.mark.parametrize(
    ("tree", "code"),
    [
        ("{", "InvalidSchema"),
        ("[" * 100_000, "InvalidSchema"),
        (None, "InvalidSchema"),
        ({"tables": {}}, "InvalidSchema"),
        ({"tables": [], "schemaValidation": "yes"}, "InvalidSchema"),
        ({"tables": [{}]}, "InvalidSchema"),
        ({"tables": [{"tableName": "t", "indexes": {}}]}, "InvalidSchema"),
        ({"tables": [{"tableName": "t", "indexes": ["by_x"]}]}, "InvalidSchema"),
        (
            {"tables": [{"tableName": "t", "indexes": [{"indexDescriptor": "i", "fields": [1]}]}]},
            "InvalidSchema",
        ),
        ({"tables": [{"tableName": "t", "documentType": {"type": "x"}}]}, "InvalidValidator"),
        (
            {"tables": [{"tableName": "t", "documentType": {"type": "string"}}]},
            "InvalidDocumentType",
        ),
        ({"tables": [{"tableName": "t"}, {"tableName": "t"}]}, "TableNotUnique"),
        ({"tables": [{"tableName": "a-b"}]}, "InvalidTableName"),
        ({"tables": [{"tableName": "_storage"}]}, "TableNameReserved"),
    ],
)
def test_json_that_is_no_schema_is_refused(tree: Any, code: str) -> None:
    with pytest.raises(SchemaError) as caught:
        SchemaDefinition.from_json(tree)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("table", "code"),
    [
        (
            with_indexes(IndexDefinition("by_time", ("_creationTime",))),
            "IndexFieldsContainCreationTime",
        ),
        (with_indexes(IndexDefinition("i", ("body", "_id"))), "IndexFieldsContainId"),
        (with_indexes(IndexDefinition("i", ("_secret",))), "IndexFieldNameReserved"),
        (with_indexes(IndexDefinition("i", ())), "IndexFieldsEmpty"),
        (with_indexes(IndexDefinition("i", ("body", "body"))), "IndexFieldsNotUnique"),
        (with_indexes(IndexDefinition("i", ("a..b",))), "InvalidIndexField"),
        (
            with_indexes(IndexDefinition("i", tuple(f"f{n}" for n in range(17)))),
            "TooManyIndexFields",
        ),
        (with_indexes(IndexDefinition("by_id", ("body",))), "IndexNameReserved"),
        (with_indexes(IndexDefinition("by_creation_time", ("body",))), "IndexNameReserved"),
        (with_indexes(IndexDefinition("_mine", ("body",))), "IndexNameReserved"),
        (with_indexes(IndexDefinition("by body", ("body",))), "InvalidIndexName"),
        (
            with_indexes(IndexDefinition("i", ("body",)), IndexDefinition("i", ("author",))),
            "IndexNameNotUnique",
        ),
        (
            with_indexes(IndexDefinition("i", ("body",)), IndexDefinition("j", ("body",))),
            "IndexNotUnique",
        ),
        (
            with_indexes(*(IndexDefinition(f"i{n}", (f"f{n}",)) for n in range(65))),
            "TooManyIndexes",
        ),
        (TableDefinition("t", ObjectValidator({"_x": Field(STRING)})), "FieldNameReserved"),
        (TableDefinition("t", UnionValidator((DOCUMENT, ANY))), "InvalidDocumentType"),
    ],
)
def test_a_definition_that_cannot_be_is_refused(table: TableDefinition, code: str) -> None:
    with pytest.raises(SchemaError) as caught:
        SchemaDefinition.of([table])
    assert caught.value.code == code
    assert table.name in caught.value.message


def test_sixty_four_indexes_of_sixteen_nested_fields_are_allowed() -> None:
    paths = [tuple(f"a{n}.b{m}" for m in range(16)) for n in range(64)]
    indexes = (IndexDefinition(f"i{n}", fields) for n, fields in enumerate(paths))
    SchemaDefinition.of([with_indexes(*indexes)])


def test_the_number_of_tables_is_bounded() -> None:
    tables = [TableDefinition("a"), TableDefinition("b"), TableDefinition("c")]
    use_limits(Limits(tables_max=2))
    try:
        with pytest.raises(SchemaError, match="at most 2"):
            SchemaDefinition.of(tables)
    finally:
        use_limits(DEFAULT_LIMITS)


def test_a_document_is_checked_with_or_without_its_system_fields() -> None:
    check = with_indexes().document_checker(TABLES)
    fields = {"body": "hi", "author": USER_ID, "n": Int64(1)}
    check(fields)
    check({**fields, "_id": MESSAGE_ID, "_creationTime": 1.0})
    with pytest.raises(SchemaError) as caught:
        check({"_id": MESSAGE_ID, "_creationTime": 1.0, "body": "hi", "author": MESSAGE_ID})
    assert caught.value.code == "SchemaEnforcementError"
    assert caught.value.message == (
        'Failed to insert or update a document in table "messages" because it does not match the '
        f'schema: Found ID "{MESSAGE_ID}" from table `messages`, which does not match the table '
        'name in validator `v.id("users")`.\nPath: .author'
    )


def test_any_document_fits_a_table_of_any() -> None:
    TableDefinition("t").document_checker(TABLES)({"whatever": [None]})


def test_the_validator_of_whole_documents_has_the_system_fields() -> None:
    stored = TableDefinition("messages", UnionValidator((DOCUMENT,))).stored_document()
    stored.check({"body": "", "author": USER_ID, "_id": MESSAGE_ID, "_creationTime": 1.0}, TABLES)
    assert not stored.accepts({"body": "", "author": USER_ID})
