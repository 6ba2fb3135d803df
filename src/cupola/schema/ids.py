"""`Id[Message]`: the type of a document id, for annotations."""

from typing import Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)


class Id(str, Generic[T_co]):
    """The id of a document in the table of `T_co`; at runtime any `str` does.

    `Id[Message]` names a table class, `Id["Message"]` one that is defined later, and
    `Id[Literal["messages"]]` a table that has no class.
    """

    __slots__ = ()
