"""Indexes for text and vectors as an app declares them."""

from typing import Any

import pytest

from cupola import Table, TextIndex, VectorIndex
from cupola.errors import SchemaError
from cupola.schema import (
    ANY,
    NUMBER,
    STRING,
    AnyValidator,
    ArrayValidator,
    Field,
    IndexDefinition,
    ObjectValidator,
    SchemaDefinition,
    SearchIndexDefinition,
    TableDefinition,
    TextIndexDefinition,
    UnionValidator,
    Validator,
    VectorIndexDefinition,
    schema_of,
)

DOCUMENT = ObjectValidator(
    {
        "body": Field(STRING),
        "author": Field(STRING),
        "emb": Field(ArrayValidator(NUMBER), True),
        "meta": Field(UnionValidator((STRING, ObjectValidator({"note": Field(STRING)})))),
        "free": Field(AnyValidator()),
        **{f"f{n}": Field(STRING) for n in range(17)},
    }
)


def table(*searches: SearchIndexDefinition, document: Validator = DOCUMENT) -> TableDefinition:
    return TableDefinition("messages", document, searches=searches)


def test_a_table_class_declares_them_beside_other_indexes() -> None:
    class Message(
        Table,
        name="messages",
        indexes={
            "by_author": ["author"],
            "search_body": TextIndex("body", filters=["author"]),
            "by_embedding": VectorIndex("embedding", dimensions=3, staged=True),
        },
    ):
        author: str
        body: str
        embedding: list[float]

    (definition,) = schema_of([Message]).tables.values()
    assert definition.indexes == (IndexDefinition("by_author", ("author",)),)
    assert definition.searches == (
        TextIndexDefinition("search_body", "body", ("author",)),
        VectorIndexDefinition("by_embedding", "embedding", 3, (), staged=True),
    )
    tree = definition.to_json()
    assert tree["searchIndexes"] == [
        {"indexDescriptor": "search_body", "searchField": "body", "filterFields": ["author"]}
    ]
    assert tree["vectorIndexes"] == tree["stagedSearchIndexes"] == []
    assert tree["stagedVectorIndexes"][0]["dimensions"] == 3


def test_their_json_is_read_and_written_again() -> None:
    searches = (
        TextIndexDefinition("a", "body"),
        TextIndexDefinition("b", "body", ("author",), staged=True),
        VectorIndexDefinition("c", "emb", 2),
        VectorIndexDefinition("d", "free", 4096, ("author", "body"), staged=True),
    )
    schema = SchemaDefinition.of([table(*searches)])
    assert SchemaDefinition.from_json(schema.to_json()) == schema


def test_a_field_is_searched_wherever_a_document_may_have_it() -> None:
    SchemaDefinition.of(
        [
            table(TextIndexDefinition("in_a_member", "meta.note", ("free.deep.down",))),
            TableDefinition("any", ANY, searches=(VectorIndexDefinition("v", "x.y", 2),)),
        ]
    )


@pytest.mark.parametrize(
    ("definition", "code"),
    [
        (table(TextIndexDefinition("by_id", "body")), "IndexNameReserved"),
        (table(TextIndexDefinition("_mine", "body")), "IndexNameReserved"),
        (table(TextIndexDefinition("my index", "body")), "InvalidIndexName"),
        (table(TextIndexDefinition("s", "nobody")), "InvalidIndexField"),
        (table(TextIndexDefinition("s", "body.length")), "InvalidIndexField"),
        (table(TextIndexDefinition("s", "body", ("nothing",))), "InvalidIndexField"),
        (table(TextIndexDefinition("s", "_id")), "IndexFieldsContainId"),
        (table(TextIndexDefinition("s", "body", ("author", "author"))), "IndexFieldsNotUnique"),
        (
            table(TextIndexDefinition("s", "body", tuple(f"f{n}" for n in range(17)))),
            "TooManyFilterFields",
        ),
        (
            table(TextIndexDefinition("s", "body"), TextIndexDefinition("t", "body")),
            "IndexNotUnique",
        ),
        (
            table(TextIndexDefinition("s", "body"), VectorIndexDefinition("s", "emb", 2)),
            "IndexNameNotUnique",
        ),
        (table(VectorIndexDefinition("v", "emb", 1)), "InvalidVectorDimension"),
        (table(VectorIndexDefinition("v", "emb", 4097)), "InvalidVectorDimension"),
        (table(VectorIndexDefinition("v", "body", 2)), "InvalidVectorField"),
        (table(*(TextIndexDefinition(f"s{n}", f"f{n % 17}") for n in range(65))), "TooManyIndexes"),
    ],
)
def test_what_cannot_be_is_refused(definition: TableDefinition, code: str) -> None:
    with pytest.raises(SchemaError) as caught:
        SchemaDefinition.of([definition])
    assert caught.value.code == code
    assert "messages" in caught.value.message


@pytest.mark.parametrize(
    "lists",
    [
        {"searchIndexes": {}},
        {"searchIndexes": ["s"]},
        {"searchIndexes": [{"indexDescriptor": "s"}]},
        {"searchIndexes": [{"indexDescriptor": "s", "searchField": "b", "filterFields": [1]}]},
        {"vectorIndexes": [{"indexDescriptor": "v", "vectorField": "b"}]},
        {"vectorIndexes": [{"indexDescriptor": "v", "vectorField": "b", "dimensions": 2.5}]},
    ],
)
def test_json_of_another_form_is_refused(lists: dict[str, Any]) -> None:
    with pytest.raises(SchemaError) as caught:
        SchemaDefinition.from_json({"tables": [{"tableName": "t", **lists}]})
    assert caught.value.code == "InvalidSchema"
