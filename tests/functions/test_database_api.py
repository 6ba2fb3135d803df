"""What functions may do with the data, in queries and in mutations."""

import pytest

from cupola.errors import (
    DatabaseUseError,
    DeveloperError,
    InvalidIdError,
    InvalidValueError,
)

from .test_calls import ITEMS, failure_of

# ---------------------------------------------------------------- reading

READS = (
    ITEMS
    + """
    from typing import Any

    class Note(Table, name="notes"):
        text: str

    @query
    def normal(ctx: QueryCtx, table: str, text: str) -> str | None:
        return ctx.db.normalize_id(table, text)

    @mutation
    def fill(ctx: MutationCtx, ranks: list[float]) -> None:
        for rank in ranks:
            ctx.db.insert(Item(rank=rank))
        ctx.db.insert(Note(text="hi"))

    @mutation
    def note(ctx: MutationCtx) -> Id[Note]:
        return ctx.db.insert(Note(text="hi"))

    @query
    def look(ctx: QueryCtx, how: str, n: float = 2.0) -> Any:
        items = ctx.db.query(Item).with_index("by_rank")
        what = {
            "asc": lambda: items.order("asc").collect(),
            "desc": lambda: items.order("desc").collect(),
            "take": lambda: items.take(int(n)),
            "first": lambda: [items.first()],
            "unique": lambda: [items.unique()],
            "unique_eq": lambda: [ctx.db.query(Item).with_index("by_rank", rank=n).unique()],
            "filter": lambda: items.filter(lambda item: item.rank > n).take(2),
            "expression": lambda: items.filter(field("rank") > n).collect(),
            "between": lambda: ctx.db.query(Item)
            .with_index("by_rank", rank=Range(gt=n, lte=n + 2)).collect(),
        }
        return [None if item is None else item.rank for item in what[how]()]

    @mutation
    def counts(ctx: MutationCtx) -> list[float]:
        items = ctx.db.query(Item)
        counts = [items.count()]
        id = ctx.db.insert(Item(rank=50.0))
        counts.append(items.count())
        counts.append(items.with_index("by_rank", rank=Range(gte=50)).count())
        ctx.db.patch(id, rank=-1.0)
        counts.append(items.with_index("by_rank", rank=Range(gte=50)).count())
        first = items.first()
        ctx.db.delete(first._id)
        ctx.db.delete(id)
        counts.append(items.count())
        counts.append(items.filter(field("rank") > 1).count())
        return counts

    @query
    def misuse(ctx: QueryCtx, how: str) -> Any:
        items = ctx.db.query(Item)
        return {
            "order": lambda: items.order("up"),
            "take": lambda: items.take(-1),
            "take_text": lambda: items.take("2"),
            "take_huge": lambda: items.take(10**30),
            "index": lambda: items.with_index("by_rnk").collect(),
            "field": lambda: items.with_index("by_rank", rnk=1).collect(),
            "gap": lambda: items.with_index("by_rank", _creationTime=1.0).collect(),
            "two_bounds": lambda: Range(gt=1, gte=1),
            "bound": lambda: items.with_index("by_rank", rank={1, 2}).collect(),
            "surrogate": lambda: items.with_index("by_rank", rank="\\ud800").collect(),
            "get": lambda: ctx.db.get("nonsense"),
            "get_none": lambda: ctx.db.get(None),
            "and": lambda: items.filter(field("a") == 1 and field("b") == 2).collect(),
            "number": lambda: items.filter(field("rank") + 1).collect(),
            "text": lambda: items.filter(field("rank") + "x" == "y").collect(),
            "table": lambda: ctx.db.query("no such table").collect(),
            "unknown_index": lambda: ctx.db.query("nothing").with_index("by_x").collect(),
            "not_a_table": lambda: ctx.db.query(5).collect(),
        }[how]()

"""
)


def test_normalize_id_knows_its_table(deploy):
    app = deploy(main=READS)
    note = app.mutation("main:note")
    assert app.query("main:normal", table="notes", text=note) == note
    assert app.query("main:normal", table="items", text=note) is None
    assert app.query("main:normal", table="nothing", text=note) is None
    assert app.query("main:normal", table="notes", text="nonsense") is None
    assert app.query("main:normal", table="notes", text=note.upper()) is None


