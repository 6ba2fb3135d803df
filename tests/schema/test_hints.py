"""Type hints are the validators."""

import dataclasses
import datetime
import enum
import pathlib
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    TypedDict,
    TypeVar,
)

import msgspec
import pydantic
import pytest

from cupola.errors import SchemaError
from cupola.schema import Id, Table, ValidationError, codec_of, field_codec_of
from cupola.values import UNSET, Int64, UnsetType

T = TypeVar("T")


class User(Table, name="users"):
    name: str


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


Cents = NewType("Cents", int)


class Page(TypedDict, Generic[T]):
    page: list[T]
    isDone: bool


class Book(TypedDict, Generic[T]):
    pages: Page[list[T]]


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (str, "v.string()"),
        (int, "v.float64()"),
        (float, "v.float64()"),
        (bool, "v.boolean()"),
        (bytes, "v.bytes()"),
        (None, "v.null()"),
        (Int64, "v.int64()"),
        (Any, "v.any()"),
        (object, "v.any()"),
        (Cents, "v.float64()"),
        (T, "v.any()"),
        (Optional[str], "v.union(v.string(), v.null())"),  # noqa: UP045
        (str | int | None, "v.union(v.string(), v.float64(), v.null())"),
        (int | float, "v.float64()"),
        (list[int], "v.array(v.float64())"),
        (list, "v.array(v.any())"),
        (Sequence[str], "v.array(v.string())"),
        (Iterable[str], "v.array(v.string())"),
        (tuple[bool, ...], "v.array(v.boolean())"),
        (dict[str, int], "v.record(v.string(), v.float64())"),
        (Mapping[Id[User], bool], 'v.record(v.id("users"), v.boolean())'),
        (dict, "v.record(v.string(), v.any())"),
        (Literal["a", "b"], 'v.union(v.literal("a"), v.literal("b"))'),
        (Literal[3, True, None], "v.union(v.literal(3.0), v.literal(true), v.null())"),
        (Color, 'v.union(v.literal("red"), v.literal("blue"))'),
        (Level, "v.union(v.literal(1.0), v.literal(2.0))"),
        (Literal[Color.RED], 'v.literal("red")'),
        (Id[User], 'v.id("users")'),
        (Id[Literal["messages"]], 'v.id("messages")'),
        (Id, "v.string()"),
        (datetime.datetime, "v.float64()"),
        (datetime.date, "v.string()"),
        (uuid.UUID, "v.string()"),
        (pathlib.Path, "v.string()"),
        (User, 'v.object({name: v.string(), _id: v.id("users"), _creationTime: v.float64()})'),
        (Page[int], "v.object({page: v.array(v.float64()), isDone: v.boolean()})"),
        (
            Book[int],
            "v.object({pages: v.object({page: v.array(v.array(v.float64())), "
            "isDone: v.boolean()})})",
        ),
    ],
)
def test_a_type_hint_is_a_validator(hint: Any, text: str) -> None:
    assert codec_of(hint, "here").validator.describe() == text


class Node(TypedDict):
    children: "list[Node]"


class Point(NamedTuple):
    x: float


@pytest.mark.parametrize(
    ("hint", "advice"),
    [
        (set[str], "list"),
        (frozenset[str], "list"),
        (tuple[int, str], "tuple[X, ...]"),
        (Decimal, "str"),
        (bytearray, "bytes"),
        (complex, "TypedDict"),
        (datetime.timedelta, "float"),
        (Callable[[], int], "reference of types"),
        (Point, "reference of types"),
        (dict[int, str], "dict[str, X]"),
        (dict[Literal["a"], str], "TypedDict"),
        (UnsetType, "X | UnsetType"),
        (list[str | UnsetType], "X | UnsetType"),
        (Literal[b"x"], "strings, numbers"),
        (Id[int], "Id[Message]"),
        (Node, "Any"),
        (Table, "derived from it"),
        (Annotated[str, msgspec.Meta(ge=3)], "cannot be checked"),
    ],
)
def test_a_hint_that_cannot_be_a_validator_says_what_can(hint: Any, advice: str) -> None:
    with pytest.raises(SchemaError) as caught:
        codec_of(hint, "`messages:send`, parameter `tags`")
    assert caught.value.code == "InvalidTypeHint"
    assert advice in caught.value.message
    assert hint is Table or "parameter `tags`" in caught.value.message


MOMENT = datetime.datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=datetime.UTC)
SOME_UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")


