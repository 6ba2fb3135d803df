"""What a call may do, what it leaves behind, and how it is told when it fails."""

import pytest

from cupola.errors import (
    ApplicationError,
    ArgumentValidationError,
    CupolaError,
    DatabaseUseError,
    DeveloperError,
    InvalidIdError,
    InvalidValueError,
    LimitError,
    ReturnsValidationError,
)
from cupola.limits import Limits

ITEMS = """
    class Item(Table, name="items", indexes={"by_rank": ["rank"]}):
        rank: float
        tags: list[str] = []

    @mutation
    def add(ctx: MutationCtx, rank: float) -> Id[Item]:
        return ctx.db.insert(Item(rank=rank))

    @query
    def ranks(ctx: QueryCtx) -> list[float]:
        return [item.rank for item in ctx.db.query(Item)]
"""


def failure_of(call, *args, **kwargs) -> CupolaError:
    with pytest.raises(CupolaError) as raised:
        call(*args, **kwargs)
    return raised.value


# ---------------------------------------------------------------- nested calls

NESTED = (
    ITEMS
    + """
    from cupola.errors import ArgumentValidationError

    @mutation
    def add_and_fail(ctx: MutationCtx, rank: float) -> None:
        ctx.db.insert(Item(rank=rank))
        ctx.run_mutation(add, rank=rank + 0.5)
        raise ApplicationError("no")

    @mutation
    def careful(ctx: MutationCtx) -> list[float]:
        ctx.db.insert(Item(rank=1.0))
        try:
            ctx.run_mutation(add_and_fail, rank=2.0)
        except ApplicationError:
            pass
        ctx.run_mutation("main:add", rank=3.0)
        return ctx.run_query("main:ranks")

    @mutation
    def careless(ctx: MutationCtx) -> None:
        ctx.db.insert(Item(rank=1.0))
        ctx.run_mutation(add_and_fail, rank=2.0)

    @mutation
    def while_reading(ctx: MutationCtx) -> list[float]:
        seen = []
        for item in ctx.db.query(Item).with_index("by_rank"):
            seen.append(item.rank)
            if len(seen) == 1:
                try:
                    ctx.run_mutation(add_and_fail, rank=5.0)
                except ApplicationError:
                    pass
                ctx.db.insert(Item(rank=7.0))
        return seen

    @mutation
    def undoes_a_patch(ctx: MutationCtx, id: Id[Item]) -> list[float]:
        try:
            ctx.run_mutation(patch_and_fail, id=id)
        except ApplicationError:
            pass
        return [i.rank for i in ctx.db.query(Item).with_index("by_rank", rank=Range(gt=0))]

    @mutation
    def patch_and_fail(ctx: MutationCtx, id: Id[Item]) -> None:
        ctx.db.patch(id, rank=99.0)
        ctx.db.delete(id)
        raise ApplicationError("no")

    @mutation
    def implicit_table(ctx: MutationCtx) -> float:
        try:
            ctx.run_mutation(new_table_and_fail)
        except ApplicationError:
            pass
        return float(ctx.db.query("brand_new").count())

    @mutation
    def new_table_and_fail(ctx: MutationCtx) -> None:
        ctx.db.insert("brand_new", {"x": 1})
        assert len(ctx.db.query("brand_new").collect()) == 1
        raise ApplicationError("no")

    @query
    def writes(ctx: QueryCtx) -> None:
        ctx.db.insert(Item(rank=1.0))

    @query
    def runs_a_mutation(ctx: QueryCtx) -> None:
        ctx.run_query("main:add", rank=1.0)

    @query
    def deep(ctx: QueryCtx, level: int) -> int:
        return ctx.run_query(deep, level=level + 1)

    @query
    def counts_down(ctx: QueryCtx, level: int) -> int:
        return 0 if level == 0 else 1 + ctx.run_query(counts_down, level=level - 1)

    @mutation
    def wrong_arguments(ctx: MutationCtx) -> str:
        try:
            ctx.run_mutation(add, rank="high")
        except ArgumentValidationError as error:
            return str(error)
        return "nothing"
"""
)


