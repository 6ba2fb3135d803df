"""A new schema is accepted while the old one serves: complete, or not at all."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cupola.database import schema_push
from cupola.database.catalog import INDEXES, SCHEMAS
from cupola.database.ranges import EVERYTHING
from cupola.database.transaction import Transaction
from cupola.errors import DatabaseUseError, DeveloperError, PersistenceError, SchemaError
from cupola.persistence.sqlite import SqlitePersistence
from cupola.schema import SchemaDefinition
from cupola.values import decode, encode_key

from .by_hand import Database

ANY = {"type": "any"}


def document(**fields):
    """The validator of an object; a name with a trailing underscore is optional."""
    kinds = {"number": {"type": "number"}, "string": {"type": "string"}}
    return {
        "type": "object",
        "value": {
            name.rstrip("_"): {"fieldType": kinds[kind], "optional": name.endswith("_")}
            for name, kind in fields.items()
        },
    }


def schema(indexes=None, documents=ANY, table="items", staged=()):
    return SchemaDefinition.from_json(
        {
            "schemaValidation": True,
            "tables": [
                {
                    "tableName": table,
                    "indexes": [
                        {"indexDescriptor": name, "fields": list(fields)}
                        for name, fields in (indexes or {}).items()
                        if name not in staged
                    ],
                    "stagedDbIndexes": [
                        {"indexDescriptor": name, "fields": list(fields)}
                        for name, fields in (indexes or {}).items()
                        if name in staged
                    ],
                    "documentType": documents,
                }
            ],
        }
    )


class Items(Database):
    def add(self, **fields):
        return self.insert("items", **fields)

    def read(self, index="by_creation_time"):
        """The whole table through an index: ids and ranks."""
        transaction = Transaction(
            self.persistence.reader, self.committer.catalog, self.committer.head_ts
        )
        place = self.committer.catalog.by_name["items"].index(index), EVERYTHING
        return [(d.value["_id"], d.value.get("rank")) for _, d in transaction.scan(*place)]

    def _rows(self, index):
        return self.persistence.reader.scan(index, b"", None, descending=False, limit=100_000)

    def assert_indexes_are_right(self):
        """Every ready index holds exactly what recomputing it from the documents gives."""
        for table in self.committer.catalog.by_name.values():
            stored = [decode(body) for _, _, body in self._rows(table.primary.number)]
            for index in table.indexes.values():
                expected = sorted(b"".join(index.parts(value)) for value in stored)
                assert [key for key, _, _ in self._rows(index.number)] == expected, index
                bodies = {encode_key(decode(b)["_id"]): b for _, _, b in self._rows(index.number)}
                primary = {key: body for key, _, body in self._rows(table.primary.number)}
                assert bodies == primary, index


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    """A push makes many steps of a few documents, as with much data."""
    monkeypatch.setattr(schema_push, "_BATCH", 3)
    monkeypatch.setattr(schema_push, "_DROP_BATCH", 3)


@pytest.fixture
def database():
    return Items()


# ---------------------------------------------------------------- the law

ranks = st.integers(0, 5).map(float)
index_sets = st.dictionaries(
    st.sampled_from(["by_rank", "by_kind", "by_both"]),
    st.sampled_from([("rank",), ("kind",), ("rank", "kind"), ("kind", "rank")]),
    max_size=3,
).filter(lambda found: len(set(found.values())) == len(found))
actions = st.one_of(
    st.just(("step",)),
    st.tuples(st.just("insert"), ranks),
    st.tuples(st.just("patch"), st.integers(0, 30), ranks),
    st.tuples(st.just("delete"), st.integers(0, 30)),
    st.just(("kill",)),
)


@settings(max_examples=60, deadline=None)
@given(
    index_sets,
    st.lists(ranks, max_size=15),
    st.lists(st.tuples(index_sets, st.lists(actions, max_size=25)), min_size=1, max_size=3),
)
def test_indexes_are_complete_and_correct_whatever_is_written_meanwhile(first, before, pushes):
    """Pushes of random index sets, interleaved with writes, some killed half-way."""
    database = Items()
    database.accept(schema(first))
    ids = [database.add(rank=rank, kind="a") for rank in before]
    for indexes, program in pushes:
        steps, killed = database.push(schema(indexes)), False
        for name, *arguments in program:
            match name:
                case "step" if next(steps, steps) is steps:
                    break
                case "insert":
                    ids.append(database.add(rank=arguments[0], kind="b"))
                case "patch" if ids:
                    place, rank = ids[arguments[0] % len(ids)], arguments[1]
                    database.write(lambda t, place=place, rank=rank: t.patch(place, {"rank": rank}))
                case "delete" if ids:
                    gone = ids.pop(arguments[0] % len(ids))
                    database.write(lambda t, gone=gone: t.delete(gone))
                case "kill":
                    steps.close()
                    killed = True
                    database = Items(database.persistence)
                    break
        if not killed:
            for _ in steps:
                pass
            database.assert_indexes_are_right()
            assert user_indexes(database) == {n: (*f, "_creationTime") for n, f in indexes.items()}
    database.accept(schema(first))
    database.assert_indexes_are_right()
    assert user_indexes(database) == {n: (*f, "_creationTime") for n, f in first.items()}
    assert not any(d["state"] == "pending" for d in definitions(database, SCHEMAS))


def user_indexes(database):
    table = database.committer.catalog.by_name["items"]
    return {
        name: tuple(index.field_names)
        for name, index in table.indexes.items()
        if name not in ("by_id", "by_creation_time")
    }


def definitions(database, table):
    return list(database.committer.catalog.documents(table).values())


# ---------------------------------------------------------------- indexes


def test_an_index_cannot_be_queried_until_it_is_complete(database):
    database.accept(schema())
    for rank in range(10):
        database.add(rank=float(rank))
    steps = database.push(schema({"by_rank": ["rank"]}))
    next(steps)
    next(steps)
    with pytest.raises(DatabaseUseError, match="is still being built") as raised:
        database.read("by_rank")
    assert raised.value.code == "IndexNotReady"
    for _ in steps:
        pass
    assert [rank for _, rank in database.read("by_rank")] == list(range(10))


def test_while_an_index_changes_the_old_one_of_that_name_serves(database):
    database.accept(schema({"by_it": ["rank"]}))
    for rank in (3.0, 1.0, 2.0):
        database.add(rank=rank, kind=str(rank))
    steps = database.push(schema({"by_it": ["kind"]}))
    next(steps)
    next(steps)
    assert [rank for _, rank in database.read("by_it")] == [1, 2, 3]
    for _ in steps:
        pass
    assert [rank for _, rank in database.read("by_it")] == [1, 2, 3]
    assert user_indexes(database) == {"by_it": ("kind", "_creationTime")}
    database.assert_indexes_are_right()


def test_the_rows_of_a_dropped_index_are_deleted(database):
    database.accept(schema({"by_rank": ["rank"]}))
    number = database.committer.catalog.by_name["items"].index("by_rank").number
    for rank in range(10):
        database.add(rank=float(rank))
    database.accept(schema())
    assert database._rows(number) == []
    with pytest.raises(DatabaseUseError, match="has no index `by_rank`"):
        database.read("by_rank")


def test_an_index_over_large_documents_is_dropped_in_small_steps(database, monkeypatch):
    """The documents come along with their keys: all at once they would fill the memory, and keep
    calls waiting.
    """
    monkeypatch.setattr(schema_push, "_BATCH", 20)
    monkeypatch.setattr(schema_push, "_DROP_BATCH", 2000)
    monkeypatch.setattr(schema_push, "_DROP_BYTES", 50_000)
    database.accept(schema({"by_rank": ["rank"]}))
    number = database.committer.catalog.by_name["items"].index("by_rank").number
    for rank in range(200):
        database.add(rank=float(rank), text="x" * 1000)
    steps = database.push(schema())
    before = next(len(database._rows(number)) for _ in steps)
    for _ in steps:
        left = len(database._rows(number))
        assert before - left <= 60
        before = left
    assert before == 0


@pytest.mark.parametrize("steps_before_the_end", range(9))
def test_a_push_that_was_killed_while_it_dropped_an_index_leaves_nothing(
    database, steps_before_the_end
):
    """No row of it may turn up in an index that is declared later."""
    database.accept(schema({"by_rank": ["rank"]}))
    for rank in range(10):
        database.add(rank=float(rank), kind="a")
    steps = database.push(schema())
    for _ in range(steps_before_the_end):
        next(steps, None)
    steps.close()
    database = Items(database.persistence)

    database.accept(schema({"by_kind": ["kind"]}))

    database.assert_indexes_are_right()
    assert len(database.read("by_kind")) == 10


@pytest.mark.parametrize("steps_before_the_end", range(12))
def test_a_push_that_was_killed_while_it_took_back_an_index_leaves_nothing(
    database, steps_before_the_end
):
    database.accept(schema())
    for rank in range(10):
        database.add(rank=float(rank), kind="a")
    killed = database.push(schema({"by_rank": ["rank"]}))
    for _ in range(3):
        next(killed)
    killed.close()
    database = Items(database.persistence)
    cleaning = database.push(schema())
    for _ in range(steps_before_the_end):
        next(cleaning, None)
    cleaning.close()
    database = Items(database.persistence)

    database.accept(schema({"by_kind": ["kind"]}))

    database.assert_indexes_are_right()


def test_a_staged_index_is_built_but_cannot_be_queried_until_enabled(database):
    database.accept(schema())
    for rank in (2.0, 1.0):
        database.add(rank=rank)
    database.accept(schema({"by_rank": ["rank"]}, staged=["by_rank"]))
    with pytest.raises(DatabaseUseError, match="staged"):
        database.read("by_rank")
    database.add(rank=0.0)
    database.accept(schema({"by_rank": ["rank"]}))
    assert [rank for _, rank in database.read("by_rank")] == [0, 1, 2]


def test_a_push_that_changes_nothing_commits_nothing(database):
    database.accept(schema({"by_rank": ["rank"]}, document(rank="number")))
    head = database.committer.head_ts
    database.accept(schema({"by_rank": ["rank"]}, document(rank="number")))
    assert database.committer.head_ts == head


# ---------------------------------------------------------------- documents


def test_a_stored_document_that_does_not_match_is_named_and_the_old_schema_stays(database):
    database.accept(schema(documents=document(rank="number")))
    for rank in range(10):
        database.add(rank=float(rank))
    before = database.committer.catalog.schema

    with pytest.raises(SchemaError) as raised:
        database.accept(schema({"by_rank": ["rank"]}, document(rank="string")))

    assert any(found in raised.value.message for found, _ in database.read())
    assert '"items"' in raised.value.message
    assert "old schema stays in force" in raised.value.message
    assert database.committer.catalog.schema is not None
    assert database.committer.catalog.schema.to_json() == before.to_json()
    assert database.committer.catalog.pending is None
    assert user_indexes(database) == {}
    assert definitions(database, INDEXES) == []
    database.add(rank=5.0)
    with pytest.raises(DeveloperError):
        database.add(rank="text")


def test_a_write_meanwhile_that_the_new_schema_refuses_fails_the_push(database):
    database.accept(schema(documents=document(rank="number", kind_="string")))
    for rank in range(6):
        database.add(rank=float(rank), kind="a")
    steps = database.push(schema(documents=document(rank="number", kind="string")))
    next(steps)
    late = database.add(rank=7.0)

    with pytest.raises(SchemaError, match=late):
        for _ in steps:
            pass

    assert database.committer.catalog.pending is None
    database.add(rank=8.0)


def test_a_write_that_never_happened_does_not_refuse_the_push(database):
    """A group that fails takes back what its writes said about the new schema."""
    database.accept(schema(documents=document(rank="number", kind_="string")))
    database.add(rank=1.0, kind="a")
    steps = database.push(schema(documents=document(rank="number", kind="string")))
    next(steps)
    database.persistence.fail_next_append(PersistenceError("the disk is full"))
    with pytest.raises(PersistenceError):
        database.add(rank=2.0)

    for _ in steps:
        pass

    assert database.committer.catalog.pending is None
    with pytest.raises(SchemaError):
        database.add(rank=3.0)


def test_a_push_after_a_failed_one_succeeds(database):
    """What failed leaves nothing behind: not its violation either."""
    database.accept(schema(documents=document(rank="number")))
    bad = database.add(rank=1.0)
    with pytest.raises(SchemaError):
        database.accept(schema(documents=document(rank="string")))
    database.write(lambda transaction: transaction.delete(bad))
    database.accept(schema(documents=document(rank="string")))
    database.add(rank="text")


def test_a_looser_schema_reads_no_document(database):
    """So it is accepted at once however large the table is."""
    database.accept(schema(documents=document(rank="number")))
    for rank in range(30):
        database.add(rank=float(rank))
    steps = database.push(schema(documents=document(rank="number", kind_="string")))
    assert len(list(steps)) <= 3


def test_the_old_schema_checks_writes_until_the_new_one_is_accepted(database):
    database.accept(schema(documents=document(rank="number")))
    steps = database.push(schema(documents=ANY))
    next(steps)
    with pytest.raises(DeveloperError):
        database.add(rank="text")
    for _ in steps:
        pass
    database.add(rank="text")


# ---------------------------------------------------------------- on disk


def test_a_deployment_opened_again_has_the_same_definitions_and_rows(tmp_path):
    path = str(tmp_path / "data.sqlite3")
    database = Items(SqlitePersistence(path))
    database.accept(schema({"by_rank": ["rank"]}, document(rank="number")))
    for rank in (3.0, 1.0, 2.0):
        database.add(rank=rank)
    expected = database.read("by_rank")
    database.persistence.close()

    again = Items(SqlitePersistence(path))

    assert again.read("by_rank") == expected
    with pytest.raises(DeveloperError):
        again.add(rank="text")
    head = again.committer.head_ts
    again.accept(schema({"by_rank": ["rank"]}, document(rank="number")))
    assert again.committer.head_ts == head
    again.assert_indexes_are_right()
    again.persistence.close()


def test_a_push_killed_on_disk_is_cleaned_up_by_the_next(tmp_path):
    path = str(tmp_path / "data.sqlite3")
    database = Items(SqlitePersistence(path))
    database.accept(schema())
    for rank in range(10):
        database.add(rank=float(rank))
    steps = database.push(schema({"by_rank": ["rank"]}))
    next(steps)
    next(steps)
    steps.close()
    database.persistence.close()

    again = Items(SqlitePersistence(path))
    again.accept(schema({"by_kind": ["kind"]}))

    assert user_indexes(again) == {"by_kind": ("kind", "_creationTime")}
    again.assert_indexes_are_right()
    again.persistence.close()
