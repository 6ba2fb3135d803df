"""What this app stores: one class per table, one annotation per field."""

from cupola import Table


class Message(Table, name="messages", indexes={"by_channel": ["channel"]}):
    channel: str
    author: str
    body: str
