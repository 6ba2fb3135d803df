"""Keeping unique indexes and references: checks at each write, and what a deletion draws along.

A check reads through the transaction, so it sees the transaction's own writes, and what it read is
in the read set: two transactions that ran at the same time and would both take a value, or delete a
document and refer to it, are an ordinary conflict; the one that commits second runs again and then
meets the other's write here.

While a schema is being pushed, the rules that are new in it do not hold yet: the old code goes on.
`pending_violation` looks at each commit and says why the push must fail.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cupola.database.catalog import Catalog, Document, Index, TableInfo
from cupola.database.documents import StoredDocument
from cupola.database.rules import Reference, TableRules
from cupola.errors import ReferenceViolationError, UniqueViolationError
from cupola.persistence import Reader
from cupola.values import UNSET, after, decode_canonical, encode_key

if TYPE_CHECKING:
    from cupola.database.transaction import Transaction
    from cupola.database.writes import Write

_ABSENT = frozenset({encode_key(UNSET), encode_key(None)})


def unique_prefix(index: Index, parts: tuple[bytes, ...]) -> bytes | None:
    """What no two keys of a unique index share; None where a field is absent or None."""
    fields = parts[: len(index.paths) - 1]  # without the creation time, nor the id
    return None if any(part in _ABSENT for part in fields) else b"".join(fields)


# ---------------------------------------------------------------- writes


def check_write(
    transaction: Transaction,
    rules: TableRules,
    table: TableInfo,
    old: StoredDocument | None,
    new: StoredDocument,
) -> None:
    """Refuse a new version of a document that breaks a rule of its table.

    Raises:
        UniqueViolationError, ReferenceViolationError: Nothing was written.
    """
    check_unique(transaction, rules, table, old, new)
    for reference in rules.references:
        _check_reference(transaction, reference, old, new)


def check_unique(
    transaction: Transaction,
    rules: TableRules,
    table: TableInfo,
    old: StoredDocument | None,
    new: StoredDocument,
) -> None:
    """The part of `check_write` that looks at no other table."""
    for index in rules.unique:
        _check_unique(transaction, table, index, old, new)


def has_references(transaction: Transaction, table: TableInfo) -> bool:
    rules = transaction.catalog.rules(table)
    return rules is not None and bool(rules.references)


def refuse_dangling(transaction: Transaction, table: TableInfo, document: StoredDocument) -> None:
    """Check the references of a document that came in without.

    Raises:
        ReferenceViolationError: One leads nowhere.
    """
    rules = transaction.catalog.rules(table)
    for reference in rules.references if rules is not None else ():
        _check_reference(transaction, reference, None, document)


def _check_unique(
    transaction: Transaction,
    table: TableInfo,
    index: Index,
    old: StoredDocument | None,
    new: StoredDocument,
) -> None:
    prefix = unique_prefix(index, index.parts_of(new))
    if prefix is None or (old is not None and unique_prefix(index, index.parts_of(old)) == prefix):
        return
    for document in transaction.under(index, prefix, len(index.paths) - 1, limit=1):
        other = str(document.value["_id"])
        fields = _quoted(index)
        raise UniqueViolationError(
            f'`{table.name}` already has a document with this {fields}: "{other}" '
            f"(unique index `{index.name}`). Change that one, or choose another value.",
            table=table.name,
            index=index.name,
            document_id=other,
        )


def _check_reference(
    transaction: Transaction,
    reference: Reference,
    old: StoredDocument | None,
    new: StoredDocument,
) -> None:
    target = new.value.get(reference.field, UNSET)
    if target is UNSET or target is None:
        return
    if old is not None and old.value.get(reference.field, UNSET) == target:
        return
    if transaction.get(str(target)) is None:
        raise ReferenceViolationError(
            f'`{reference.source.name}.{reference.field}` of "{new.value["_id"]!s}" refers to '
            f'"{target!s}", which is no document of `{reference.target}` (it may have been '
            "deleted).",
            table=reference.source.name,
            field=reference.field,
            document_id=str(new.value["_id"]),
        )


# ---------------------------------------------------------------- deletions


def delete_with_references(transaction: Transaction, document_id: str) -> None:
    """Delete a document and do what the references to it say; all of it, or nothing.

    Whether a reference with "restrict" is in the way is judged at the end: a document that refers
    to the deleted one in two ways may go by the other.

    Raises:
        ReferenceViolationError: A document that stays refers to one that would go.
        LimitError: More documents are drawn along than a transaction may read or write.
    """
    mark = transaction.mark()
    try:
        waiting, restricted = [document_id], []
        while waiting:
            gone = waiting.pop()
            document = transaction.get(gone)
            if document is None:
                continue  # it was drawn along already, by another way
            table = transaction.table_of(gone)
            transaction.remove(table, gone, document)
            rules = transaction.catalog.rules(table)
            for reference in rules.incoming if rules is not None else ():
                match reference.on_delete:
                    case "restrict":
                        restricted.append((reference, gone))
                    case "cascade":
                        waiting += _referring(transaction, reference, gone)
                    case "set-null":
                        for referring in _referring(transaction, reference, gone):
                            transaction.patch(referring, {reference.field: reference.empty})
        for reference, gone in restricted:
            _refuse_if_referred(transaction, reference, gone)
    except BaseException:
        transaction.rollback(mark)
        raise


def _referring(transaction: Transaction, reference: Reference, target: str) -> list[str]:
    found = transaction.under(reference.index, encode_key(target), 1)
    return [str(document.value["_id"]) for document in found]


def _refuse_if_referred(transaction: Transaction, reference: Reference, target: str) -> None:
    for document in transaction.under(reference.index, encode_key(target), 1, limit=1):
        referring = str(document.value["_id"])
        raise ReferenceViolationError(
            f'"{target}" of `{reference.target}` cannot be deleted: "{referring}" refers to it in '
            f"`{reference.source.name}.{reference.field}`. Delete or change that one first.",
            table=reference.source.name,
            field=reference.field,
            document_id=referring,
        )


# ---------------------------------------------------------------- while a schema is pushed


def pending_violation(reader: Reader, catalog: Catalog, write: Write) -> str | None:
    """Why the pending schema cannot be accepted after this write, which is applied already."""
    rules = catalog.pending_rules(write.table)
    if rules is None:
        return None
    if write.new is None:
        return _pending_deletion(reader, rules, write.id)
    for index in rules.unique:
        found = stored_twin(reader, index, index.parts_of(write.new))
        if found is not None:
            return twins(write.table, index, *found)
    return dangling(reader, catalog, rules.references, write.new.value)


def _pending_deletion(reader: Reader, rules: TableRules, document_id: str) -> str | None:
    key = encode_key(document_id)
    for reference in rules.incoming:
        rows = reader.scan(reference.index.number, key, after(key), descending=False, limit=1)
        if rows:
            return dangles(reference, _id_of(rows[0][2]), document_id)
    return None


def stored_twin(reader: Reader, index: Index, parts: tuple[bytes, ...]) -> tuple[str, str] | None:
    """Two stored documents that agree with a key in all that is to be unique, if there are two."""
    prefix = unique_prefix(index, parts)
    if prefix is None:
        return None
    rows = reader.scan(index.number, prefix, after(prefix), descending=False, limit=2)
    return (_id_of(rows[0][2]), _id_of(rows[1][2])) if len(rows) == 2 else None


def twins(table: TableInfo, index: Index, first: str, second: str) -> str:
    """What is wrong with two documents of one value."""
    return (
        f'documents "{first}" and "{second}" of `{table.name}` have the same {_quoted(index)}, '
        f"which index `{index.name}` says is unique."
    )


def dangling(
    reader: Reader,
    catalog: Catalog,
    references: tuple[Reference, ...],
    document: Mapping[str, Any] | Document,
) -> str | None:
    """What is wrong with a document whose reference leads nowhere, if one does."""
    for reference in references:
        target = document.get(reference.field, UNSET)
        if target is UNSET or target is None:
            continue
        table = catalog.by_name.get(reference.target)
        if table is None or reader.get(table.primary.number, encode_key(target)) is None:
            return dangles(reference, str(document["_id"]), str(target))
    return None


def dangles(reference: Reference, referring: str, target: str) -> str:
    return (
        f'document "{referring}" refers in `{reference.source.name}.{reference.field}` to '
        f'"{target}", which is no document of `{reference.target}`.'
    )


def _id_of(body: bytes) -> str:
    document: Any = decode_canonical(body)
    return str(document["_id"])


def _quoted(index: Index) -> str:
    return ", ".join(f"`{name}`" for name in index.field_names[:-1])
