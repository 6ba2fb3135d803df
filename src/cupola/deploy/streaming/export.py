"""Following the database from outside (spec: deploy API, section 16).

    list_snapshot      all documents as of one timestamp, in pages
    document_deltas    every version since a timestamp, whole transactions, in pages
    sync               both under one cursor: a snapshot first, and then what changes

Whoever applies a snapshot and then the deltas since its timestamp has the tables as they are. What
is told is durable. Tables are told by the names that they had at the time, which the log knows too.
Pages are small, since they are read on the loop.
"""

from __future__ import annotations

import base64
import collections
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import orjson

from cupola.backend import Backend
from cupola.database.catalog import FIRST_USER_TABLE, TABLES, primary_index_id
from cupola.deploy.streaming.selection import Form, Selection
from cupola.errors import BadRequestError
from cupola.persistence import LoggedVersion
from cupola.values import decode_canonical, split_qualified

_PAGE_ROWS: Final = 256
_STEP_ROWS: Final = 32
_PAGE_BYTES: Final = 2 * 2**20
_READ_ROWS: Final = 1024  # versions that a page of deltas looks at, of other tables too
_SNAPSHOT_AGE_NS: Final = 5 * 24 * 3600 * 10**9
_NAMES_KEPT: Final = 16
_SYNCS_KEPT: Final = 100

_State = TypeVar("_State", bound=msgspec.Struct)


class Change(NamedTuple):
    """A version of a document; `body` None: it was deleted."""

    table: str
    ts: int
    id: str
    body: bytes | None


class SnapshotPage(NamedTuple):
    """`cursor` None: this was the last page."""

    values: list[Change]
    snapshot: int
    cursor: str | None


class DeltasPage(NamedTuple):
    values: list[Change]
    cursor: int
    has_more: bool


class SyncPage(NamedTuple):
    """`truncates`: tables whose documents so far are to be forgotten. `ts`: what the mirror equals
    after this page, None while it equals nothing."""

    values: list[Change]
    truncates: list[str]
    ts: int | None
    is_up_to_date: bool
    sync_id: str
    cursor: str


class _Place(msgspec.Struct, frozen=True, rename="camel"):
    """Where a snapshot goes on: in which table, from which key (base64)."""

    table: int
    key: str


class _SyncPlace(msgspec.Struct, frozen=True, rename="camel"):
    """`place` None: the snapshot at `ts` is complete, deltas follow."""

    sync_id: str
    selection: str
    ts: int
    place: str | None