def test_the_ways_to_read(deploy):
    app = deploy(main=READS)
    app.mutation("main:fill", ranks=[3, 1, 4, 1, 5])
    assert app.query("main:look", how="asc") == [1, 1, 3, 4, 5]
    assert app.query("main:look", how="desc") == [5, 4, 3, 1, 1]
    assert app.query("main:look", how="take") == [1, 1]
    assert app.query("main:look", how="take", n=0) == []
    assert app.query("main:look", how="first") == [1]
    assert app.query("main:look", how="unique_eq", n=4) == [4]
    assert app.query("main:look", how="unique_eq", n=9) == [None]
    assert app.query("main:look", how="filter") == [3, 4]
    assert app.query("main:look", how="expression") == [3, 4, 5]
    assert app.query("main:look", how="between") == [3, 4]


def test_unique_says_which_documents_there_are(deploy):
    app = deploy(main=READS)
    app.mutation("main:fill", ranks=[1, 1])
    error = failure_of(app.query, "main:look", how="unique_eq", n=1)
    assert isinstance(error, DatabaseUseError)
    assert error.code == "NotUnique"
    assert "from table items" in str(error)


def test_counts_include_own_writes(deploy):
    app = deploy(main=READS)
    app.mutation("main:fill", ranks=[1, 2, 3])
    assert app.mutation("main:counts") == [3, 4, 1, 0, 2, 2]
    assert app.query("main:ranks") == [2, 3]


@pytest.mark.parametrize(
    ("how", "kind", "told"),
    [
        ("order", DatabaseUseError, "'up'"),
        ("take", DatabaseUseError, "-1"),
        ("take_text", DatabaseUseError, "'2'"),
        ("index", DatabaseUseError, "`items` has no index `by_rnk`; it has"),
        ("field", DatabaseUseError, "no field `rnk`"),
        ("gap", DatabaseUseError, "without a gap"),
        ("two_bounds", DatabaseUseError, "not both"),
        ("bound", InvalidValueError, "set"),
        ("surrogate", InvalidValueError, "surrogate"),
        ("get", InvalidIdError, "nonsense"),
        ("get_none", InvalidIdError, "None"),
        ("and", DatabaseUseError, "combine filters with &"),
        ("number", DatabaseUseError, "not a boolean"),
        ("text", DatabaseUseError, "arithmetic"),
        ("unknown_index", DatabaseUseError, "no index `by_x`"),
        ("not_a_table", DatabaseUseError, "5"),
    ],
)
def test_misuse_of_the_database_is_told(deploy, how, kind, told):
    app = deploy(main=READS)
    app.mutation("main:fill", ranks=[1])
    error = failure_of(app.query, "main:misuse", how=how)
    assert isinstance(error, kind), error
    assert told in str(error)


def test_taking_more_than_there_can_be_takes_all(deploy):
    app = deploy(main=READS)
    app.mutation("main:fill", ranks=[1, 2])
    assert len(app.query("main:misuse", how="take_huge")) == 2


def test_a_table_that_does_not_exist_is_empty(deploy):
    assert deploy(main=READS).query("main:misuse", how="table") == []


# ---------------------------------------------------------------- writing

