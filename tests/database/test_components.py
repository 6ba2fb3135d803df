"""Tables of components beside those of the app, in one transaction."""

import pytest

from cupola.database.catalog import SCHEDULED_FUNCTIONS, STORAGE
from cupola.database.ranges import EVERYTHING
from cupola.errors import DatabaseUseError, DeveloperError, InvalidIdError, SchemaError
from cupola.schema import SchemaDefinition
from cupola.schema.components import schema_in_component
from cupola.values import table_number_of

from .by_hand import Database


def bodies(transaction, name):
    table = transaction.table(name)
    if table is None:
        return []
    return [row.value["body"] for _, row in transaction.scan(table.primary, EVERYTHING)]


def test_a_name_means_another_table_in_each_component():
    database = Database()
    writing = database.begin()
    for component in ("", "box", "box/inner"):
        with writing.within(component):
            writing.insert("notes", {"body": component or "the app"})
    database.commit(writing)

    reading = database.begin()
    assert bodies(reading, "notes") == ["the app"]
    with reading.within("box"):
        assert bodies(reading, "notes") == ["box"]
        with reading.within("box/inner"):
            assert bodies(reading, "notes") == ["box/inner"]
        assert bodies(reading, "notes") == ["box"]
    assert bodies(reading, "box//notes") == []


def test_an_id_leads_nowhere_in_another_component():
    """Whether or not a table there has the same number."""
    database = Database()
    transaction = database.begin()
    with transaction.within("box"):
        inside = transaction.insert("notes", {"body": "inside"})
    with pytest.raises(InvalidIdError):
        transaction.get(inside)
    outside = transaction.insert("notes", {"body": "outside"})
    assert table_number_of(inside) == table_number_of(outside)
    assert transaction.get(inside) is None
    with pytest.raises(DatabaseUseError, match="does not exist"):
        transaction.delete(inside)
    with transaction.within("box"), pytest.raises(DatabaseUseError, match="does not exist"):
        transaction.patch(outside, {"body": "changed"})


def test_one_id_may_be_of_documents_in_several_components():
    """Where an export was imported twice: each write is of one of them."""
    database = Database()
    writing = database.begin()
    document_id = writing.insert("notes", {"body": "the app"})
    for component in ("box", "crate"):
        with writing.within(component):
            writing.restore("notes", {"_id": document_id, "_creationTime": 1.0, "body": component})
    database.commit(writing)

    changing = database.begin()
    with changing.within("box"):
        mark = changing.mark()
        changing.delete(document_id)
        changing.rollback(mark)
        changing.patch(document_id, {"body": "changed"})
    assert bodies(changing, "notes") == ["the app"]
    database.commit(changing)

    reading = database.begin()
    seen = []
    for component in ("", "box", "crate"):
        with reading.within(component):
            stored = reading.get(document_id)
            assert stored is not None and [stored.value["body"]] == bodies(reading, "notes")
            seen.append(stored.value["body"])
    assert seen == ["the app", "changed", "crate"]


def test_what_a_failed_call_wrote_goes_whatever_the_component():
    database = Database()
    transaction = database.begin()
    transaction.insert("notes", {"body": "kept"})
    mark = transaction.mark()
    with transaction.within("box"):
        transaction.insert("notes", {"body": "undone"})
        with transaction.within("box/inner"):
            transaction.insert("notes", {"body": "undone"})
    transaction.rollback(mark)
    assert bodies(transaction, "notes") == ["kept"]
    with transaction.within("box"):
        assert bodies(transaction, "notes") == []


def test_reads_in_a_component_conflict_with_writes_there_and_nowhere_else():
    database = Database()
    first = database.begin()
    for component in ("box", "crate"):
        with first.within(component):
            first.insert("notes", {"body": component})
    database.commit(first)

    def conflicts_with(component):
        reader = database.begin()
        database.committer.write_log.open_snapshot(reader.snapshot_ts)
        with reader.within("box"):
            bodies(reader, "notes")
        writer = database.begin()
        with writer.within(component):
            writer.insert("notes", {"body": "late"})
        database.commit(writer)
        return database.committer.write_log.first_touch(reader.intervals(), reader.snapshot_ts)

    assert conflicts_with("crate") is None
    assert conflicts_with("box") is not None


def test_each_component_has_a_schema_and_ids_of_its_own_tables():
    fields = {
        "body": {"fieldType": {"type": "string"}, "optional": False},
        "after": {"fieldType": {"type": "id", "tableName": "notes"}, "optional": True},
    }
    written = {
        "schemaValidation": True,
        "tables": [
            {
                "tableName": "notes",
                "indexes": [{"indexDescriptor": "by_body", "fields": ["body"]}],
                "documentType": {"type": "object", "value": fields},
            }
        ],
    }
    schema = SchemaDefinition.from_json(schema_in_component(written, "box"))
    database = Database().accept(schema)
    transaction = database.begin()
    transaction.insert("notes", {"anything": 1.0})
    outside = transaction.insert("others", {"anything": 1.0})
    with transaction.within("box"):
        first = transaction.insert("notes", {"body": "a"})
        transaction.insert("notes", {"body": "b", "after": first})
        with pytest.raises(SchemaError, match="box//notes"):
            transaction.insert("notes", {"body": "c", "after": outside})
        table = transaction.table("notes")
        assert table is not None and table.index("by_body").state == "ready"
        assert (table.component, table.own_name) == ("box", "notes")


def test_of_shared_system_tables_each_sees_its_own():
    database = Database()
    transaction = database.begin()
    mine = transaction.put_system(STORAGE, None, {"size": 1.0})
    theirs = transaction.put_system(STORAGE, None, {"size": 2.0, "component": "box"})
    assert transaction.get(mine) is not None and transaction.get(theirs) is None
    with transaction.within("box"):
        assert transaction.get(mine) is None and transaction.get(theirs) is not None
        jobs = transaction.table("_scheduled_functions")
        assert jobs is not None and jobs.number != SCHEDULED_FUNCTIONS
        assert transaction.table("_tables") is None
        assert transaction.table("_modules") is None


def test_a_component_cannot_make_a_table_of_another():
    transaction = Database().begin()
    for component, name in (("", "box//notes"), ("box", "inner//notes"), ("box", "_notes")):
        with transaction.within(component), pytest.raises(DeveloperError):
            transaction.insert(name, {})
