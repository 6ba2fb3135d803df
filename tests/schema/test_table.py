"""Table classes: documents with types."""

import copy
import enum
import pickle
from typing import Any, ClassVar, Literal

import pytest

from cupola.errors import SchemaError
from cupola.schema import Id, Table, ValidationError, codec_of, schema_of
from cupola.values import UNSET, Encoded, Int64, UnsetType, decode, encode, encode_id


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class User(Table, name="users"):
    name: str
    best: "Id[Message] | None"


class Message(Table, name="messages", indexes={"by_channel": ["channel", "author"]}):
    kind: ClassVar[str] = "not a field"
    channel: str
    author: Id[User]
    body: str


class Task(Table, name="tasks", indexes={"by_owner": ["owner.name"]}):
    title: str
    tags: list[str]
    owner: dict[str, str] = {}  # noqa: RUF012  # each document gets its own
    count: int = 1
    mood: Mood = Mood.GOOD
    note: str | UnsetType = UNSET


TABLES = {"users": 10001, "messages": 10002, "tasks": 10003}
USER_ID = encode_id(10001, bytes(16))
MESSAGE_ID = encode_id(10002, bytes(16))
TASK_ID = encode_id(10003, bytes(16))
MESSAGE_FIELDS = {"channel": "general", "author": USER_ID, "body": "hi"}


def message(**changes: Any) -> Message:
    return Message(**{**MESSAGE_FIELDS, **changes})


def stored_message(**changes: Any) -> Message:
    system = {"_id": MESSAGE_ID, "_creationTime": 1000.5}
    return Message._from_stored(encode({**MESSAGE_FIELDS, **system, **changes}))


def stored_task(**fields: Any) -> Task:
    return Task._from_stored(encode({"_id": TASK_ID, "_creationTime": 1.0, **fields}))


# ---------------------------------------------------------------------------------- the declaration


def test_a_class_declares_a_table() -> None:
    schema = schema_of([Message, User]).to_json()
    assert [table["tableName"] for table in schema["tables"]] == ["messages", "users"]
    assert schema["tables"][0]["indexes"] == [
        {"indexDescriptor": "by_channel", "fields": ["channel", "author"]}
    ]
    assert Message.__cupola_table__.document.describe() == (
        'v.object({channel: v.string(), author: v.id("users"), body: v.string()})'
    )


def test_tables_may_refer_to_each_other_before_they_exist() -> None:
    assert User.__cupola_table__.document.describe() == (
        'v.object({name: v.string(), best: v.union(v.id("messages"), v.null())})'
    )


def test_defaults_and_unset_make_fields_optional() -> None:
    assert Task.__cupola_table__.document.describe() == (
        "v.object({title: v.string(), tags: v.array(v.string()), "
        "owner: v.optional(v.record(v.string(), v.string())), count: v.optional(v.float64()), "
        'mood: v.optional(v.union(v.literal("good"), v.literal("bad"))), '
        "note: v.optional(v.string())})"
    )


def test_a_derived_table_has_the_fields_of_its_base() -> None:
    class Reply(Message, name="replies"):
        to: Id[Message]
        body: str = "+1"

    assert Reply.__cupola_table__.document.describe() == (
        'v.object({channel: v.string(), author: v.id("users"), body: v.optional(v.string()), '
        'to: v.id("messages")})'
    )
    assert Reply(channel="a", author=USER_ID, to=MESSAGE_ID).body == "+1"  # type: ignore[arg-type]
    assert Reply.__cupola_table__.name == "replies" and Message.__cupola_table__.name == "messages"


def test_two_tables_of_one_name_are_refused() -> None:
    class Twin(Table, name="users"):
        name: str

    with pytest.raises(SchemaError, match="declared twice"):
        schema_of([User, Twin])


