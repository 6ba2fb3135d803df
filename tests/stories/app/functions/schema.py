from cupola import Table


class Row(Table, name="rows", indexes={"by_value": ["value", "name"], "by_name": ["name"]}):
    """What programs read and write. Names are unique."""

    name: str
    value: int


class Item(Table, name="items", indexes={"by_group": ["group", "rank"]}):
    group: str
    rank: float
    text: str = ""


class Account(Table, name="accounts", indexes={"by_name": ["name"]}):
    name: str
    amount: int


class Ticket(Table, name="tickets", indexes={"by_ticket": ["ticket"], "by_key": ["key"]}):
    """One per mutation that took effect."""

    ticket: str
    key: str
    amount: int


class Note(Table, name="notes", indexes={"by_owner": ["owner"]}):
    owner: str
    text: str