WRITES = """
    class Bag(Table, name="bags", indexes={"by_tags": ["tags"]}):
        tags: list[str]

    @mutation
    def fill(ctx: MutationCtx) -> None:
        tags = ["a"]
        bag = Bag(tags=tags)
        ctx.db.insert(bag)
        tags.append("b")
        loose = {"tags": ["x"], "deep": {"list": [1]}}
        ctx.db.insert("loose", loose)
        loose["deep"]["list"].append(2)

    @query
    def find(ctx: QueryCtx, tags: list[str]) -> list[list[str]]:
        return [b.tags for b in ctx.db.query(Bag).with_index("by_tags", tags=tags)]

    @query
    def loose(ctx: QueryCtx):
        first = ctx.db.query("loose").first()
        first["deep"]["list"].append(9)
        return ctx.db.query("loose").first()["deep"]

    @mutation
    def misuse(ctx: MutationCtx, how: str) -> None:
        bag = ctx.db.insert(Bag(tags=[]))
        gone = ctx.db.insert(Bag(tags=[]))
        ctx.db.delete(gone)
        {
            "own_id": lambda: ctx.db.insert("loose", {"_id": bag}),
            "own_time": lambda: ctx.db.insert("loose", {"_creationTime": 5.0}),
            "underscore": lambda: ctx.db.insert("loose", {"_mine": 5.0}),
            "dollar": lambda: ctx.db.insert("loose", {"$mine": 5.0}),
            "system": lambda: ctx.db.insert("_tables", {"name": "x", "number": 1.0}),
            "bad_name": lambda: ctx.db.insert("no way", {}),
            "gone": lambda: ctx.db.patch(gone, tags=["x"]),
            "twice": lambda: ctx.db.delete(gone),
            "change_id": lambda: ctx.db.patch(bag, {"_id": gone}),
            "schema": lambda: ctx.db.patch(bag, tags=5.0),
            "extra": lambda: ctx.db.patch(bag, other=5.0),
            "remove": lambda: ctx.db.patch(bag, tags=UNSET),
            "set": lambda: ctx.db.insert("loose", {"x": {1, 2}}),
            "big_int": lambda: ctx.db.insert("loose", {"x": 2**60}),
            "surrogate": lambda: ctx.db.insert("loose", {"x": "\\ud800"}),
            "too_large": lambda: ctx.db.insert("loose", {"x": "x" * 2**20}),
            "nested": lambda: ctx.db.insert("loose", {"x": nest(20)}),
            "loop": lambda: ctx.db.insert("loose", {"x": loop()}),
            "many_fields": lambda: ctx.db.insert("loose", {f"f{i}": 1 for i in range(1025)}),
            "long_array": lambda: ctx.db.insert("loose", {"x": [0] * 8193}),
            "no_document": lambda: ctx.db.insert("loose"),
            "wrong_table": lambda: ctx.db.replace(bag, Other(x=1.0)),
        }[how]()

    class Other(Table, name="others"):
        x: float

    def nest(depth):
        return [] if depth == 0 else [nest(depth - 1)]

    def loop():
        found = []
        found.append(found)
        return found

    @mutation
    def numbers(ctx: MutationCtx) -> float:
        ctx.db.insert("loose", {"n": 5, "pair": (1, 2)})
        found = ctx.db.query("loose").filter((field("n") + 1 == 6) & (field("pair") == [1, 2]))
        return float(found.count())

    @query
    def total(ctx: QueryCtx) -> int:
        return ctx.db.query(Bag).count() + ctx.db.query("loose").count()
"""


def test_what_was_written_does_not_change_behind_the_documents_back(deploy):
    """Lists that were passed in, or read, are the function's own."""
    app = deploy(main=WRITES)
    app.mutation("main:fill")
    assert app.query("main:find", tags=["a"]) == [["a"]]
    assert app.query("main:find", tags=["a", "b"]) == []
    assert app.query("main:loose") == {"list": [1]}


def test_own_writes_are_read_as_they_will_be_stored(deploy):
    """A plain int is the protocol's number before the commit too."""
    assert deploy(main=WRITES).mutation("main:numbers") == 1.0


@pytest.mark.parametrize(
    ("how", "kind", "told"),
    [
        ("own_id", DatabaseUseError, "`_id`"),
        ("own_time", DatabaseUseError, "`_creationTime`"),
        ("underscore", DeveloperError, "_mine"),
        ("dollar", InvalidValueError, "$mine"),
        ("system", DatabaseUseError, "`_tables`"),
        ("bad_name", DeveloperError, "no way"),
        ("gone", DatabaseUseError, "does not exist"),
        ("twice", DatabaseUseError, "does not exist"),
        ("change_id", DatabaseUseError, "`_id` cannot be changed"),
        ("schema", DeveloperError, "tags"),
        ("extra", DeveloperError, "other"),
        ("remove", DeveloperError, "tags"),
        ("set", InvalidValueError, "set"),
        ("big_int", InvalidValueError, "Int64"),
        ("surrogate", InvalidValueError, "surrogate"),
        ("too_large", DeveloperError, "1"),
        ("nested", DeveloperError, "16"),
        ("loop", DeveloperError, "nest"),
        ("many_fields", DeveloperError, "1024"),
        ("long_array", DeveloperError, "8192"),
        ("no_document", DatabaseUseError, "insert takes"),
        ("wrong_table", DatabaseUseError, "cannot be replaced"),
    ],
)
def test_a_write_that_cannot_be_is_told_and_nothing_is_written(deploy, how, kind, told):
    app = deploy(main=WRITES)
    error = failure_of(app.mutation, "main:misuse", how=how)
    assert isinstance(error, kind), error
    assert told in str(error)
    assert app.query("main:total") == 0
