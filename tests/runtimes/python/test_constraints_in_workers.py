"""Unique indexes and aggregates when mutations run at the same time in several processes."""

import asyncio

APP = """
    class User(Table, name="users", indexes={"by_email": Unique("email")}):
        email: str
        city: str = ""

    class Visit(Table, name="visits", indexes={"by_city": Aggregate("city", of="length")}):
        city: str
        length: float

    def burn() -> None:
        total = 0
        for number in range(3_000_000):
            total += number & 3

    @mutation
    def join(ctx: MutationCtx, email: str) -> Id[User]:
        burn()
        return ctx.db.insert(User(email=email))

    @mutation
    def visit(ctx: MutationCtx, city: str) -> int:
        burn()
        ctx.db.insert(Visit(city=city, length=0.1))
        return ctx.db.query(Visit).with_index("by_city", city=city).count()

    @query
    def total(ctx: QueryCtx, city: str) -> float:
        return ctx.db.query(Visit).with_index("by_city", city=city).sum("length")
"""


def test_exactly_one_of_several_gets_the_value(serve):
    """The others ran at the same time, on snapshots in which it was free."""

    async def story(server):
        results = await asyncio.gather(
            *(server.call("mutation", "main:join", email="ada@example.org") for _ in range(4))
        )
        refused = [result for result in results if not result.ok]
        assert len(refused) == 3
        assert all("already has a document" in result.error_message for result in refused)

    serve(story, main=APP)


def test_counts_in_workers_follow_each_other(serve):
    """Each visit of a city sees the ones before it, whichever process ran them."""

    async def story(server):
        counts = await asyncio.gather(
            *(server.value("mutation", "main:visit", city=city) for city in "ababab")
        )
        assert sorted(counts) == [1, 1, 2, 2, 3, 3]
        assert await server.value("query", "main:total", city="a") == 0.30000000000000004

    serve(story, main=APP)
