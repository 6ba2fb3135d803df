"""Validators, table and index definitions, and what Python type hints mean."""

from cupola.schema.codecs import Codec
from cupola.schema.declarations import Aggregate, OnDelete, TextIndex, Unique, VectorIndex
from cupola.schema.definitions import (
    SYSTEM_FIELDS,
    AnyIndexDefinition,
    IndexDefinition,
    ReferenceDefinition,
    SchemaDefinition,
    TableDefinition,
    emptied,
)
from cupola.schema.hints import codec_of, field_codec_of
from cupola.schema.ids import Id
from cupola.schema.mismatch import ValidationError, display
from cupola.schema.parameters import ParameterCodec, return_codec_of
from cupola.schema.scalars import (
    ANY,
    BIGINT,
    BOOLEAN,
    BYTES,
    NULL,
    NUMBER,
    STRING,
    AnyValidator,
    BigIntValidator,
    BooleanValidator,
    BytesValidator,
    CommitTimestampValidator,
    IdValidator,
    LiteralValidator,
    NullValidator,
    NumberValidator,
    StringValidator,
)
from cupola.schema.search_indexes import (
    SearchIndexDefinition,
    TextIndexDefinition,
    VectorIndexDefinition,
)
from cupola.schema.subset import is_subset
from cupola.schema.table import Table, TableInfo, schema_of
from cupola.schema.validator_json import validator_from_json
from cupola.schema.validators import (
    ArrayValidator,
    Field,
    ObjectValidator,
    RecordValidator,
    UnionValidator,
    Validator,
    union_of,
)

__all__ = [
    "ANY",
    "BIGINT",
    "BOOLEAN",
    "BYTES",
    "NULL",
    "NUMBER",
    "STRING",
    "SYSTEM_FIELDS",
    "Aggregate",
    "AnyIndexDefinition",
    "AnyValidator",
    "ArrayValidator",
    "BigIntValidator",
    "BooleanValidator",
    "BytesValidator",
    "Codec",
    "CommitTimestampValidator",
    "Field",
    "Id",
    "IdValidator",
    "IndexDefinition",
    "LiteralValidator",
    "NullValidator",
    "NumberValidator",
    "ObjectValidator",
    "OnDelete",
    "ParameterCodec",
    "RecordValidator",
    "ReferenceDefinition",
    "SchemaDefinition",
    "SearchIndexDefinition",
    "StringValidator",
    "Table",
    "TableDefinition",
    "TableInfo",
    "TextIndex",
    "TextIndexDefinition",
    "UnionValidator",
    "Unique",
    "ValidationError",
    "Validator",
    "VectorIndex",
    "VectorIndexDefinition",
    "codec_of",
    "display",
    "emptied",
    "field_codec_of",
    "is_subset",
    "return_codec_of",
    "schema_of",
    "union_of",
    "validator_from_json",
]
