"""A push in two moves: get ready for a schema while the old one serves, then put it in force."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cupola.backend import Backend, CallRequest
from cupola.clock import ManualClock
from cupola.database.catalog import ENVIRONMENT
from cupola.database.transaction import Transaction
from cupola.errors import CupolaError
from cupola.functions.app import App
from cupola.functions.definitions import Function, Kind, Visibility
from cupola.schema import SchemaDefinition


def schema(field_type: str = "string", *, indexes: tuple[str, ...] = ()) -> SchemaDefinition:
    fields = {"body": {"fieldType": {"type": field_type}, "optional": False}}
    return SchemaDefinition.from_json(
        {
            "schemaValidation": True,
            "tables": [
                {
                    "tableName": "notes",
                    "indexes": [{"indexDescriptor": n, "fields": ["body"]} for n in indexes],
                    "documentType": {"type": "object", "value": fields},
                }
            ],
        }
    )


def add(ctx: Any, **document: Any) -> Any:
    return ctx.db.insert("notes", document)


def app() -> App:
    return App({"notes:add": Function(add, Kind.MUTATION, Visibility.PUBLIC)}, {})


class Outcome(list[BaseException | None]):
    """What was told, once."""

    @property
    def code(self) -> str | None:
        (error,) = self
        return error.code if isinstance(error, CupolaError) else None


@pytest.fixture
def backend() -> Iterator[Backend]:
    backend = Backend(clock=ManualClock())
    backend.deploy_now(app())
    yield backend


def insert(backend: Backend, args: bytes) -> str | None:
    results: list[Any] = []
    backend.submit(CallRequest("mutation", "notes:add", args), results.append)
    backend.run_until_idle()
    return None if results[0].ok else str(results[0].error_message)


def nothing(transaction: Transaction) -> None:
    pass


def test_a_staged_schema_is_not_in_force(backend: Backend) -> None:
    ready, live = Outcome(), Outcome()
    push = backend.pushes.stage(schema(indexes=("by_body",)), ready.append)
    backend.run_until_idle()

    assert ready == [None] and push.is_prepared
    assert push.progress() == (1, 1)
    assert backend.node.committer.catalog.schema == app().schema

    backend.pushes.accept(push, app(), nothing, live.append)
    backend.run_until_idle()
    assert live == [None]
    assert backend.node.committer.catalog.schema == schema(indexes=("by_body",))


def test_what_is_written_with_the_schema_is_written_with_it_or_not_at_all(
    backend: Backend,
) -> None:
    def write(transaction: Transaction) -> None:
        transaction.put_system(ENVIRONMENT, None, {"name": "A", "value": "1"})

    def count() -> int:
        table = backend.node.committer.catalog.by_number[ENVIRONMENT]
        return backend.node.persistence.reader.count(table.primary.number, b"", None, limit=9)

    refused, live = Outcome(), Outcome()
    push = backend.pushes.stage(schema("number"), Outcome().append)
    backend.run_until_idle()
    assert insert(backend, b'{"body":"text"}') is None
    assert push.violation is not None
    backend.pushes.accept(push, app(), write, refused.append)
    backend.run_until_idle()
    assert refused.code == "SchemaEnforcementError"
    assert count() == 0

    push = backend.pushes.stage(schema("string"), Outcome().append)
    backend.pushes.accept(push, app(), write, live.append)
    backend.run_until_idle()
    assert live == [None] and count() == 1


def test_stored_documents_that_do_not_match_refuse_it(backend: Backend) -> None:
    insert(backend, b'{"body":"text"}')
    refused = Outcome()
    push = backend.pushes.stage(schema("number"), refused.append)
    backend.run_until_idle()
    assert refused.code == "SchemaEnforcementError" and push.failed_table == "notes"
    assert insert(backend, b'{"body":"more"}') is None


def test_a_later_push_overwrites_a_staged_one(backend: Backend) -> None:
    lost, won = Outcome(), Outcome()
    first = backend.pushes.stage(schema("number"), Outcome().append)
    backend.run_until_idle()
    second = backend.pushes.stage(schema("string"), Outcome().append)
    backend.pushes.accept(first, app(), nothing, lost.append)
    backend.pushes.accept(second, app(), nothing, won.append)
    backend.run_until_idle()
    assert lost.code == "RaceDetected" and won == [None]
    assert backend.node.committer.catalog.schema == schema("string")


def test_a_withdrawn_push_binds_nobody(backend: Backend) -> None:
    push = backend.pushes.stage(schema("number"), Outcome().append)
    backend.run_until_idle()
    backend.pushes.withdraw(push)
    backend.run_until_idle()
    assert backend.node.committer.catalog.pending is None
    assert insert(backend, b'{"body":"text"}') is None


def test_a_push_that_another_shares_can_be_accepted_twice(backend: Backend) -> None:
    push = backend.pushes.stage(schema(), Outcome().append)
    first, second = Outcome(), Outcome()
    backend.pushes.accept(push, app(), nothing, first.append)
    backend.run_until_idle()
    backend.pushes.accept(push, app(), nothing, second.append)
    backend.run_until_idle()
    assert first == [None] and second == [None]


def test_private_tables_do_not_exist_for_functions(backend: Backend) -> None:
    def read(ctx: Any, table: str) -> Any:
        return ctx.db.query(table).collect()

    functions = {"notes:read": Function(read, Kind.QUERY, Visibility.PUBLIC)}

    def write(transaction: Transaction) -> None:
        transaction.put_system(ENVIRONMENT, None, {"name": "SECRET", "value": "1"})

    push = backend.pushes.stage(schema(), Outcome().append)
    backend.pushes.accept(push, App(functions, {}), write, Outcome().append)
    backend.run_until_idle()
    results: list[Any] = []
    args = b'{"table":"_environment_variables"}'
    backend.submit(CallRequest("query", "notes:read", args), results.append)
    backend.run_until_idle()
    assert results[0].value == b"[]"
