"""What jobs leave behind."""

from cupola import Table


class Note(Table, name="notes"):
    text: str