class StreamingExport:
    """Of one deployment. Belongs to the thread of its backend."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        # Table numbers to names as of a timestamp, and the ids of their documents.
        self._names: collections.OrderedDict[int, _TableNames] = collections.OrderedDict()
        self._syncs: collections.OrderedDict[str, dict[str, Any]] = collections.OrderedDict()

    # ---------------------------------------------------------------- a snapshot

    def list_snapshot(
        self, snapshot: int | None, cursor: str | None, selection: Selection
    ) -> SnapshotPage:
        """A page of a snapshot: the newest, or the one that an earlier page was of.

        Raises:
            BadRequestError: The timestamp is not of the last days, or the cursor of no page.
        """
        durable = self._backend.newest_durable_ts()
        ts = durable if snapshot is None else snapshot
        if ts > durable:
            raise BadRequestError(
                f"Snapshot {ts} is newer than the newest one, {durable}.", code="SnapshotTooNew"
            )
        if ts < durable - _SNAPSHOT_AGE_NS:
            raise BadRequestError(
                f"Snapshot {ts} is older than five days; begin with another.", code="SnapshotTooOld"
            )
        place = _decoded(cursor, _Place, code="InvalidListSnapshotCursor") if cursor else None
        names = self._names_at(ts).by_number
        tables = [n for n, name in sorted(names.items()) if selection.has(name)]
        if place is not None:
            tables = [number for number in tables if number >= place.table]
        if not tables:
            return SnapshotPage([], ts, None)
        number = tables[0]
        start = _key_of(place) if place is not None and place.table == number else b""
        values, following = self._rows_at(ts, number, names[number], start)
        if following is not None:
            return SnapshotPage(values, ts, _encoded_place(number, following))
        after = tables[1] if len(tables) > 1 else None
        return SnapshotPage(values, ts, _encoded_place(after, b"") if after is not None else None)

    def _rows_at(
        self, ts: int, number: int, name: str, start: bytes
    ) -> tuple[list[Change], bytes | None]:
        past = self._backend.node.persistence.past
        values: list[Change] = []
        size = 0
        place: bytes | None = start
        while place is not None and len(values) < _PAGE_ROWS and size < _PAGE_BYTES:
            page = past.scan_at(ts, primary_index_id(number), place, limit=_STEP_ROWS)
            for _, row_ts, body in page.rows:
                values.append(Change(name, row_ts, "", body))
                size += len(body)
            place = page.next
        return values, place

    # ---------------------------------------------------------------- what changes

    def document_deltas(self, cursor: int, selection: Selection) -> DeltasPage:
        """Every version after `cursor`, transaction by transaction, as far as a page goes."""
        durable = self._backend.newest_durable_ts()
        if cursor >= durable:
            return DeltasPage([], cursor, False)
        names = self._names_at(cursor).copy()
        values: list[Change] = []
        read, has_more = self._transactions_after(cursor, durable)
        for row in read:
            names.follow(row)
            name = names.by_number.get(row.table)
            if name is not None and row.table >= FIRST_USER_TABLE and selection.has(name):
                values.append(Change(name, row.ts, row.id, row.body))
        reached = read[-1].ts if has_more else durable
        self._keep_names(reached, names)
        return DeltasPage(values, reached, has_more)

    def _transactions_after(self, ts: int, durable: int) -> tuple[list[LoggedVersion], bool]:
        """The versions of some whole transactions, and whether there are more."""
        log = self._backend.node.persistence.reader
        after, through = log.version_at(ts), log.version_at(durable)
        found: list[LoggedVersion] = []
        size = values = 0
        while rows := log.changes(None, after, through, limit=_STEP_ROWS):
            for row in rows:
                is_full = len(found) >= _READ_ROWS or values >= _PAGE_ROWS or size >= _PAGE_BYTES
                if found and is_full and row.ts != found[-1].ts:
                    return found, True
                found.append(row)
                if row.table >= FIRST_USER_TABLE:
                    values += 1
                    size += len(row.body or b"")
            after = rows[-1].version
        return found, False

    # ---------------------------------------------------------------- both at once

    def sync(self, cursor: str | None, selection: Selection) -> SyncPage:
        """A page of a mirror that is being made or kept: a snapshot first, then deltas. Another
        selection than before begins anew.

        Raises:
            BadRequestError: The cursor is none (InvalidDataSyncCursor), or too old
                (DataSyncCursorExpired).
        """
        state = _decoded(cursor, _SyncPlace, code="InvalidDataSyncCursor") if cursor else None
        durable = self._backend.newest_durable_ts()
        if state is not None and state.ts > durable:
            raise BadRequestError(
                "The cursor is ahead of this deployment; it is of another one.",
                code="InvalidDataSyncCursor",
            )
        truncates: list[str] = []
        if state is None or state.selection != selection.text:
            sync_id = state.sync_id if state is not None else self._new_id()
            state = _SyncPlace(sync_id, selection.text, durable, "")
            names = self._names_at(durable).by_number.values()
            truncates = sorted(name for name in names if selection.has(name))
        page = self._sync_page(state, selection)._replace(truncates=truncates)
        self._note_sync(page)
        return page

    def _sync_page(self, state: _SyncPlace, selection: Selection) -> SyncPage:
        if state.place is not None:
            try:
                found = self.list_snapshot(state.ts, state.place, selection)
            except BadRequestError as error:
                if error.code != "SnapshotTooOld":
                    raise
                raise BadRequestError(error.message, code="DataSyncCursorExpired") from None
            state = msgspec.structs.replace(state, place=found.cursor)
            ts = None if found.cursor is not None else state.ts
            is_new = ts is not None and ts >= self._backend.newest_durable_ts()
            return SyncPage(found.values, [], ts, is_new, state.sync_id, _encoded(state))
        deltas = self.document_deltas(state.ts, selection)
        state = msgspec.structs.replace(state, ts=deltas.cursor)
        return SyncPage(
            deltas.values, [], deltas.cursor, not deltas.has_more, state.sync_id, _encoded(state)
        )

    def sync_cursor(self, ts: int, selection: Selection) -> str:
        """The cursor of a mirror that was kept by `document_deltas` so far."""
        return _encoded(_SyncPlace(self._new_id(), selection.text, ts, None))

    def active_syncs(self) -> list[dict[str, Any]]:
        """Those that were asked for a page lately, the newest first."""
        return list(self._syncs.values())[::-1]

    def _note_sync(self, page: SyncPage) -> None:
        now_ms = self._backend.clock.now_ns() / 1e6
        self._syncs[page.sync_id] = {
            "syncId": page.sync_id,
            "status": status_of(page),
            "lastSyncedAt": now_ms,
        }
        self._syncs.move_to_end(page.sync_id)
        while len(self._syncs) > _SYNCS_KEPT:
            self._syncs.popitem(last=False)

    def _new_id(self) -> str:
        return self._backend.clock.random_bytes(16).hex()

    # ---------------------------------------------------------------- names of tables

    def _names_at(self, ts: int) -> _TableNames:
        known = self._names.get(ts)
        if known is None:
            known = _TableNames()
            past = self._backend.node.persistence.past
            place: bytes | None = b""
            while place is not None:
                page = past.scan_at(ts, primary_index_id(TABLES), place, limit=_STEP_ROWS)
                for row in page.rows:
                    known.put(row.body)
                place = page.next
        self._keep_names(ts, known)
        return known

    def _keep_names(self, ts: int, names: _TableNames) -> None:
        self._names[ts] = names
        self._names.move_to_end(ts)
        while len(self._names) > _NAMES_KEPT:
            self._names.popitem(last=False)


class _TableNames:
    """What tables exist at one moment of the log."""

    def __init__(self, by_id: Mapping[str, tuple[int, str]] | None = None) -> None:
        self._by_id = dict(by_id or {})
        self.by_number = dict(self._by_id.values())

    def copy(self) -> _TableNames:
        return _TableNames(self._by_id)

    def put(self, body: bytes) -> None:
        document: Any = decode_canonical(body)
        if split_qualified(document["name"])[0]:
            return  # of a component: only the app's own tables are told
        self._by_id[document["_id"]] = (int(document["number"]), document["name"])
        self.by_number = dict(self._by_id.values())

    def follow(self, row: LoggedVersion) -> None:
        """To be called with each row of the log, in order."""
        if row.table == TABLES and row.body is not None:
            self.put(row.body)
        elif row.table == TABLES:
            self._by_id.pop(row.id, None)
            self.by_number = dict(self._by_id.values())


def status_of(page: SyncPage) -> dict[str, Any]:
    if page.ts is None:
        return {"type": "snapshotting"}
    return {"type": "upToDate" if page.is_up_to_date else "stale", "snapshotTs": page.ts}


def document_json(change: Change, selection: Selection, form: Form) -> bytes:
    """The document alone, as far as it is wanted; of one that was deleted, its id."""
    if change.body is None:
        return b'{"_id":' + orjson.dumps(change.id) + b"}"
    wanted = selection.columns(change.table)
    text = form(change.body)
    if wanted is None:
        return text
    fields = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    return msgspec.json.encode({name: value for name, value in fields.items() if wanted(name)})


# ----------------------------------------------------------------------------------------- cursors


def _encoded(state: msgspec.Struct) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(state)).decode()


def _encoded_place(table: int, key: bytes) -> str:
    return _encoded(_Place(table, base64.b64encode(key).decode()))


def _key_of(place: _Place) -> bytes:
    try:
        return base64.b64decode(place.key, validate=True)
    except ValueError:
        raise _bad_cursor(code="InvalidListSnapshotCursor") from None


def _decoded(cursor: str, kind: type[_State], *, code: str) -> _State:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cursor.encode()), type=kind)
    except (ValueError, msgspec.MsgspecError):
        raise _bad_cursor(code=code) from None


def _bad_cursor(*, code: str) -> BadRequestError:
    return BadRequestError("The cursor is none that was given out here.", code=code)