@pytest.mark.parametrize(
    ("body", "options", "reason"),
    [
        ({"body": str}, {}, r'class Bad\(Table, name="bads"\)'),
        ({"body": str}, {"name": "a-b"}, "cannot be the name"),
        ({"body": str}, {"name": "_bad"}, "the system's"),
        ({"_body": str}, {"name": "bad"}, "`_body` starts with `_`"),
        ({"encoded": str}, {"name": "bad"}, "method of every document"),
        ({"größe": str}, {"name": "bad"}, "cannot be the name of a field"),
        ({"body": str}, {"name": "bad", "indexes": {"i": ["boddy"]}}, "names `boddy`, but"),
        ({"body": str}, {"name": "bad", "indexes": {"i": "body"}}, 'as a list, \\["body"\\]'),
        ({"body": str}, {"name": "bad", "indexes": {"i": []}}, "no fields"),
        ({"body": str}, {"name": "bad", "indexes": {"by_id": ["body"]}}, "built in"),
        ({"body": str}, {"name": "bad", "indexes": {"i": ["_id"]}}, "Leave it out"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused_where_it_stands(
    body: dict[str, Any], options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(SchemaError, match=reason):
        type("Bad", (Table,), {"__annotations__": body}, **options)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"__annotations__": {"tags": set[str]}}, r"field `tags`.*list"),
        ({"__annotations__": {"n": int}, "n": "x"}, "default does not fit"),
        ({"__annotations__": {"n": "Nowhere"}}, "`Nowhere`"),
        ({"__annotations__": {"parts": list["Whole"]}}, r'use Id\["Whole"\]'),
    ],
)
def test_a_field_that_cannot_be_is_refused_at_first_use(body: dict[str, Any], reason: str) -> None:
    bad: Any = type("Bad", (Table,), {**body, "__module__": __name__}, name="bad")
    with pytest.raises(SchemaError, match=reason):
        bad.__cupola_table__  # noqa: B018


class Whole(Table, name="wholes"):
    parts: "list[Whole]"


# ---------------------------------------------------------------------------- constructed documents


def test_a_new_document_is_an_object_of_its_fields() -> None:
    task = Task(title="a", tags=["x"], count=3)
    assert (task.title, task.tags, task.count, task.mood, task.note) == (
        "a",
        ["x"],
        3,
        Mood.GOOD,
        UNSET,
    )
    assert task.to_value() == {
        "title": "a",
        "tags": ["x"],
        "owner": {},
        "count": 3.0,
        "mood": "good",
    }
    assert type(task.to_value()["count"]) is float
    assert task.to_dict() == {
        "title": "a",
        "tags": ["x"],
        "owner": {},
        "count": 3,
        "mood": Mood.GOOD,
    }


def test_defaults_are_not_shared() -> None:
    first, second = Task(title="a", tags=[]), Task(title="b", tags=[])
    first.owner["name"] = "ada"
    assert second.owner == {}


def test_wrong_names_are_found_at_once() -> None:
    with pytest.raises(TypeError, match="has no field `chanel`; it has `author`, `body`"):
        Message(chanel="a", author=USER_ID, body="")  # type: ignore[call-arg, arg-type]
    with pytest.raises(TypeError, match="`messages` needs `author`, `channel`"):
        Message(body="")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Message("a")  # type: ignore[call-arg]


def test_a_new_document_is_not_stored_yet() -> None:
    for name in ("_id", "_creationTime"):
        with pytest.raises(AttributeError, match="not stored yet"):
            getattr(message(), name)
    assert not hasattr(message(), "_id")


def test_documents_are_immutable() -> None:
    for document in (message(), stored_message()):
        with pytest.raises(AttributeError, match=r"ctx\.db\.patch"):
            document.body = "new"  # type: ignore[misc]
        with pytest.raises(AttributeError, match=r"ctx\.db\.patch"):
            del document.body


# --------------------------------------------------------------------------------- stored documents


