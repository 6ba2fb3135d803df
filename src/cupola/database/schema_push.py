"""Accepting a new schema while the old one serves.

A push goes through four stages, each made of small groups that the caller paces (`for _ in
push.steps(): ...`):

1. *declare*: missing tables come into being; new indexes are declared as backfilling, so that every
   write from now on maintains them; the schema is stored as pending, so that every write is checked
   against it too;
2. *backfill*: rows of the new indexes for what was there before, in batches by id; those for
   searches are built elsewhere meanwhile, and waited for after stage 3 unless they are staged;
3. *check*: stored documents against the pending schema, only in tables where it may refuse what the
   old one took; new unique indexes for values that occur twice; new references for those that lead
   nowhere;
4. *accept*: in one transaction the schema becomes active, new indexes ready, and dropped ones cease
   to exist.

Whatever fails before stage 4 leaves the old schema as it was: `steps` raises, and takes back what
it declared. A push that was killed is cleaned up by the next one.

`prepare` is stages 1 to 3, `accept` is stage 4: between the two a push may wait for its owner, with
writes checked against both schemas. Another push that begins meanwhile overwrites it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NoReturn

from cupola.clock import Clock
from cupola.database.aggregates import entry_change
from cupola.database.catalog import (
    INDEXES,
    SCHEMAS,
    TABLES,
    Catalog,
    Document,
    Index,
    TableInfo,
    building,
)
from cupola.database.committer import Committer, Published
from cupola.database.constraints import dangling, stored_twin, twins, unique_prefix
from cupola.database.documents import own_fields
from cupola.database.search_indexes import (
    NothingToBuild,
    SearchBuilds,
    SearchIndex,
    definition_fields,
)
from cupola.database.system_commits import commit_now
from cupola.database.transaction import Transaction
from cupola.errors import DeveloperError, SchemaError
from cupola.persistence import CommitRecord, IndexEntry, Persistence, Row, SummaryChange, Timestamp
from cupola.schema import AnyIndexDefinition, SchemaDefinition, is_subset
from cupola.values import decode_canonical

_BATCH = 200  # documents per group: about 5 ms with three indexes; a quarter with summaries
_DROP_BATCH = 2000
_STEP_BYTES = 4 * 2**20  # of the documents; they come along, too, where only keys are looked at
_ROWS_AT_ONCE = 20  # their bytes are known when they are here: that many may be over it


class SchemaPush:
    """One attempt to make `schema` the active one."""

    def __init__(
        self,
        schema: SchemaDefinition,
        committer: Committer,
        persistence: Persistence,
        clock: Clock,
        publish: Callable[[list[Published]], None],
        searches: SearchBuilds | None = None,
    ) -> None:
        self._schema = schema
        self._searches = searches or NothingToBuild()
        self._committer = committer
        self._persistence = persistence
        self._clock = clock
        self._publish = publish
        self.is_prepared = False
        """Nothing is left to be built or checked."""
        self.is_accepted = False
        """The schema is in force; what steps are left delete what nobody reads any more."""
        self.is_overwritten = False
        """Set by the owner: another push has begun, so this one must not be accepted any more."""
        self.failed_table: str | None = None
        """The table of the document that refused the schema."""
        self._is_waiting = False

    def steps(self, also: Callable[[Transaction], None] | None = None) -> Iterator[None]:
        """Run the push; each step is one small group. `also`: as in `accept`.

        Raises:
            SchemaError: Stored or newly written documents do not match; the message names one.
        """
        yield from self.prepare()
        yield from self.accept(also)

    def prepare(self) -> Iterator[None]:
        """Declare, backfill and check. Raises: as `steps`."""
        yield from self._clean_up()
        if self._nothing_to_do():
            self.is_prepared = True
            return
        self._committer.pending_violation = None
        self._run("_system:declareSchema", self._declare)
        yield
        try:
            for table, index in self._building():
                yield from self._backfill(table, index)
            for table, index in self._building():
                if index.unique:
                    yield from self._check_unique(table, index)
            for table in self._tables_to_check():
                yield from self._check(table)
            for table in self._committer.catalog.by_name.values():
                yield from self._check_references(table)
            self._is_waiting = True
            while self._unbuilt():
                self._refuse_violation()
                yield
            self._refuse_violation()
        except GeneratorExit:
            raise
        except BaseException:
            self._is_waiting = False
            yield from self._clean_up()
            raise
        self._is_waiting = False
        self.is_prepared = True

    @property
    def is_waiting(self) -> bool:
        """Whether there is nothing to do but to let indexes for searches be built."""
        return self._is_waiting and bool(self._unbuilt())

    def accept(self, also: Callable[[Transaction], None] | None = None) -> Iterator[None]:
        """Put the prepared schema in force, and do `also` in the same transaction.

        Raises:
            SchemaError: A document written since it was prepared does not match.
        """
        assert self.is_prepared and not self.is_overwritten
        has_changes = not self._nothing_to_do()
        if has_changes:
            try:
                self._refuse_violation()
            except SchemaError:
                yield from self._clean_up()
                raise

        def work(transaction: Transaction) -> None:
            if has_changes:
                self._accept(transaction)
            if also is not None:
                also(transaction)

        if has_changes or also is not None:
            self._run("_system:acceptSchema", work)
        self.is_accepted = True
        if has_changes:
            yield
            yield from self._finish_dropping()

    def withdraw(self) -> Iterator[None]:
        """Take back what was declared, and never accept it."""
        yield from self._clean_up()

    @property
    def violation(self) -> str | None:
        """Why a prepared schema cannot be accepted any more, if a write has shown it."""
        if not self.is_prepared or self.is_accepted or self._committer.catalog.pending is None:
            return None
        return self._committer.pending_violation

    def progress(self) -> tuple[int, int]:
        """How many of the indexes that this push needs are built, and how many there are."""
        tables = self._schema.tables.values()
        total = sum(len(table.indexes) + len(table.searches) for table in tables)
        left = len(self._building()) + len(self._unbuilt())
        return total if self.is_prepared else max(total - left, 0), total

    # ---------------------------------------------------------------- what differs

    def _nothing_to_do(self) -> bool:
        catalog = self._committer.catalog
        tables_exist = all(name in catalog.by_name for name in self._schema.tables)
        same = catalog.schema is not None and catalog.schema.to_json() == self._schema.to_json()
        return tables_exist and same and not self._missing(catalog) and not self._dropped()

    def _missing(self, catalog: Catalog) -> list[tuple[str, AnyIndexDefinition]]:
        missing: list[tuple[str, AnyIndexDefinition]] = []
        for name, definition in self._schema.tables.items():
            table = catalog.by_name.get(name)
            for index in (*definition.indexes, *definition.searches):
                old = _named(table, index.name) if table is not None else None
                if old is None or not _same(old, index):
                    missing.append((name, index))
        return missing

    def _building(self) -> list[tuple[TableInfo, Index]]:
        return [
            (table, index)
            for table in self._committer.catalog.by_name.values()
            for index in table.indexes.values()
            if index.state == "backfilling"
        ]

    def _half_built(self) -> bool:
        """Whether this or a killed push has declared indexes that it never accepted."""
        documents = self._committer.catalog.documents(INDEXES).values()
        return any(document["state"] == "backfilling" for document in documents)

    def _unbuilt(self) -> list[SearchIndex]:
        """Indexes for searches that this push makes usable and that are still being built."""
        catalog = self._committer.catalog
        unbuilt = []
        for name, definition in self._schema.tables.items():
            table = catalog.by_name.get(name)
            for wanted in definition.searches if table is not None else ():
                if wanted.staged:
                    continue
                assert table is not None
                index = table.searches.get(building(wanted.name))
                index = index or table.searches.get(wanted.name)
                if index is not None and not self._searches.is_built(index):
                    unbuilt.append(index)
        return unbuilt

    def _dropped(self) -> list[Index | SearchIndex]:
        """Ready indexes that the new schema lacks or defines differently."""
        dropped: list[Index | SearchIndex] = []
        for table in self._committer.catalog.by_name.values():
            if table.document_id is None:  # indexes of system tables are no schema's
                continue
            definition = self._schema.tables.get(table.name)
            wanted: dict[str, AnyIndexDefinition] = {}
            if definition is not None:
                wanted = {i.name: i for i in (*definition.indexes, *definition.searches)}
            for index in table.declared:
                if index.state == "backfilling":
                    continue
                if index.name not in wanted or not _same(index, wanted[index.name]):
                    dropped.append(index)
        return dropped

    def _tables_to_check(self) -> list[TableInfo]:
        if not self._schema.validate:
            return []
        catalog = self._committer.catalog
        old = catalog.schema
        tables = []
        for name, definition in self._schema.tables.items():
            known = old.tables.get(name) if old is not None and old.validate else None
            if known is None or not is_subset(known.document, definition.document):
                tables.append(catalog.by_name[name])
        return tables

    # ---------------------------------------------------------------- stages

    def _declare(self, transaction: Transaction) -> None:
        for name in self._schema.tables:
            if name not in transaction.catalog.by_name:
                transaction.put_system(TABLES, None, transaction.catalog.new_table(name))
        for name, index in self._missing(transaction.catalog):
            number = transaction.catalog.next_index_number()
            transaction.put_system(
                INDEXES,
                None,
                {
                    "table": name,
                    "name": index.name,
                    "number": float(number),
                    "state": "backfilling",
                    **definition_fields(index),
                },
            )
        text = json.dumps(self._schema.to_json())
        transaction.put_system(SCHEMAS, None, {"state": "pending", "schema": text})

    def _accept(self, transaction: Transaction) -> None:
        self._refuse_violation()
        dropped = {index.number for index in self._dropped()}
        for document_id, document in list(transaction.catalog.documents(INDEXES).items()):
            if document["state"] == "dropping":
                continue
            if int(document["number"]) in dropped:  # type: ignore[arg-type]
                _put_state(transaction, document_id, document, "dropping")
            else:
                state = self._final_state(str(document["table"]), str(document["name"]))
                if document["state"] != state:
                    _put_state(transaction, document_id, document, state)
        for document_id, document in list(transaction.catalog.documents(SCHEMAS).items()):
            if document["state"] == "active":
                transaction.put_system(SCHEMAS, document_id, None)
            else:
                transaction.put_system(
                    SCHEMAS, document_id, {**own_fields(document), "state": "active"}
                )

    def _final_state(self, table: str, name: str) -> str:
        definition = self._schema.tables[table]
        for index in (*definition.indexes, *definition.searches):
            if index.name == name:
                return "staged" if index.staged else "ready"
        return "ready"

    def _backfill(self, table: TableInfo, index: Index) -> Iterator[None]:
        start = b""
        size = _BATCH if index.aggregate is None else max(1, _BATCH // 4)
        while True:
            rows = self._rows(table.primary.number, start, size)
            if not rows:
                return
            entries, summaries = [], []
            for _, version, body in rows:
                document = decode_canonical(body)
                assert isinstance(document, dict)
                key = b"".join(index.parts(document))
                entries.append(IndexEntry(index.number, key, version, Timestamp(0)))
                if index.aggregate is not None:
                    summaries.append(entry_change(index, key, document))
            self._group("_system:backfillIndex", entries=entries, summaries=summaries)
            start = rows[-1][0] + b"\0"
            yield

    def _check(self, table: TableInfo) -> Iterator[None]:
        start = b""
        while True:
            self._refuse_violation()
            check = self._committer.catalog.pending_check(table)
            rows = self._rows(table.primary.number, start, _BATCH)
            if not rows or check is None:
                return
            for _, _, body in rows:
                document = decode_canonical(body)
                assert isinstance(document, dict)
                try:
                    check(document)
                except DeveloperError as error:
                    self.failed_table = table.name
                    _, _, why = error.message.rpartition("it does not match the schema: ")
                    raise SchemaError(
                        f'Document "{document["_id"]!s}" in table "{table.name}" does not match '
                        f"the new schema: {why}\nChange the document or the schema; "
                        "the old schema stays in force."
                    ) from error
            start = rows[-1][0] + b"\0"
            yield

    def _check_unique(self, table: TableInfo, index: Index) -> Iterator[None]:
        """Neighbours in a new unique index must differ."""
        start, last = b"", None
        reader = self._persistence.reader
        while True:
            self._refuse_violation()
            rows = self._rows(index.number, start, _BATCH)
            if not rows:
                return
            for _, _, body in rows:
                document = decode_canonical(body)
                assert isinstance(document, dict)
                parts = index.parts(document)
                prefix = unique_prefix(index, parts)
                if prefix is not None and prefix == last:
                    found = stored_twin(reader, index, parts)
                    if found is not None:  # else the one before has gone since it was looked at
                        self._refuse(table, twins(table, index, *found))
                last = prefix
            start = rows[-1][0] + b"\0"
            yield

    def _check_references(self, table: TableInfo) -> Iterator[None]:
        """What a new reference leads to must be there."""
        catalog = self._committer.catalog
        rules = catalog.pending_rules(table)
        if rules is None or not rules.references:
            return
        start = b""
        reader = self._persistence.reader
        while True:
            self._refuse_violation()
            rows = self._rows(table.primary.number, start, _BATCH)
            if not rows:
                return
            for _, _, body in rows:
                document = decode_canonical(body)
                assert isinstance(document, dict)
                violation = dangling(reader, catalog, rules.references, document)
                if violation is not None:
                    self._refuse(table, violation)
            start = rows[-1][0] + b"\0"
            yield

    def _rows(self, index: int, start: bytes, most: int) -> list[Row]:
        """The next rows of an index: `most`, or fewer that are large. A step neither fills the
        memory nor keeps calls waiting, whatever documents are like.
        """
        found: list[Row] = []
        size = 0
        while len(found) < most and size < _STEP_BYTES:
            wanted = min(_ROWS_AT_ONCE, most - len(found))
            rows = self._persistence.reader.scan(index, start, None, descending=False, limit=wanted)
            found += rows
            if len(rows) < wanted:
                break
            start = rows[-1][0] + b"\0"
            size += sum(len(body) for _, _, body in rows)
        return found

    def _refuse(self, table: TableInfo, why: str) -> NoReturn:
        self.failed_table = table.name
        raise SchemaError(
            f"The new schema was not accepted: {why}\n"
            "Change the documents or the schema; the old schema stays in force."
        )

    def _finish_dropping(self) -> Iterator[None]:
        """Delete the rows of indexes that serve no more, slice by slice, then their definitions.

        In this order: an index number is free for another index only when no row has it any more.
        """
        for document_id, document in list(self._committer.catalog.documents(INDEXES).items()):
            if document["state"] == "dropping":
                yield from self._drop_rows(int(document["number"]))  # type: ignore[arg-type]
                self._run("_system:forgetIndex", partial(_forget, document_id=document_id))
                yield

    def _drop_rows(self, index: int) -> Iterator[None]:
        start = b""
        while True:
            rows = self._rows(index, start, _DROP_BATCH)
            if not rows:
                return
            end = rows[-1][0] + b"\0"
            self._group("_system:dropIndex", dropped=[(index, start, end)])
            start = end
            yield

    def _clean_up(self) -> Iterator[None]:
        """Take back what this or a killed push declared and never accepted."""
        catalog = self._committer.catalog
        pending = [d for d in catalog.documents(SCHEMAS).values() if d["state"] == "pending"]

        def withdraw(transaction: Transaction) -> None:
            for document_id, document in list(transaction.catalog.documents(INDEXES).items()):
                if document["state"] == "backfilling":
                    _put_state(transaction, document_id, document, "dropping")
            for document in pending:
                transaction.put_system(SCHEMAS, str(document["_id"]), None)

        if pending or self._half_built():
            self._run("_system:withdrawSchema", withdraw)
            yield
        yield from self._finish_dropping()

    def _refuse_violation(self) -> None:
        if self._committer.pending_violation is not None:
            raise SchemaError(
                f"The new schema was not accepted: {self._committer.pending_violation}\n"
                "The old schema stays in force."
            )

    # ---------------------------------------------------------------- groups of their own

    def _run(self, name: str, work: Callable[[Transaction], None]) -> None:
        commit_now(self._committer, self._persistence, self._clock, self._publish, name, work)

    def _group(
        self,
        name: str,
        entries: Sequence[IndexEntry] = (),
        dropped: Sequence[tuple[int, bytes, bytes]] = (),
        summaries: Sequence[SummaryChange] = (),
    ) -> None:
        self._committer.begin_group()
        try:
            self._committer.apply_entries(CommitRecord(function=name), entries, dropped, summaries)
        except BaseException:
            self._committer.abandon_group()
            raise
        self._publish(self._committer.append_group())


def _put_state(transaction: Transaction, document_id: str, document: Document, state: str) -> None:
    transaction.put_system(INDEXES, document_id, {**own_fields(document), "state": state})


def _forget(transaction: Transaction, document_id: str) -> None:
    transaction.put_system(INDEXES, document_id, None)


def _named(table: TableInfo, name: str) -> Index | SearchIndex | None:
    return table.indexes.get(name) or table.searches.get(name)


def _same(index: Index | SearchIndex, definition: AnyIndexDefinition) -> bool:
    # A staged index that is enabled, or the reverse, needs no new rows: `_accept` changes its
    # state.
    return index.definition.is_built_like(definition) and index.state in ("ready", "staged")
