"""Unique indexes and references hold in the one order in which transactions commit."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cupola import UNSET, Aggregate, Id, Table, Unique, UnsetType
from cupola.database import schema_push
from cupola.database.ranges import EVERYTHING
from cupola.errors import (
    ConflictError,
    LimitError,
    ReferenceViolationError,
    SchemaError,
    UniqueViolationError,
)
from cupola.limits import Limits
from cupola.schema import SchemaDefinition, schema_of

from .by_hand import Database


class User(Table, name="users", indexes={"by_email": Unique("email")}):
    email: str | UnsetType | None = UNSET
    name: str = ""


class Seat(Table, name="seats", indexes={"by_place": Unique("row", "number")}):
    row: str
    number: float


class Team(
    Table,
    name="teams",
    indexes={"by_parent": ["parent"]},
    references={"parent": "cascade"},
):
    title: str
    parent: Id["Team"] | None = None


class Member(
    Table,
    name="members",
    indexes={"by_team": ["team"], "by_boss": ["boss"], "by_mentor": ["mentor"]},
    references={"team": "cascade", "boss": "restrict", "mentor": "set-null"},
):
    team: Id[Team] | None = None
    boss: Id["Member"] | None = None
    mentor: Id["Member"] | UnsetType = UNSET


TABLES = (User, Seat, Team, Member)


class Constrained(Database):
    """With the tables above, or others."""

    def __init__(self, *tables, limits=None):
        super().__init__(limits=limits)
        self.accept(schema_of(tables or TABLES))

    def documents(self, table):
        info = self.committer.catalog.by_name[table]
        transaction = self.begin()
        return {
            d.value["_id"]: {k: v for k, v in d.value.items() if k[0] != "_"}
            for _, d in transaction.scan(info.primary, EVERYTHING)
        }


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(schema_push, "_BATCH", 3)


@pytest.fixture
def database():
    return Constrained()


# ---------------------------------------------------------------- unique indexes


def test_the_second_of_two_equal_values_is_refused_by_name(database):
    ada = database.insert("users", email="ada@example.org")

    with pytest.raises(UniqueViolationError, match=r"`users` already has .* `email`") as raised:
        database.insert("users", email="ada@example.org")

    error = raised.value
    assert (error.code, error.table, error.index) == ("UniqueViolation", "users", "by_email")
    assert error.document_id == ada
    database.insert("users", email="bob@example.org")


def test_a_transaction_meets_its_own_writes(database):
    """And what a nested call wrote; taken back, the value is free again."""
    transaction = database.begin()
    transaction.insert("users", {"email": "a"})
    with pytest.raises(UniqueViolationError):
        transaction.insert("users", {"email": "a"})
    mark = transaction.mark()
    second = transaction.insert("users", {"email": "b"})
    transaction.rollback(mark)
    third = transaction.insert("users", {"email": "b"})
    assert second != third
    database.commit(transaction)
    assert [u["email"] for u in database.documents("users").values()].count("b") == 1


def test_a_value_that_was_given_up_is_free(database):
    ada = database.insert("users", email="a")
    bob = database.insert("users", email="b")

    def swap(transaction):
        transaction.patch(ada, {"email": UNSET})
        transaction.patch(bob, {"email": "a"})
        transaction.patch(ada, {"email": "b"})

    database.write(swap)
    database.write(lambda transaction: transaction.delete(bob))
    database.insert("users", email="a")


def test_a_document_may_be_written_again_with_its_own_value(database):
    ada = database.insert("users", email="a")
    database.write(lambda transaction: transaction.patch(ada, {"name": "Ada"}))
    database.write(lambda transaction: transaction.replace(ada, {"email": "a", "name": "A"}))
    assert database.documents("users")[ada]["name"] == "A"


def test_absent_and_none_are_not_compared(database):
    for fields in ({}, {}, {"email": None}, {"email": None}):
        database.insert("users", **fields)
    assert len(database.documents("users")) == 4


def test_several_fields_are_unique_together(database):
    database.insert("seats", row="A", number=1.0)
    database.insert("seats", row="A", number=2.0)
    database.insert("seats", row="B", number=1.0)
    with pytest.raises(UniqueViolationError, match="`row`, `number`"):
        database.insert("seats", row="A", number=2.0)


def test_of_two_transactions_at_once_one_conflicts_and_then_is_refused(database):
    """As two workers would: each saw a snapshot in which the value was free."""
    snapshot, ts = database.persistence.open_snapshot(), database.committer.head_ts
    database.committer.write_log.open_snapshot(ts)
    elsewhere = database.begin(snapshot)
    elsewhere.insert("users", {"email": "a"})
    database.insert("users", email="a")

    with pytest.raises(ConflictError, match=r"users\.by_email"):
        database.committer.validate(elsewhere.intervals(), ts)
    with pytest.raises(UniqueViolationError):
        database.begin().insert("users", {"email": "a"})


def test_other_values_of_a_unique_index_do_not_conflict(database):
    snapshot, ts = database.persistence.open_snapshot(), database.committer.head_ts
    database.committer.write_log.open_snapshot(ts)
    elsewhere = database.begin(snapshot)
    elsewhere.insert("users", {"email": "a"})
    database.insert("users", email="b")

    database.committer.validate(elsewhere.intervals(), ts)


# ---------------------------------------------------------------- references


def test_a_reference_that_leads_nowhere_is_refused(database):
    team = database.insert("teams", title="red", parent=None)
    member = database.insert("members", team=team)
    other = database.insert("teams", title="blue", parent=None)
    database.write(lambda transaction: transaction.delete(other))

    with pytest.raises(ReferenceViolationError, match=r"`members.team` of .* refers to") as raised:
        database.insert("members", team=other)
    assert raised.value.code == "ReferenceViolation"
    with pytest.raises(ReferenceViolationError) as raised:
        database.write(lambda transaction: transaction.patch(member, {"team": other}))
    assert raised.value.document_id == member
    database.write(lambda transaction: transaction.patch(member, {"team": None}))


def test_a_document_may_refer_to_one_of_the_same_transaction(database):
    def found(transaction):
        team = transaction.insert("teams", {"title": "red", "parent": None})
        return transaction.insert("members", {"team": team})

    assert database.write(found) in database.documents("members")


def test_deletions_draw_along_release_or_are_refused(database):
    """Cascade over two levels, set-null and restrict at once."""
    root = database.insert("teams", title="root")
    leaf = database.insert("teams", title="leaf", parent=root)
    gone = database.insert("members", team=leaf)
    pupil = database.insert("members", mentor=gone)
    guard = database.insert("members", boss=gone)

    with pytest.raises(ReferenceViolationError, match=r'cannot be deleted: ".*members\.boss') as e:
        database.write(lambda transaction: transaction.delete(root))
    assert e.value.document_id == guard
    assert len(database.documents("teams")) == 2

    database.write(lambda transaction: transaction.patch(guard, {"boss": None}))
    database.write(lambda transaction: transaction.delete(root))
    assert database.documents("teams") == {}
    assert database.documents("members") == {pupil: {}, guard: {"boss": None}}


def test_a_refused_deletion_takes_back_what_it_did_and_no_more(database):
    """An app may catch the error and go on in the same transaction."""
    team = database.insert("teams", title="red")
    boss = database.insert("members", team=team)
    database.insert("members", boss=boss)

    def careful(transaction):
        transaction.patch(team, {"title": "blue"})
        with pytest.raises(ReferenceViolationError):
            transaction.delete(team)

    database.write(careful)
    assert database.documents("teams") == {team: {"title": "blue"}}
    assert len(database.documents("members")) == 2


def test_cycles_and_references_to_oneself_end(database):
    one = database.insert("teams", title="one")
    two = database.insert("teams", title="two", parent=one)
    database.write(lambda transaction: transaction.patch(one, {"parent": two}))
    member = database.insert("members")
    database.write(lambda transaction: transaction.patch(member, {"boss": member}))

    database.write(lambda transaction: transaction.delete(one))
    database.write(lambda transaction: transaction.delete(member))

    assert database.documents("teams") == database.documents("members") == {}


def test_restrict_does_not_protect_what_goes_by_another_way(database):
    team = database.insert("teams", title="red")
    boss = database.insert("members", team=team)
    database.insert("members", team=team, boss=boss)
    database.write(lambda transaction: transaction.delete(team))
    assert database.documents("members") == {}


def test_a_cascade_keeps_to_the_bounds_of_a_transaction():
    database = Constrained(limits=Limits(documents_written_max=5))
    team = database.insert("teams", title="red")
    for _ in range(5):
        database.insert("members", team=team)

    transaction = database.begin()
    with pytest.raises(LimitError, match="documents written"):
        transaction.delete(team)
    assert transaction.writes() == []
    assert len(database.documents("members")) == 5


def test_a_cascade_may_look_at_many_ranges():
    """One for each document that goes; they are the engine's, not the function's."""
    database = Constrained(limits=Limits(ranges_read_max=2))
    team = database.insert("teams", title="red")
    for _ in range(5):
        database.insert("members", team=team)
    database.write(lambda transaction: transaction.delete(team))
    database.limits = Limits()
    assert database.documents("members") == {}


def test_deleting_and_referring_at_once_is_a_conflict(database):
    team = database.insert("teams", title="red")
    snapshot, ts = database.persistence.open_snapshot(), database.committer.head_ts
    database.committer.write_log.open_snapshot(ts)
    deleting, joining = database.begin(snapshot), database.begin(snapshot)
    deleting.delete(team)
    joining.insert("members", {"team": team})

    database.insert("members", team=team)
    with pytest.raises(ConflictError, match=r"members\.by_team"):
        database.committer.validate(deleting.intervals(), ts)
    database.committer.validate(joining.intervals(), ts)
    database.write(lambda transaction: transaction.delete(team))
    with pytest.raises(ConflictError, match=r"teams\.by_id"):
        database.committer.validate(joining.intervals(), ts)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_reference_ever_leads_nowhere(data):
    """Random inserts, patches and deletions, refused or not."""
    database = Constrained()
    for _ in range(data.draw(st.integers(1, 25))):
        teams, members = list(database.documents("teams")), list(database.documents("members"))
        team, member = st.sampled_from([None, *teams]), st.sampled_from([None, *members])
        fields = {"team": data.draw(team), "boss": data.draw(member)}
        if (mentor := data.draw(member)) is not None:
            fields["mentor"] = mentor
        step = data.draw(st.sampled_from(["team", "member", "patch", "delete"]))
        try:
            if step == "team":
                database.insert("teams", title="t", parent=data.draw(team))
            elif step == "member":
                database.insert("members", **fields)
            elif step == "patch" and members:
                place = data.draw(st.sampled_from(members))
                database.write(lambda t, p=place, f=fields: t.patch(p, f))
            elif step == "delete" and (members or teams):
                place = data.draw(st.sampled_from(members + teams))
                database.write(lambda t, p=place: t.delete(p))
        except ReferenceViolationError:
            pass
    there = {*database.documents("teams"), *database.documents("members"), None}
    for document in database.documents("members").values():
        assert {document.get(f) for f in ("team", "boss", "mentor")} <= there
    assert {document.get("parent") for document in database.documents("teams").values()} <= there


# ---------------------------------------------------------------- pushes

PLAIN = SchemaDefinition.from_json(
    {
        "schemaValidation": True,
        "tables": [
            {"tableName": name, "indexes": [], "documentType": {"type": "any"}}
            for name in ("users", "seats", "teams", "members")
        ],
    }
)


def plain(*tables):
    database = Constrained(*tables)
    database.accept(PLAIN)
    return database


def test_a_push_fails_with_the_two_that_are_equal():
    """The old schema goes on, and the push works once the data is put right."""
    database = plain()
    for n in range(8):
        database.insert("users", email=str(n))
    first = database.insert("users", email="5")

    with pytest.raises(SchemaError, match=r"`by_email` says is unique") as raised:
        database.accept(schema_of(TABLES))

    assert first in raised.value.message
    assert "the old schema stays in force" in raised.value.message
    database.insert("users", email="5")
    for place, user in list(database.documents("users").items()):
        if user["email"] == "5":
            database.write(lambda transaction, place=place: transaction.delete(place))
    database.accept(schema_of(TABLES))
    database.insert("users", email="5")
    with pytest.raises(UniqueViolationError):
        database.insert("users", email="5")


@pytest.mark.parametrize("steps_before", range(8))
def test_an_equal_value_written_during_a_push_fails_the_push_not_the_write(steps_before):
    database = plain()
    for n in range(8):
        database.insert("users", email=str(n))
    steps = database.push(schema_of([User]))
    for _ in range(steps_before):
        next(steps)
    twin = database.insert("users", email="3")

    with pytest.raises(SchemaError, match="is unique"):
        for _ in steps:
            pass
    assert twin in database.documents("users")


def test_a_value_that_changes_hands_during_a_push_does_not_fail_it():
    """Never are two documents equal, though one is met after the other."""
    database = plain()
    for n in range(8):
        database.insert("users", email=str(n))
    for _ in database.push(schema_of([User])):
        # It is the last of the first batch when the index is checked.
        place, user = next(u for u in database.documents("users").items() if u[1]["email"] == "2")

        def replace(transaction, place=place, user=user):
            transaction.delete(place)
            transaction.insert("users", user)

        database.write(replace)
    assert len(database.documents("users")) == 8


def test_a_push_fails_with_a_reference_that_leads_nowhere():
    database = plain()
    team = database.insert("teams", title="red", parent=None)
    member = database.insert("members", team=team)
    database.write(lambda transaction: transaction.delete(team))

    with pytest.raises(SchemaError, match=r"refers in `members.team` to") as raised:
        database.accept(schema_of(TABLES))
    assert member in raised.value.message
    assert team in raised.value.message


@pytest.mark.parametrize("steps_before", range(9))
def test_a_deletion_during_a_push_fails_the_push_not_the_deletion(steps_before):
    database = plain()
    team = database.insert("teams", title="red", parent=None)
    database.insert("members", team=team)
    steps = database.push(schema_of(TABLES))
    for _ in range(steps_before):
        next(steps)
    database.write(lambda transaction: transaction.delete(team))

    with pytest.raises(SchemaError, match=r"refers in `members.team` to"):
        for _ in steps:
            pass


# ---------------------------------------------------------------- declarations


def test_the_schema_says_so_in_json_and_reads_it_back():
    schema = schema_of(TABLES)
    assert SchemaDefinition.from_json(schema.to_json()) == schema
    (users,) = (t for t in schema.to_json()["tables"] if t["tableName"] == "users")
    assert users["indexes"] == [
        {"indexDescriptor": "by_email", "fields": ["email"], "unique": True}
    ]
    assert "references" not in users


def test_declarations_that_cannot_be_are_refused():
    class NoIndex(Table, name="t", references={"team": "cascade"}):
        team: Id[Team]

    class NoId(Table, name="t", indexes={"i": ["team"]}, references={"team": "cascade"}):
        team: str

    class NeverNull(Table, name="t", indexes={"i": ["team"]}, references={"team": "set-null"}):
        team: Id[Team]

    class Typo(Table, name="t", indexes={"i": ["team"]}, references={"team": "cascde"}):  # type: ignore[dict-item]
        team: Id[Team]

    for table, message in (
        (NoIndex, "needs an index that begins with the field"),
        (NoId, "is no field that holds an id"),
        (NeverNull, "cannot be set to null"),
        (Typo, "'cascde' is none of"),
    ):
        with pytest.raises(SchemaError, match=message) as raised:
            schema_of([table])
        assert raised.value.code == "InvalidReferenceField"
    with pytest.raises(SchemaError, match="names `amount`"):

        class Sums(Table, name="t", indexes={"i": Aggregate("team", of="amount")}):
            team: Id[Team]


def test_rules_noted_on_the_indexes_of_a_typescript_schema_are_read():
    """As `defineSchema(...).export()` passes them on."""
    schema = SchemaDefinition.from_json(
        {
            "schemaValidation": True,
            "tables": [
                {
                    "tableName": "projects",
                    "indexes": [
                        {"indexDescriptor": "by_owner", "fields": ["owner"], "onDelete": "cascade"},
                        {"indexDescriptor": "by_name", "fields": ["name"], "unique": True},
                    ],
                    "documentType": {
                        "type": "object",
                        "value": {
                            "owner": {
                                "fieldType": {"type": "id", "tableName": "people"},
                                "optional": False,
                            },
                            "name": {"fieldType": {"type": "string"}, "optional": False},
                        },
                    },
                }
            ],
        }
    )
    (reference,) = schema.tables["projects"].references
    assert (reference.field, reference.table, reference.on_delete) == ("owner", "people", "cascade")
    assert schema.tables["projects"].indexes[1].unique
    assert SchemaDefinition.from_json(schema.to_json()) == schema