def test_a_caught_failure_undoes_the_childs_writes_only(deploy):
    """F016: the child's own children are undone with it, everything else stays."""
    app = deploy(main=NESTED)

    assert app.mutation("main:careful") == [1.0, 3.0]
    assert app.query("main:ranks") == [1.0, 3.0]


def test_a_failure_nobody_catches_undoes_all(deploy):
    app = deploy(main=NESTED)
    with pytest.raises(ApplicationError):
        app.mutation("main:careless")
    assert app.query("main:ranks") == []


def test_an_iteration_that_was_under_way_does_not_see_what_was_undone(deploy):
    """And goes on to see what is written after that."""
    app = deploy(main=NESTED)
    for rank in (1.0, 6.0, 9.0):
        app.mutation("main:add", rank=rank)

    assert app.mutation("main:while_reading") == [1.0, 6.0, 7.0, 9.0]
    assert sorted(app.query("main:ranks")) == [1.0, 6.0, 7.0, 9.0]


def test_an_undone_patch_leaves_the_document_where_it_was(deploy):
    app = deploy(main=NESTED)
    item = app.mutation("main:add", rank=4.0)
    assert app.mutation("main:undoes_a_patch", id=item) == [4.0]


def test_a_table_that_an_undone_call_made_is_gone(deploy):
    app = deploy(main=NESTED)
    assert app.mutation("main:implicit_table") == 0.0


def test_queries_cannot_write_nor_call_mutations(deploy):
    app = deploy(main=NESTED)
    assert "insert" in str(failure_of(app.query, "main:writes"))
    error = failure_of(app.query, "main:runs_a_mutation")
    assert error.code == "FunctionPathWrongType"
    assert "Trying to execute main:add as query, but it is defined as mutation." in str(error)
    assert app.query("main:ranks") == []


def test_calls_nest_so_deep_and_no_deeper(deploy):
    app = deploy({"limits": Limits(nested_calls_max=4)}, main=NESTED)
    assert app.query("main:counts_down", level=4) == 4
    error = failure_of(app.query, "main:deep", level=0)
    assert isinstance(error, LimitError)
    assert error.code == "NestedCallsLimitExceeded"
    assert "more than 4 levels" in str(error)


def test_a_nested_calls_arguments_are_checked_like_any_others(deploy):
    app = deploy(main=NESTED)
    assert "rank" in app.mutation("main:wrong_arguments")


# ---------------------------------------------------------------- arguments and results

TYPES = """
    from typing import Any

    @query
    def whole(ctx: QueryCtx, n: int) -> int:
        return n

    @query
    def optional(ctx: QueryCtx, n: float = 7.0) -> float:
        return n

    @query
    def anything(ctx: QueryCtx, x: Any) -> Any:
        return x

    @query
    def declared_wrongly(ctx: QueryCtx) -> list[str]:
        return ["a", 3]

    @query
    def undeclared(ctx):
        return {"n": float("nan"), "t": (1, 2)}

"""


def test_arguments_are_checked_against_the_hints(deploy):
    app = deploy(main=TYPES)
    for args, told in [
        ({}, "n"),
        ({"n": "5"}, "n"),
        ({"n": 1.5}, "whole"),
        ({"n": 2.0**60}, ""),
        ({"n": 1, "m": 2}, "m"),
        ({"n": None}, "n"),
    ]:
        error = failure_of(app.query, "main:whole", **args)
        assert isinstance(error, ArgumentValidationError), args
        assert "ArgumentValidationError" in str(error)
        assert told in str(error), args


def test_a_parameter_with_a_default_may_be_left_out(deploy):
    app = deploy(main=TYPES)
    assert app.query("main:optional") == 7.0
    assert app.query("main:optional", n=1) == 1.0


def test_results_are_checked_against_the_hint(deploy):
    app = deploy(main=TYPES)
    error = failure_of(app.query, "main:declared_wrongly")
    assert isinstance(error, ReturnsValidationError)
    assert "ReturnsValidationError" in str(error)


