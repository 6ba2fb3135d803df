"""Aggregated indexes, unique indexes and references, as an app uses them."""

from collections import Counter

import pytest

from cupola.errors import (
    ConflictError,
    DatabaseUseError,
    ReferenceViolationError,
    UniqueViolationError,
)

SHOP = """
    class Customer(Table, name="customers", indexes={"by_email": Unique("email")}):
        email: str

    class Order(
        Table,
        name="orders",
        indexes={
            "by_shop": Aggregate("shop", of=["amount", "pieces"]),
            "by_amount": Aggregate("amount"),
            "by_customer": ["customer"],
        },
        references={"customer": "cascade"},
    ):
        shop: str
        amount: float
        pieces: int = 1
        customer: Id[Customer] | None = None

    @mutation
    def join(ctx: MutationCtx, email: str) -> Id[Customer]:
        return ctx.db.insert(Customer(email=email))

    @mutation
    def order(ctx: MutationCtx, shop: str, amount: float, pieces: int = 1) -> Id[Order]:
        return ctx.db.insert(Order(shop=shop, amount=amount, pieces=pieces))

    @mutation
    def order_for(ctx: MutationCtx, customer: Id[Customer]) -> Id[Order]:
        return ctx.db.insert(Order(shop="a", amount=1.0, customer=customer))

    @mutation
    def leave(ctx: MutationCtx, customer: Id[Customer]) -> None:
        ctx.db.delete(customer)

    @query
    def count(ctx: QueryCtx, shop: str) -> int:
        return ctx.db.query(Order).with_index("by_shop", shop=shop).count()

    @query
    def figures(ctx: QueryCtx, shop: str) -> list[float | int | None]:
        orders = ctx.db.query(Order).with_index("by_shop", shop=shop)
        found = [orders.sum("amount"), orders.min("amount"), orders.max("amount")]
        return [*found, orders.sum("pieces"), orders.max("pieces")]

    @query
    def types(ctx: QueryCtx, shop: str) -> list[str]:
        orders = ctx.db.query(Order).with_index("by_shop", shop=shop)
        return [type(v).__name__ for v in (orders.sum("amount"), orders.sum("pieces"))]

    @query
    def place(ctx: QueryCtx, id: Id[Order]) -> int | None:
        return ctx.db.query(Order).with_index("by_amount").order("desc").rank(id)

    @query
    def at(ctx: QueryCtx, position: int) -> float | None:
        found = ctx.db.query(Order).with_index("by_amount").order("desc").nth(position)
        return None if found is None else found.amount

    @query
    def wrong(ctx: QueryCtx, case: int) -> None:
        orders = ctx.db.query(Order)
        if case == 0:
            orders.with_index("by_customer").sum("amount")
        elif case == 1:
            orders.with_index("by_amount").sum("pieces")
        elif case == 2:
            orders.with_index("by_shop").filter(lambda order: True).sum("amount")
        else:
            orders.with_index("by_shop").nth(-1)

    @mutation
    def own_writes(ctx: MutationCtx) -> list[float | int | None]:
        orders = ctx.db.query(Order).with_index("by_shop", shop="own")
        before = orders.count()
        first = ctx.db.insert(Order(shop="own", amount=5.0))
        second = ctx.db.insert(Order(shop="own", amount=7.0, pieces=3))
        ctx.db.delete(first)
        ctx.db.patch(second, amount=6.5)
        return [before, orders.count(), orders.sum("amount"), orders.max("pieces")]
"""


def test_figures_of_a_range_without_reading_it(deploy):
    app = deploy(main=SHOP)
    for amount in (0.1, 0.2, 0.3):
        app.mutation("main:order", shop="a", amount=amount, pieces=2)
    app.mutation("main:order", shop="b", amount=9.0)

    assert app.query("main:count", shop="a") == 3
    assert app.query("main:figures", shop="a") == [0.6, 0.1, 0.3, 6, 2]
    assert app.query("main:figures", shop="nowhere") == [0, None, None, 0, None]
    assert app.query("main:types", shop="a") == ["float", "int"]


def test_places_in_a_ranking(deploy):
    app = deploy(main=SHOP)
    ids = [app.mutation("main:order", shop="a", amount=a) for a in (3.0, 1.0, 2.0)]

    assert [app.query("main:place", id=document_id) for document_id in ids] == [0, 2, 1]
    assert [app.query("main:at", position=n) for n in range(4)] == [3.0, 2.0, 1.0, None]


def test_a_mutation_sees_its_own_writes_in_the_figures(deploy):
    assert deploy(main=SHOP).mutation("main:own_writes") == [0, 1, 6.5, 3]


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (0, r'by_customer` is not aggregated.*"by_customer": Aggregate'),
        (1, "does not aggregate `pieces`: it has only counts"),
        (2, "cannot look at a filter"),
        (3, "nth needs a position"),
    ],
)
def test_a_figure_that_no_index_keeps_is_refused(deploy, case, message):
    with pytest.raises(DatabaseUseError, match=message):
        deploy(main=SHOP).query("main:wrong", case=case)


def test_a_live_count_runs_again_for_its_own_range_only(deploy):
    app = deploy(main=SHOP)
    runs = Counter()
    app.backend.node.watchers.append(lambda log: runs.update([log.path]))
    count = app.connect().subscribe("main:count", shop="a")

    app.mutation("main:order", shop="b", amount=1.0)
    assert count.updates == [0]
    assert runs["main:count"] == 1

    app.mutation("main:order", shop="a", amount=1.0)
    assert count.updates == [0, 1]
    assert runs["main:count"] == 2


def test_clients_hear_of_a_value_that_is_taken(deploy):
    app = deploy(main=SHOP)
    ada = app.mutation("main:join", email="ada@example.org")
    with pytest.raises(UniqueViolationError, match=ada):
        app.mutation("main:join", email="ada@example.org")


def test_a_deleted_document_takes_along_what_belongs_to_it(deploy):
    app = deploy(main=SHOP)
    ada = app.mutation("main:join", email="ada@example.org")
    app.mutation("main:order_for", customer=ada)
    assert app.query("main:count", shop="a") == 1

    app.mutation("main:leave", customer=ada)
    assert app.query("main:count", shop="a") == 0
    with pytest.raises(ReferenceViolationError, match="customer"):
        app.mutation("main:order_for", customer=ada)


def test_errors_are_told_apart_from_conflicts():
    """Nobody retries them: the same call fails the same way."""
    assert not issubclass(UniqueViolationError, ConflictError)
    assert not issubclass(ReferenceViolationError, ConflictError)
