from cupola import Table


class Message(Table, name="messages", indexes={"by_channel": ["channel"]}):
    channel: str
    author: str
    body: str
    likes: int = 0