def test_a_stored_document_is_decoded_once() -> None:
    document = stored_task(title="a", tags=["x"], count=2.0, mood="bad")
    assert document.__dict__ == {}
    assert (document._id, document._creationTime) == (TASK_ID, 1.0)
    assert (document.count, document.mood) == (2, Mood.BAD)
    assert document.tags is document.tags


def test_absent_fields_read_as_their_default_or_unset() -> None:
    document = stored_task(title="a", tags=[])
    assert (document.count, document.mood, document.note) == (1, Mood.GOOD, UNSET)
    document.owner["name"] = "ada"
    assert stored_task(title="a", tags=[]).owner == {}


def test_a_stored_document_passes_through_as_its_bytes() -> None:
    document = stored_message()
    body = document.encoded
    assert isinstance(document, Encoded)
    assert encode([document]) == b"[" + body + b"]"
    assert document.body == "hi"
    assert document.encoded is body


def test_a_list_that_was_taken_from_a_document_may_have_changed() -> None:
    """Documents are immutable, but the lists in them are Python's."""
    document = stored_task(title="a", tags=["x"])
    before = document.encoded
    document.tags.append("y")
    after: Any = decode(document.encoded)
    assert after["tags"] == ["x", "y"] and document.encoded != before
    assert after["_id"] == TASK_ID


def test_fields_that_the_class_does_not_know_are_kept() -> None:
    """Documents may be older than the class."""
    document = stored_task(title="a", tags=["x"], legacy=Int64(7))
    document.tags.append("y")
    assert document.to_value()["legacy"] == Int64(7)
    assert not hasattr(document, "legacy")


def test_a_stored_document_that_the_class_contradicts_says_where() -> None:
    with pytest.raises(ValidationError) as caught:
        stored_task(title="a", tags=[], count=2.5).title  # noqa: B018
    assert caught.value.path == ".count"


def test_documents_are_equal_by_content() -> None:
    assert message() == message() and hash(message()) == hash(message())
    assert stored_message() == stored_message()
    assert len({stored_message(), stored_message()}) == 1
    assert stored_message() != stored_message(body="other")
    assert stored_message() != message()
    assert message() != MESSAGE_FIELDS


def test_documents_are_readable() -> None:
    assert repr(message()) == f"Message(channel='general', author='{USER_ID}', body='hi')"
    assert repr(stored_message()) == (
        f"Message(_id='{MESSAGE_ID}', _creationTime=1000.5, channel='general', "
        f"author='{USER_ID}', body='hi')"
    )
    assert "note" not in repr(stored_task(title="a", tags=[]))


@pytest.mark.parametrize("document", [message(), stored_message()], ids=["new", "stored"])
def test_documents_can_be_copied_and_pickled(document: Message) -> None:
    assert pickle.loads(pickle.dumps(document)) == document
    assert copy.copy(document) == copy.deepcopy(document) == document
    assert copy.copy(document).body == "hi"


# ------------------------------------------------------------------------- as arguments and results


def test_stored_documents_are_results_without_being_decoded() -> None:
    codec = codec_of(list[Message], "here")
    check = codec.validator.checker(TABLES)
    documents = [stored_message() for _ in range(3)]
    result = codec.to_value(documents)
    check(result)
    assert all(document.__dict__ == {} for document in documents)
    assert encode(result) == b"[" + b",".join(d.encoded for d in documents) + b"]"


def test_a_document_that_was_changed_is_checked_again() -> None:
    codec = codec_of(Task, "here")
    check = codec.validator.checker(TABLES)
    document = stored_task(title="a", tags=["x"])
    check(codec.to_value(document))
    document.tags.append(3)  # type: ignore[arg-type]
    with pytest.raises(ValidationError) as caught:
        check(codec.to_value(document))
    assert caught.value.path == ".tags[1]"