def test_without_a_hint_any_value_goes(deploy):
    app = deploy(main=TYPES)
    result = app.query("main:undeclared")
    assert result["n"] != result["n"]
    assert result["t"] == [1.0, 2.0]


def test_arguments_past_their_bound_are_refused(deploy):
    app = deploy({"limits": Limits(arguments_size_bytes_max=1000)}, main=TYPES)
    assert app.query("main:anything", x="y" * 900)
    error = failure_of(app.query, "main:anything", x="y" * 1500)
    assert error.code == "ArgumentsTooLarge"
    assert "1,000 bytes" in str(error)


def test_results_past_their_bound_are_refused(deploy):
    app = deploy({"limits": Limits(result_size_bytes_max=1000)}, main=TYPES)
    assert failure_of(app.query, "main:anything", x="y" * 1500).code == "ResultTooLarge"


# ---------------------------------------------------------------- logs

LOGS = """
    import logging

    @query
    def speaks(ctx: QueryCtx) -> None:
        print("one", 2, {"three": 3})
        logging.warning("careful %s", 1)
        logging.getLogger("mine").error("bad")

    @query
    def speaks_and_fails(ctx: QueryCtx) -> None:
        print("before")
        raise ApplicationError("no")

    @query
    def chatters(ctx: QueryCtx, lines: int, length: int) -> None:
        for _ in range(lines):
            print("x" * length)

    @query
    def strange(ctx: QueryCtx) -> None:
        loop = []
        loop.append(loop)
        print(loop)
        print("lone \\ud800 surrogate", b"\\xff", chr(0))

    @query
    def calls(ctx: QueryCtx) -> None:
        print("outer")
        ctx.run_query(speaks)
"""


def test_print_and_logging_become_log_lines(deploy):
    app = deploy(main=LOGS)
    app.query("main:speaks")
    assert app.log_lines[0].startswith("[LOG] 'one' 2")
    assert app.log_lines[1].startswith("[WARN]")
    assert "careful 1" in app.log_lines[1]
    assert app.log_lines[2].startswith("[ERROR]")


def test_a_failed_call_keeps_its_log_lines(deploy):
    app = deploy(main=LOGS)
    failure_of(app.query, "main:speaks_and_fails")
    assert app.log_lines == ["[LOG] 'before'"]


def test_nested_calls_log_into_their_callers_lines(deploy):
    app = deploy(main=LOGS)
    app.query("main:calls")
    assert len(app.log_lines) == 4


def test_log_lines_are_bounded_in_number_and_length(deploy):
    app = deploy({"limits": Limits(log_lines_max=10, log_line_length_max=100)}, main=LOGS)
    app.query("main:chatters", lines=50, length=1)
    assert len(app.log_lines) == 10
    assert "Log overflow (maximum 10)" in app.log_lines[-1]
    app.query("main:chatters", lines=1, length=500)
    assert len(app.log_lines[0]) < 200
    assert "truncated due to length" in app.log_lines[0]


def test_whatever_is_printed_can_be_sent(deploy):
    """Loops, lone surrogates, NUL."""
    app = deploy(main=LOGS)
    app.query("main:strange")
    assert len(app.log_lines) == 2
    assert all(line.encode() for line in app.log_lines)


# ---------------------------------------------------------------- failures in words

FAILURES = """
    def helper():
        return {}["missing"]

    @query
    def fails(ctx: QueryCtx) -> None:
        helper()

    class Odd(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    @query
    def odd(ctx: QueryCtx) -> None:
        raise Odd

    @query
    def long(ctx: QueryCtx) -> None:
        raise ValueError("x" * 5_000_000)

    @query
    def surrogate(ctx: QueryCtx) -> None:
        raise ValueError("lone \\ud800")

    @query
    def bad_data(ctx: QueryCtx) -> None:
        raise ApplicationError({"set": {1, 2}})

    @query
    def app_error(ctx: QueryCtx) -> None:
        raise ApplicationError({"code": "Full", "n": 3})

    @query
    def forever(ctx: QueryCtx, n: int = 0) -> None:
        forever(ctx, n + 1)
"""


