"""Values: the model, its order and size, ids, paths, and the encodings for wire, disk and index."""

from cupola.values.bounds import in_force, use_limits
from cupola.values.checks import check_document
from cupola.values.encoding import (
    check_value,
    clean_from_encoded,
    decode,
    decode_canonical,
    decode_export,
    decode_tree,
    encode,
    encode_clean,
    encode_export,
    is_unresolved,
    resolved,
)
from cupola.values.ids import decode_id, encode_id, new_internal_id, table_number_of
from cupola.values.keys import after, decode_key, encode_key, encode_keys
from cupola.values.model import (
    COMMIT_TIMESTAMP,
    UNSET,
    CommitTimestamp,
    Encoded,
    EncodedItems,
    Int64,
    UnsetType,
    Value,
)
from cupola.values.order import compare, values_equal
from cupola.values.paths import (
    FunctionPath,
    check_identifier,
    is_component_path,
    is_identifier,
    parse_function_path,
    qualified,
    qualified_table,
    split_qualified,
)
from cupola.values.size import document_size, size_of

__all__ = [
    "COMMIT_TIMESTAMP",
    "UNSET",
    "CommitTimestamp",
    "Encoded",
    "EncodedItems",
    "FunctionPath",
    "Int64",
    "UnsetType",
    "Value",
    "after",
    "check_document",
    "check_identifier",
    "check_value",
    "clean_from_encoded",
    "compare",
    "decode",
    "decode_canonical",
    "decode_export",
    "decode_id",
    "decode_key",
    "decode_tree",
    "document_size",
    "encode",
    "encode_clean",
    "encode_export",
    "encode_id",
    "encode_key",
    "encode_keys",
    "in_force",
    "is_component_path",
    "is_identifier",
    "is_unresolved",
    "new_internal_id",
    "parse_function_path",
    "qualified",
    "qualified_table",
    "resolved",
    "size_of",
    "split_qualified",
    "table_number_of",
    "use_limits",
    "values_equal",
]
