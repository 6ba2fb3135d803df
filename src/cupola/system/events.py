"""The history of a deployment: an event for each change that an administrator makes (spec: deploy
API, section 19).

An event is a document of the private table `_deployment_events`, written in the transaction of the
change it tells of, so that neither is there without the other:

    {action, member_id: null, metadata, number}

`metadata` says what was changed, by names and ids; never to what values. `number` counts events, so
that the newest and the oldest one tell how many are kept, without counting. Those that are too many
go when another one comes.

Changes that apps make of their own documents leave none.
"""

from __future__ import annotations

import itertools
from typing import Any, Final

from cupola.database.catalog import EVENTS, Document, system_index
from cupola.database.ranges import EVERYTHING
from cupola.database.transaction import Transaction
from cupola.functions.context import MutationCtx
from cupola.limits import Limits
from cupola.system.reading import engine
from cupola.values import decode, encode

PUSH: Final = "push_config_with_components"

Metadata = dict[str, Any]

_FORGOTTEN_MAX: Final = 100
_ALL: Final = 1 << 40
_CUTS: Final[tuple[tuple[int, int], ...]] = (
    (_ALL, _ALL),
    *((most, 2000) for most in (_ALL, 1024, 256, 64, 16, 4, 1)),
)
"""How many items of a list are kept, and how many characters a text may have: less each time."""


def note(transaction: Transaction, limits: Limits, action: str, metadata: Metadata) -> None:
    """Write an event beside what the transaction changes. May forget the oldest ones."""
    index = system_index(EVENTS, "by_creation_time")
    newest = transaction.scan(index, EVERYTHING, descending=True, expect=1)
    number = next((_number(row.value) + 1 for _, row in newest), 0.0)
    event: Document = {
        "action": action,
        "member_id": None,
        "metadata": bounded(metadata, limits),
        "number": number,
    }
    transaction.put_system(EVENTS, None, event)
    oldest = transaction.scan(index, EVERYTHING, expect=1)
    for _, row in itertools.islice(oldest, _FORGOTTEN_MAX):
        if number - _number(row.value) < limits.deployment_events_max:
            break
        transaction.put_system(EVENTS, str(row.value["_id"]), None)


def note_in(ctx: MutationCtx, action: str, **metadata: Any) -> None:
    """The same, in a mutation of the system."""
    with engine(ctx) as transaction:
        note(transaction, ctx._call.limits, action, metadata)


def note_in_component(ctx: MutationCtx, action: str, **metadata: Any) -> None:
    """The same, of what was changed in the component that the mutation looks at."""
    note_in(ctx, action, **of_component(ctx._call.component), **metadata)


def of_component(path: str) -> Metadata:
    """How metadata name a component, which is known by its path; "": the app."""
    return {"component_id": path or None, "component": path or None}


def bounded(metadata: Metadata, limits: Limits) -> Metadata:
    """Metadata within the bound of an event: lists end early and long texts are left out where it
    has more. `left_out` then says how much there is no more of.
    """
    for items_max, text_max in _CUTS:
        cut = _Cut(min(items_max, limits.array_length_max), text_max)
        shorter = cut.of(metadata)
        if cut.left_out:
            shorter["left_out"] = float(cut.left_out)
        encoded = encode(shorter)
        if len(encoded) <= limits.deployment_event_bytes_max:
            break
    value = decode(encoded)
    assert isinstance(value, dict)
    return value


class _Cut:
    """Takes off what is too much, and counts it."""

    def __init__(self, items_max: int, text_max: int) -> None:
        self.left_out = 0
        self._items_max = items_max
        self._text_max = text_max

    def of(self, value: Any) -> Any:
        if isinstance(value, list):
            kept = [item for item in value[: self._items_max] if not self._is_long(item)]
            self.left_out += len(value) - len(kept)
            return [self.of(item) for item in kept]
        if isinstance(value, dict):
            if any(map(self._is_long, value.values())):
                return {name: self._without_text(item) for name, item in value.items()}
            return {name: self.of(item) for name, item in value.items()}
        return value

    def _without_text(self, value: Any) -> Any:
        """The texts of an object go together: half of what differs would tell something else."""
        if isinstance(value, str):
            self.left_out += 1
            return None
        return self.of(value)

    def _is_long(self, value: Any) -> bool:
        return isinstance(value, str) and len(value) > self._text_max


def _number(event: Document) -> float:
    number = event["number"]
    assert isinstance(number, float)
    return number