def test_only_stored_documents_of_the_table_are_results() -> None:
    codec = codec_of(Message | None, "here")
    check = codec.validator.checker(TABLES)
    check(codec.to_value(None))
    check(codec.to_value(stored_message()))
    for other in (message(), stored_task(title="a", tags=[]), "text"):
        with pytest.raises(ValidationError):
            check(codec.to_value(other))
    with pytest.raises(ValidationError, match="missing the required field `_id`"):
        single = codec_of(Message, "here")
        single.validator.check(single.to_value(message()))


def test_a_union_of_tables_is_a_result() -> None:
    codec = codec_of(Message | Task, "here")
    for document in (stored_message(), stored_task(title="a", tags=[])):
        assert codec.to_value(document) is document
        codec.validator.checker(TABLES)(document)


def test_a_document_as_an_argument_is_a_document() -> None:
    value = decode(stored_message().encoded)
    document = codec_of(Message, "here").to_python(value)
    assert document == stored_message() and document.body == "hi"


def test_an_id_of_a_table_without_a_class_has_its_name() -> None:
    assert codec_of(Id[Literal["logs"]], "here").validator.describe() == 'v.id("logs")'


# ------------------------------------------------------------------------- many documents at once


def encoded_list(documents: Any) -> bytes:
    codec = codec_of(list[Message | Task] if has_tasks(documents) else list[Message], "here")
    value = codec.to_value(documents)
    codec.validator.checker(TABLES)(value)
    return encode(value)


def has_tasks(documents: Any) -> bool:
    return any(type(document) is Task for document in documents)


@pytest.mark.parametrize(
    "documents",
    [
        [],
        [stored_message()],
        [stored_message(body="1"), stored_message(body="2")],
        (stored_message(body="1"), stored_message(body="2")),
        [stored_message(), stored_task(title="t", tags=["a"])],
    ],
    ids=["none", "one", "two", "a tuple", "two tables"],
)
def test_a_list_of_documents_is_encoded_as_they_are_one_by_one(documents: Any) -> None:
    one_by_one = b"[" + b",".join(encode(document) for document in documents) + b"]"
    assert encoded_list([*documents]) == one_by_one
    if not has_tasks(documents):
        assert encoded_list(documents) == one_by_one


def test_a_list_within_a_stored_document_may_have_been_changed() -> None:
    tasks = [stored_task(title="t", tags=["a"]), stored_task(title="u", tags=[])]
    tasks[1].tags.append("b")
    codec = codec_of(list[Task], "here")
    value = codec.to_value(tasks)
    codec.validator.checker(TABLES)(value)
    decoded: Any = decode(encode(value))
    assert [task["tags"] for task in decoded] == [["a"], ["b"]]


def test_documents_of_another_table_are_refused_in_a_list() -> None:
    codec = codec_of(list[Message], "here")
    other = codec_of(list[Task], "here").to_value([stored_task(title="t", tags=[])])
    with pytest.raises(ValidationError):
        codec.validator.checker(TABLES)(other)
    with pytest.raises(ValidationError, match=r"\[1\]"):
        value = codec.to_value([stored_message(), stored_task(title="t", tags=[])])
        codec.validator.checker(TABLES)(value)
    with pytest.raises(ValidationError, match="_id"):
        codec.validator.checker(TABLES)(codec.to_value([stored_message(), message()]))


def test_documents_made_together_are_apart() -> None:
    bodies = [encode({**MESSAGE_FIELDS, "_id": MESSAGE_ID, "_creationTime": 1.0, "body": text})
              for text in "abc"]  # fmt: skip
    documents = Message._all_from_stored(bodies)
    assert [document.body for document in documents] == ["a", "b", "c"]
    assert documents[0] != documents[1]
    assert Message._all_from_stored([]) == []


def test_an_argument_that_a_table_does_not_take_is_explained():
    with pytest.raises(SchemaError, match=r"not `text_indexes`.*declared in `indexes`"):

        class Note(Table, name="notes", text_indexes={}):
            body: str
