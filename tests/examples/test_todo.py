"""The to-do lists: users, ownership and sharing."""

from __future__ import annotations

from typing import Any

import pytest

from cupola import ApplicationError
from cupola.testing import Deployment

ADA, BOB = "a" * 32, "b" * 32


@pytest.fixture
def app(cupola: Deployment) -> Deployment:
    cupola.mutation("users:sign_in", name="Ada", token=ADA)
    cupola.mutation("users:sign_in", name="Bob", token=BOB)
    return cupola


def refused(app: Deployment, function: str, **args: Any) -> str:
    """The code of the error that this call gets."""
    with pytest.raises(ApplicationError) as raised:
        app.mutation(function, **args)
    return str(raised.value.data["code"])


def test_a_list_is_its_owners_until_it_is_shared(app: Deployment) -> None:
    """And again when it is no longer shared: the pages that show it lose it at once."""
    groceries = app.mutation("lists:create", token=ADA, title="Groceries")
    app.mutation("items:add", token=ADA, todo_list=groceries, text="Milk")
    bob = app.connect()
    overview = bob.subscribe("lists:overview", token=BOB)
    items = bob.subscribe("items:list", token=BOB, todo_list=groceries)
    assert overview.value == []
    assert isinstance(items.error, ApplicationError)
    assert items.error.data["code"] == "NoList"

    app.mutation("lists:share", token=ADA, todo_list=groceries, shared=True)
    (shown,) = overview.next()
    assert (shown["owner_name"], shown["mine"], shown["open_items"]) == ("Ada", False, 1)
    assert [item.text for item in items.next()] == ["Milk"]

    app.mutation("lists:share", token=ADA, todo_list=groceries, shared=False)
    assert overview.next() == []
    assert items.error is not None


def test_only_the_owner_changes_a_list(app: Deployment) -> None:
    groceries = app.mutation("lists:create", token=ADA, title="Groceries")
    milk = app.mutation("items:add", token=ADA, todo_list=groceries, text="Milk")
    app.mutation("lists:share", token=ADA, todo_list=groceries, shared=True)

    assert refused(app, "items:add", token=BOB, todo_list=groceries, text="?") == "NotYours"
    assert refused(app, "items:check", token=BOB, item=milk, done=True) == "NotYours"
    assert refused(app, "lists:delete", token=BOB, todo_list=groceries) == "NotYours"
    assert refused(app, "lists:delete", token="c" * 32, todo_list=groceries) == "SignedOut"


def test_work_on_a_list_is_live(app: Deployment) -> None:
    groceries = app.mutation("lists:create", token=ADA, title=" Groceries ")
    overview = app.connect().subscribe("lists:overview", token=ADA)
    items = app.connect().subscribe("items:list", token=ADA, todo_list=groceries)

    milk = app.mutation("items:add", token=ADA, todo_list=groceries, text="Milk")
    app.mutation("items:rewrite", token=ADA, item=milk, text="Oat milk")
    app.mutation("items:check", token=ADA, item=milk, done=True)

    assert [[(item.text, item.done) for item in update] for update in items.updates] == [
        [],
        [("Milk", False)],
        [("Oat milk", False)],
        [("Oat milk", True)],
    ]
    assert [update[0]["open_items"] for update in overview.updates] == [0, 1, 0]
    assert overview.value[0]["title"] == "Groceries"

    app.mutation("items:delete", token=ADA, item=milk)
    assert refused(app, "items:check", token=ADA, item=milk, done=False) == "NoItem"


def test_a_deleted_list_takes_its_items_along(app: Deployment) -> None:
    groceries = app.mutation("lists:create", token=ADA, title="Groceries")
    app.mutation("items:add", token=ADA, todo_list=groceries, text="Milk")
    app.mutation("lists:delete", token=ADA, todo_list=groceries)
    assert app.query("lists:overview", token=ADA) == []
    assert app.run(lambda ctx: ctx.db.query("items").count()) == 0


def test_a_name_belongs_to_who_took_it(app: Deployment) -> None:
    assert refused(app, "users:sign_in", name="Ada", token=BOB) == "NameTaken"
    assert refused(app, "users:sign_in", name="Eve", token="short") == "WeakToken"
    ada = app.mutation("users:sign_in", name="Ada", token=ADA)
    assert app.mutation("users:sign_in", name="Ada Lovelace", token=ADA) == ada


def test_a_list_is_bounded(app: Deployment) -> None:
    groceries = app.mutation("lists:create", token=ADA, title="Groceries")
    for number in range(200):
        app.mutation("items:add", token=ADA, todo_list=groceries, text=str(number))
    assert refused(app, "items:add", token=ADA, todo_list=groceries, text="?") == "ListFull"
