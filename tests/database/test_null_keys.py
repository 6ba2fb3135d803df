"""A field that is null and a field that is missing have different keys in an index."""

import pytest

from cupola import MutationCtx, QueryCtx, Table, UnsetType, mutation, query
from cupola.functions.app import App
from cupola.testing import Deployment
from cupola.values import UNSET


class Thing(Table, name="things", indexes={"by_owner": ["owner"]}):
    owner: str | UnsetType | None = UNSET


@pytest.mark.parametrize(("before", "after"), [(UNSET, None), (None, UNSET)])
def test_a_patch_from_missing_to_null_moves_the_document_in_its_index(before, after):
    """They look alike to Python's `dict.get`."""

    def put(ctx: MutationCtx) -> None:
        ctx.db.patch(ctx.db.insert(Thing()), owner=before)

    def change(ctx: MutationCtx) -> None:
        thing = ctx.db.query(Thing).first()
        assert thing is not None
        ctx.db.patch(thing._id, owner=after)

    def find(ctx: QueryCtx, null: bool) -> int:
        owner = None if null else UNSET
        return len(ctx.db.query(Thing).with_index("by_owner", owner=owner).collect())

    functions = {"m:put": mutation(put), "m:change": mutation(change), "m:find": query(find)}
    with Deployment(App(functions, {"things": Thing})) as app:
        app.mutation("m:put")
        app.mutation("m:change")
        assert app.query("m:find", null=after is None) == 1
        assert app.query("m:find", null=after is not None) == 0
