"""Type hints are the validators."""

import dataclasses
import datetime
import enum
import pathlib
import uuid
from collections.abc import Mapping, Sequence
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
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
from cupola.schema import (
    Id,
    ParameterCodec,
    Table,
    ValidationError,
    codec_of,
    return_codec_of,
)
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
        (
            User,
            'v.object({name: v.string(), _id: v.id("users"), _creationTime: v.float64()})',
        ),
        (Page[int], "v.object({page: v.array(v.float64()), isDone: v.boolean()})"),
    ],
)
def test_a_type_hint_is_a_validator(hint: Any, text: str) -> None:
    assert codec_of(hint, "here").validator.describe() == text
