"""The query set of one connection: what its client holds, and what it has asked for since."""

from collections.abc import Sequence
from typing import Final, assert_never

from cupola.errors import ProtocolError
from cupola.limits import Limits
from cupola.sync.effects import AddedQuery
from cupola.sync.messages import Add, Remove, arguments_text

NOT_SENT: Final = b""
"""Stands for the digest of a query that the client has not been shown yet."""


class QuerySet:
    """Live queries by id. The session reads and changes what its updates and pushes are about.

    Attributes:
        held: For each query that an update has taken, the digest of the outcome that the client
            holds, or NOT_SENT.
        added: Received, and not yet in an update.
        removed: Likewise. A query that is in `held` and here is not live; one that is also in
            `added` is another under the same id.
    """

    __slots__ = ("_live_count", "added", "held", "removed")

    def __init__(self) -> None:
        self.held: dict[int, bytes] = {}
        self.added: dict[int, AddedQuery] = {}
        self.removed: dict[int, None] = {}
        self._live_count = 0  # with what was received

    def modify(self, modifications: Sequence[Add | Remove], limits: Limits) -> bool:
        """Take what the client asks for. False: it adds what is there, or removes what is not.

        Raises:
            ProtocolError: It asks for too many.
        """
        for modification in modifications:
            match modification:
                case Add():
                    is_legal = self._add(modification, limits)
                case Remove():
                    is_legal = self._remove(modification.query_id)
                case _:
                    assert_never(modification)
            if not is_legal:
                return False
        return True

    def _is_live(self, query_id: int) -> bool:
        return query_id in self.added or (query_id in self.held and query_id not in self.removed)

    def _add(self, add: Add, limits: Limits) -> bool:
        """False if the id is in use."""
        if self._is_live(add.query_id):
            return False
        if self._live_count >= limits.queries_per_session_max:
            raise ProtocolError(
                f"TooManyQueries: a connection may hold"
                f" {limits.queries_per_session_max} queries; remove some first"
            )
        self._live_count += 1
        self.added[add.query_id] = AddedQuery(
            add.query_id,
            add.udf_path,
            arguments_text(add.args),
            add.journal,
            add.component_path,
        )
        return True

    def _remove(self, query_id: int) -> bool:
        """False if there is no such query."""
        if not self._is_live(query_id):
            return False
        self._live_count -= 1
        self.added.pop(query_id, None)
        self.removed[query_id] = None
        return True
