"""The tables of the benchmark app: a chat, counters, a small live document list and a big table."""

from cupola import Table


class Message(Table, name="messages", indexes={"by_channel": ["channel"]}):
    channel: str
    body: str


class Counter(Table, name="counters", indexes={"by_name": ["name"]}):
    name: str
    value: int


class Doc(Table, name="docs", indexes={"by_group": ["group", "i"]}):
    group: str
    i: int
    body: str


class Item(Table, name="items", indexes={"by_k": ["k"]}):
    k: int
    body: str