def test_a_failure_names_request_error_and_the_lines_of_the_app(deploy):
    """Frames of the app only: the engine's own tell its user nothing."""
    message = str(failure_of(deploy(main=FAILURES).query, "main:fails"))

    first, what, *frames = message.splitlines()
    assert first.startswith("[Request ID: ")
    assert first.endswith("] Server Error")
    assert what == "Uncaught KeyError: 'missing'"
    assert [frame.split(" (")[0] for frame in frames] == ["    at helper", "    at fails"]
    assert "(functions/main.py:4)" in frames[0]


def test_every_failure_can_be_sent_and_is_bounded(deploy):
    app = deploy(main=FAILURES)
    assert "Odd" in str(failure_of(app.query, "main:odd"))
    assert len(str(failure_of(app.query, "main:long"))) < 100_000
    assert str(failure_of(app.query, "main:surrogate")).encode()
    assert "RecursionError" in str(failure_of(app.query, "main:forever"))


def test_an_application_errors_data_arrives_whole(deploy):
    error = failure_of(deploy(main=FAILURES).query, "main:app_error")
    assert isinstance(error, ApplicationError)
    assert error.data == {"code": "Full", "n": 3}


def test_data_that_cannot_be_sent_is_told_instead(deploy):
    error = failure_of(deploy(main=FAILURES).query, "main:bad_data")
    assert isinstance(error, ApplicationError)
    assert "set" in error.data


def test_a_live_query_tells_of_any_failure(deploy):
    """Through the whole protocol: each of them makes a frame that a client can read."""
    app = deploy(main=FAILURES)
    client = app.connect()
    for name in ("fails", "odd", "long", "surrogate", "bad_data", "app_error", "forever"):
        assert client.subscribe(f"main:{name}").error is not None, name
    assert client.is_connected


# ---------------------------------------------------------------- identity

AUTH = """
    @query
    def me(ctx: QueryCtx) -> str | None:
        identity = ctx.auth.get_user_identity()
        return None if identity is None else str(identity["subject"])

    @query
    def tampers(ctx: QueryCtx) -> None:
        identity = ctx.auth.get_user_identity()
        identity["subject"] = "mallory"

    @action
    async def me_from_an_action(ctx: ActionCtx) -> str | None:
        return await ctx.run_query(me)
"""


def test_everyone_is_told_who_they_are(deploy):
    app = deploy(main=AUTH)
    assert app.query("main:me") is None
    assert app.as_user("ada").query("main:me") == "ada"
    assert app.as_user("bob").query("main:me") == "bob"
    assert app.as_user("bob").action("main:me_from_an_action") == "bob"


def test_a_function_cannot_change_who_the_caller_is(deploy):
    app = deploy(main=AUTH)
    ada = app.as_user("ada")
    ada.query("main:tampers")
    assert ada.query("main:me") == "ada"


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


LIMITED = (
    ITEMS
    + """
    from cupola.errors import LimitError

    @mutation
    def careful(ctx: MutationCtx) -> list[float]:
        try:
            with ctx.limited_to(documents_written=1):
                ctx.run_mutation(add, rank=1.0)
                ctx.run_mutation(add, rank=2.0)
        except LimitError:
            pass
        ctx.run_mutation(add, rank=3.0)
        return ctx.run_query(ranks)

    @query
    def glances(ctx: QueryCtx) -> int:
        with ctx.limited_to(documents_read=1, database_queries=5):
            return len(ctx.db.query(Item).take(2))
"""
)


def test_a_function_limits_what_others_may_use_of_its_transaction(deploy):
    app = deploy(main=LIMITED)
    assert app.mutation("main:careful") == [1.0, 3.0]
    assert "documents read" in failure_of(app.query, "main:glances").message