@pytest.mark.parametrize(
    ("hint", "obj", "value"),
    [
        (int, 3, 3.0),
        (int, 0, 0.0),
        (int, -(2**53), -9007199254740992.0),
        (Int64, Int64(5), Int64(5)),
        (Color, Color.RED, "red"),
        (Level, Level.HIGH, 2.0),
        (Literal["a", 3, None], 3, 3.0),
        (Literal["a", 3, None], None, None),
        (datetime.datetime, MOMENT, MOMENT.timestamp() * 1000),
        (datetime.date, datetime.date(2024, 2, 29), "2024-02-29"),
        (uuid.UUID, SOME_UUID, "12345678-1234-5678-1234-567812345678"),
        (pathlib.Path, pathlib.Path("a/b"), "a/b"),
        (list[int], [1, 2], [1.0, 2.0]),
        (tuple[int, ...], (1, 2), [1.0, 2.0]),
        (tuple[str, ...], ("a",), ["a"]),
        (dict[str, Color], {"x": Color.BLUE}, {"x": "blue"}),
        (int | None, None, None),
        (int | None, 3, 3.0),
        (Color | int | str, 3, 3.0),
        (Color | int | str, "green", "green"),
        (Color | int | str, Color.RED, "red"),
        (datetime.datetime | str, MOMENT, MOMENT.timestamp() * 1000),
        (int | float, 3.5, 3.5),
        (Page[int], {"page": [1], "isDone": True}, {"page": [1.0], "isDone": True}),
    ],
)
def test_objects_and_values_are_converted_both_ways(hint: Any, obj: Any, value: Any) -> None:
    codec = codec_of(hint, "here")
    converted = codec.to_value(obj)
    assert converted == value and type(converted) is type(value)
    codec.validator.check(converted)
    back = codec.to_python(converted)
    assert back == obj and type(back) is type(obj)


def test_an_int_is_a_float64_and_a_declared_int64_is_an_int64() -> None:
    """Nothing is lost silently: a whole number within 2^53, or `Int64`."""
    assert codec_of(float, "here").to_value(3) == 3.0
    assert type(codec_of(float, "here").to_value(3)) is float
    assert type(codec_of(Int64, "here").to_value(3)) is Int64
    assert type(codec_of(int, "here").to_python(3.0)) is int
    for hint in (int, float):
        codec = codec_of(hint, "here")
        with pytest.raises(ValidationError, match=r"beyond 2\^53.*Int64"):
            codec.validator.check(codec.to_value(2**53 + 1))


@pytest.mark.parametrize("value", [3.5, float("nan"), float("inf"), 2.0**53 + 2])
def test_an_int_hint_refuses_what_is_no_whole_number(value: float) -> None:
    with pytest.raises(ValidationError, match="not a whole number") as caught:
        codec_of(dict[str, list[int]], "here").to_python({"a": [1.0, value]})
    assert caught.value.path == ".a[1]"


def test_a_function_that_returns_a_fraction_for_an_int_is_found_out() -> None:
    with pytest.raises(ValidationError, match="not a whole number"):
        codec_of(int, "here").to_value(3.5)


