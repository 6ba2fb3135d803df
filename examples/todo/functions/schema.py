"""What the to-do lists store."""

from cupola import Id, Table


class User(Table, name="users", indexes={"by_name": ["name"], "by_token_hash": ["token_hash"]}):
    """Someone who has signed in. Of the secret token only its hash is kept."""

    name: str
    token_hash: str


class TodoList(Table, name="lists", indexes={"by_owner": ["owner"], "by_shared": ["shared"]}):
    """A list of one user. When it is shared, everyone may read it."""

    owner: Id[User]
    title: str
    shared: bool


class Item(Table, name="items", indexes={"by_list": ["todo_list"]}):
    """Something to do."""

    todo_list: Id[TodoList]
    text: str
    done: bool
