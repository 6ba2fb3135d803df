"""What the chat stores."""

from cupola import Id, Table


class Room(Table, name="rooms", indexes={"by_name": ["name"]}):
    """A place to talk. Names are unique, because `rooms:open` looks before it inserts."""

    name: str


class Message(Table, name="messages", indexes={"by_room": ["room"]}):
    """Said in a room. When is `_creationTime`, which every document has."""

    room: Id[Room]
    author: str
    body: str


class Visitor(Table, name="visitors", indexes={"by_page": ["page"], "by_room": ["room", "seen"]}):
    """Who looks at a room: one document per open page, renewed by the page's heartbeat."""

    page: str
    room: Id[Room]
    name: str
    typing: bool
    seen: float
    """When the page last said so, in milliseconds since 1970, by the server's clock."""
