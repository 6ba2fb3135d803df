"""What type checkers must know about tables. Nothing here runs.

test_typing.py shows it to mypy, for which an `ignore` that is not needed is an error too.
"""

from collections.abc import Sequence
from typing import assert_type

from cupola.schema import Id, ParameterCodec, Table, TableInfo, codec_of, schema_of
from cupola.values import UNSET, Int64, UnsetType


class User(Table, name="users", indexes={"by_name": ["name"]}):
    name: str


class Message(Table, name="messages", indexes={"by_channel": ["channel"]}):
    channel: str
    author: Id[User]
    body: str
    tags: list[str]
    likes: int = 0
    size: Int64 | UnsetType = UNSET


def constructors(author: Id[User]) -> None:
    Message(channel="general", author=author, body="hi", tags=[])
    Message(channel="general", author=author, body="hi", tags=["a"], likes=3, size=Int64(1))
    Message(channel="general", author=author, body="hi")  # type: ignore[call-arg]
    Message(channel="general", author=author, body=3, tags=[])  # type: ignore[arg-type]
    Message(channel="general", author="ada", body="hi", tags=[])  # type: ignore[arg-type]
    Message(chanel="general", author=author, body="hi", tags=[])  # type: ignore[call-arg]
    Message("general", author, "hi", [])  # type: ignore[call-arg]


def fields(message: Message) -> None:
    assert_type(message.channel, str)
    assert_type(message.author, Id[User])
    assert_type(message.tags, list[str])
    assert_type(message.likes, int)
    assert_type(message.size, Int64 | UnsetType)
    assert_type(message._id, Id[Message])
    assert_type(message._creationTime, float)
    message.nothing  # type: ignore[attr-defined]  # noqa: B018
    message.body = "new"  # type: ignore[misc]
    message._id = message._id  # type: ignore[misc]


def ids(message: Id[Message], user: Id[User]) -> None:
    text: str = message
    assert text.upper() == message.upper()
    same: Id[Message] = message
    other: Id[Message] = user  # type: ignore[assignment]
    any_table: Id[Table] = user
    del same, other, any_table


def definitions(messages: Sequence[Message]) -> None:
    assert_type(Message.__cupola_table__, TableInfo)
    assert_type(Message._from_stored(b"{}"), Message)
    schema_of([User, Message])
    codec_of(Message, "here").to_value(messages)
    ParameterCodec(definitions, "m:definitions").bind({"a": 1.0})
