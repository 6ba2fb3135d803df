"""Tables of the app that the published clients are tried on."""

from typing import Any

from cupola import Table


class Message(Table, name="messages", indexes={"by_channel": ["channel"]}):
    channel: str
    author: str
    body: str


class Counter(Table, name="counters", indexes={"by_name": ["name"]}):
    name: str
    value: int


class Kept(Table, name="kept"):
    """Any value at all, to see it come back from the database as it went in."""

    value: Any
