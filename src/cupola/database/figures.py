"""How many documents lie in a range of an index, what their numbers come to, and who is where.

An index that is aggregated answers from its summaries, without reading the documents. What is
looked at is noted in the transaction's read set, so a figure is as live as the documents.
"""

from __future__ import annotations

from cupola.database.catalog import Index
from cupola.database.documents import StoredDocument
from cupola.database.ranges import EVERYTHING, KeyRange
from cupola.database.read_set import RangeRead
from cupola.database.transaction import Transaction
from cupola.persistence import Summary


def count(transaction: Transaction, index: Index, keys: KeyRange) -> int:
    """How many documents lie in the range.

    Each counts as read, up to the bound, unless the index is aggregated. A whole table is
    counted by any aggregated index that it has.
    """
    counting: Index | None = index
    if index.aggregate is None:
        counting = _counting_index(transaction, index.table) if keys == EVERYTHING else None
    if counting is not None:
        return summarize(transaction, counting, keys, counts_only=True).count
    transaction.usage.range()
    read = RangeRead(index.number, *keys, False)
    read.exhausted()
    transaction.read_set.add_range(read)
    plain = transaction.sees_plainly(index.table)
    overlay = None if plain else transaction.overlay(index)
    mine = overlay.between(keys.start, keys.end) if overlay is not None else []
    bound = transaction.usage.documents_left + 1 + len(mine)  # as many as the overlay could hide
    total = transaction.reader.count(index.number, keys.start, keys.end, limit=bound)
    if overlay is not None:
        for key in mine:
            was_there = transaction.reader.get(index.number, key) is not None
            total += (overlay.rows[key] is not None) - was_there
    transaction.usage.counted(total)
    return total


def summarize(
    transaction: Transaction, index: Index, keys: KeyRange, *, counts_only: bool = False
) -> Summary:
    """What is known of the range of an aggregated index, without reading its documents."""
    transaction.usage.range()
    read = RangeRead(index.number, *keys, False)
    read.exhausted()
    transaction.read_set.add_range(read)
    return transaction.summaries(index, counts_only=counts_only).summarize(keys.start, keys.end)


def nth(
    transaction: Transaction, index: Index, keys: KeyRange, position: int, *, descending: bool
) -> StoredDocument | None:
    """The document that has `position` others before it in the range of an aggregated index.

    Read is the range up to it.
    """
    transaction.usage.range()
    read = RangeRead(index.number, *keys, descending)
    transaction.read_set.add_range(read)
    merged = transaction.summaries(index, counts_only=True)
    if descending:
        position = merged.summarize(keys.start, keys.end).count - 1 - position
    found = merged.nth(keys.start, keys.end, position) if position >= 0 else None
    if found is None:
        read.exhausted()
        return None
    key, document = found
    read.saw(key)
    transaction.usage.read(len(document.body))
    return document


def rank(
    transaction: Transaction,
    index: Index,
    keys: KeyRange,
    document: StoredDocument,
    *,
    descending: bool,
) -> int | None:
    """How many documents of the range of an aggregated index come before this one of its
    table; None: it is not in the range. Read is the part before it.
    """
    key = b"".join(index.parts_of(document))
    if key < keys.start or (keys.end is not None and key >= keys.end):
        return None
    start, end = (key + b"\0", keys.end) if descending else (keys.start, key)
    before = KeyRange(keys.fields, keys.prefix, start, end)
    return summarize(transaction, index, before, counts_only=True).count


def _counting_index(transaction: Transaction, table: int) -> Index | None:
    aggregated = transaction.catalog.by_number[table].aggregated
    return next((index for index in aggregated if index.state == "ready"), None)