@pytest.mark.parametrize(
    ("hint", "value", "reason"),
    [
        (uuid.UUID, "no uuid", "UUID"),
        (datetime.date, "yesterday", "isoformat"),
        (datetime.datetime, float("nan"), "datetime"),
        (datetime.datetime, 1e300, "datetime"),
    ],
)
def test_a_value_that_cannot_be_converted_is_refused(hint: Any, value: Any, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        codec_of(hint, "here").to_python(value)


def test_a_datetime_without_a_time_zone_is_refused() -> None:
    """It would mean another moment on another machine."""
    with pytest.raises(ValidationError, match="no time zone"):
        codec_of(datetime.datetime, "here").to_value(MOMENT.replace(tzinfo=None))
    with pytest.raises(ValidationError, match="time of day"):
        codec_of(datetime.date, "here").to_value(MOMENT)


def test_moments_sort_like_their_values() -> None:
    """So an index on a datetime field is in the order of time."""
    codec = codec_of(datetime.datetime, "here")
    moments = [MOMENT + datetime.timedelta(microseconds=n) for n in (0, 1, 999, 10**9)]
    values = [codec.to_value(moment) for moment in moments]
    assert values == sorted(set(values))
    assert [codec.to_python(value) for value in values] == moments


def test_hints_that_change_nothing_cost_nothing() -> None:
    """`identity` lets the hot path skip the conversion."""
    hint: Any
    for hint in (str, float, bool, bytes, Any, None, Id[User], Int64, list[str], dict[str, Any]):
        assert codec_of(hint, "here").identity
    assert codec_of(str | None, "here").identity
    assert codec_of(Literal["a", True], "here").identity
    assert codec_of(Page[str], "here").identity
    for hint in (int, Color, tuple[str, ...], datetime.date, list[int], Page[int], User):
        assert not codec_of(hint, "here").identity


# ------------------------------------------------------------------------------- classes of objects


class AsTypedDict(TypedDict):
    title: str
    count: NotRequired[int]
    color: Color | UnsetType


@dataclasses.dataclass
class AsDataclass:
    title: str
    count: int = 0
    color: Color | UnsetType = UNSET


class AsStruct(msgspec.Struct):
    title: str
    count: int = 0
    color: Color | UnsetType = UNSET


class AsModel(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    title: str
    count: int = 0
    color: Any = UNSET


class AsTable(Table, name="things"):
    title: str
    count: int = 0
    color: Color | UnsetType


def test_the_same_fields_in_four_styles_are_one_validator() -> None:
    """TypedDict, dataclass, Struct and Table describe the same documents."""
    expected = AsTable.__cupola_table__.document
    for kind in (AsTypedDict, AsDataclass, AsStruct):
        assert codec_of(kind, "here").validator == expected
    model = codec_of(AsModel, "here").validator
    assert model.describe() == (
        "v.object({title: v.string(), count: v.optional(v.float64()), color: v.optional(v.any())})"
    )


@pytest.mark.parametrize("kind", [AsDataclass, AsStruct, AsModel])
def test_classes_are_made_from_objects_and_written_as_objects(kind: Any) -> None:
    codec = codec_of(kind, "here")
    made = codec.to_python({"title": "a", "count": 2.0})
    assert made == kind(title="a", count=2) and type(made.count) is int
    assert codec.to_value(made) == {"title": "a", "count": 2.0}
    assert codec.to_python({"title": "a"}) == kind(title="a", count=0)


def test_what_is_no_instance_is_left_to_the_validator() -> None:
    codec = codec_of(list[AsDataclass], "here")
    with pytest.raises(ValidationError) as caught:
        codec.validator.check(codec.to_value([AsDataclass("a"), "b"]))
    assert caught.value.path == "[1]"


@dataclasses.dataclass
class Positive:
    number: int

    def __post_init__(self) -> None:
        if self.number <= 0:
            raise ValueError("it must be positive")


class PositiveModel(pydantic.BaseModel):
    number: int = pydantic.Field(gt=0)


class PositiveStruct(msgspec.Struct):
    number: Annotated[int, msgspec.Meta(gt=0)]


@dataclasses.dataclass
class AnnotatedByPydantic:
    number: Annotated[int, pydantic.Field(gt=0)]


@pytest.mark.parametrize(
    "kind", [Positive, PositiveModel, PositiveStruct, AnnotatedByPydantic], ids=lambda k: k.__name__
)
def test_the_rules_of_a_class_are_kept(kind: Any) -> None:
    """A constraint that is written down is never ignored, whichever library it is written for."""
    codec = codec_of(Sequence[kind], "here")
    assert codec.to_python([{"number": 1.0}])[0].number == 1
    with pytest.raises(ValidationError) as caught:
        codec.to_python([{"number": 1.0}, {"number": -1.0}])
    assert caught.value.path.startswith("[1]")


@pytest.mark.parametrize(
    "hint",
    [
        Annotated[list[Id[User]], msgspec.Meta(max_length=1)],
        Annotated[list[Id[User]], pydantic.Field(max_length=1)],
        Annotated[Id[User], msgspec.Meta(max_length=1)],
    ],
)
def test_a_rule_applies_to_our_own_types_too(hint: Any) -> None:
    codec = codec_of(hint, "here")
    with pytest.raises(ValidationError, match="rule"):
        codec.to_python(["a", "b"] if codec.validator.to_json()["type"] == "array" else "ab")


def test_other_metadata_is_no_rule() -> None:
    assert codec_of(Annotated[str, "a note"], "here").identity


class Circle(msgspec.Struct, tag="circle"):
    radius: float


class Square(msgspec.Struct, tag="square", rename="camel"):
    side_length: float


def test_tagged_structs_are_told_apart_by_their_tag() -> None:
    codec = codec_of(Circle | Square, "here")
    assert codec.to_value(Square(2)) == {"type": "square", "sideLength": 2.0}
    assert codec.to_python({"type": "square", "sideLength": 2.0}) == Square(2.0)
    assert codec.to_python({"type": "circle", "radius": 1.0}) == Circle(1.0)
    assert codec.validator.describe() == (
        'v.union(v.object({type: v.literal("circle"), radius: v.float64()}), '
        'v.object({type: v.literal("square"), sideLength: v.float64()}))'
    )


class Aliased(pydantic.BaseModel):
    from_: str = pydantic.Field(alias="from")
    created: datetime.datetime


def test_a_pydantic_alias_is_the_name_on_the_wire() -> None:
    codec = codec_of(Aliased, "here")
    value = {"from": "ada", "created": 1000.0}
    made = codec.to_python(value)
    assert made.from_ == "ada" and made.created.year == 1970
    assert codec.to_value(made) == value


def test_a_required_field_that_may_be_unset_is_unset() -> None:
    @dataclasses.dataclass
    class Change:
        body: str | UnsetType

    codec = codec_of(Change, "here")
    assert codec.to_python({}) == Change(UNSET)
    assert codec.to_value(Change(UNSET)) == {}
    assert field_codec_of(str | UnsetType, "here")[1] is True


def test_field_names_are_identifiers() -> None:
    Dashed = TypedDict("Dashed", {"a-b": str})
    with pytest.raises(SchemaError, match=r"a-b.*dict\[str, X\]"):
        codec_of(Dashed, "here")


def test_a_name_that_is_not_defined_is_named() -> None:
    @dataclasses.dataclass
    class Lost:
        field: "Nowhere"  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(SchemaError, match=r"`Nowhere`.*TYPE_CHECKING"):
        codec_of(Lost, "here")


def test_attrs_classes_are_known_without_importing_attrs() -> None:
    """They are found by `__attrs_attrs__`, whose parts this class imitates."""

    class Attribute(NamedTuple):
        name: str
        alias: str
        init: bool = True

    class Gadget:
        __attrs_attrs__ = (Attribute("title", "title"), Attribute("_size", "size"))
        title: str
        _size: int

        def __init__(self, title: str, size: int = 1) -> None:
            self.title = title
            self._size = size

    codec = codec_of(Gadget, "here")
    assert codec.validator.describe() == (
        "v.object({title: v.string(), size: v.optional(v.float64())})"
    )
    made = codec.to_python({"title": "a", "size": 3.0})
    assert (made.title, made._size) == ("a", 3)
    assert codec.to_value(made) == {"title": "a", "size": 3.0}


@pytest.mark.parametrize(
    ("hint", "obj"),
    [
        (list[int], 3),
        (list[str], "text"),
        (dict[str, int], [1]),
        (Color, ["unhashable"]),
        (Literal["a"], {"a": 1}),
        (AsTypedDict, 3.0),
        (Color | list[int], b"x"),
        (Annotated[int, msgspec.Meta(gt=0)], "x"),
    ],
)
def test_an_object_of_another_type_reaches_the_validator_unchanged(hint: Any, obj: Any) -> None:
    codec = codec_of(hint, "here")
    assert codec.to_value(obj) is obj
    assert not codec.validator.accepts(obj)


def test_a_union_tells_the_first_reason_when_none_of_its_types_will_do() -> None:
    codec = codec_of(uuid.UUID | datetime.date, "here")
    assert codec.to_python("2024-02-29") == datetime.date(2024, 2, 29)
    with pytest.raises(ValidationError, match="UUID"):
        codec.to_python("neither")
    with pytest.raises(ValidationError, match="no time zone"):
        codec_of(datetime.datetime | int, "here").to_value(MOMENT.replace(tzinfo=None))


def test_a_broken_rule_is_found_in_results_too() -> None:
    codec = codec_of(dict[str, Annotated[int, msgspec.Meta(gt=0)]], "here")
    assert codec.to_value({"a": 1}) == {"a": 1.0}
    with pytest.raises(ValidationError, match="rule") as caught:
        codec.to_value({"a": 0})
    assert caught.value.path == ".a"


def test_converted_values_inside_records_are_converted() -> None:
    codec = codec_of(dict[str, uuid.UUID], "here")
    assert codec.to_python({"a": str(SOME_UUID)}) == {"a": SOME_UUID}
    with pytest.raises(ValidationError) as caught:
        codec.to_python({"a b": "x"})
    assert caught.value.path == '["a b"]'


def test_a_hint_that_python_itself_refuses_is_named() -> None:
    @dataclasses.dataclass
    class Odd:
        field: "list[int](3)"  # type: ignore[valid-type]

    with pytest.raises(SchemaError, match="makes no sense"):
        codec_of(Odd, "here")
