"""What a call may do, what it leaves behind, and how it is told when it fails."""

import pytest

from cupola.errors import (
    ApplicationError,
    ArgumentValidationError,
    CupolaError,
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
    import random
    import uuid
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

    @internal_mutation
    def code(ctx: MutationCtx) -> str:
        return f"{random.random()} {uuid.uuid4()}"

    @internal_mutation
    def code_through_another(ctx: MutationCtx) -> str:
        return ctx.run_mutation(code)

    @mutation
    def codes(ctx: MutationCtx) -> list[str]:
        return [ctx.run_mutation(each) for each in [code, code_through_another] * 2]

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


def test_calls_of_one_function_draw_different_random_numbers(deploy):
    """What they draw may be somebody's code or an id."""
    assert len(set(deploy(main=NESTED).mutation("main:codes"))) == 4


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


# ---------------------------------------------------------------- limits of a part

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
