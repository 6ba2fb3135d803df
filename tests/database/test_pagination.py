"""Pages that stay live: whatever is written, they cover every document once and no other."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cupola import MutationCtx, PaginationOptions, QueryCtx, Range, field, mutation, query
from cupola.database.cursors import CursorSealer
from cupola.errors import CupolaError, DatabaseUseError, InvalidCursorError, LimitError
from cupola.functions.app import App
from cupola.limits import Limits
from cupola.schema import Table
from cupola.testing import Deployment


class Entry(Table, name="entries", indexes={"by_rank": ["rank"]}):
    rank: float
    group: str = "a"


@query
def page(ctx: QueryCtx, paginationOpts: PaginationOptions, order: str = "asc", least: float = -1e9):
    found = ctx.db.query(Entry).with_index("by_rank", rank=Range(gte=least)).order(order)
    return found.paginate(paginationOpts)


@query
def filtered(ctx: QueryCtx, paginationOpts: PaginationOptions, n: float):
    return ctx.db.query(Entry).filter(field("rank") < n).paginate(paginationOpts)


@query
def loose(ctx: QueryCtx, paginationOpts: PaginationOptions):
    return ctx.db.query("loose").paginate(paginationOpts)


@query
def loose_since(ctx: QueryCtx, paginationOpts: PaginationOptions, since: float):
    found = ctx.db.query("loose").with_index("by_creation_time", _creationTime=Range(gte=since))
    return found.paginate(paginationOpts)


@query
def twice(ctx: QueryCtx, paginationOpts: PaginationOptions):
    ctx.db.query(Entry).paginate(paginationOpts)
    return ctx.db.query(Entry).paginate(paginationOpts)


@mutation
def put(ctx: MutationCtx, rank: float, group: str = "a"):
    return ctx.db.insert(Entry(rank=rank, group=group))


@mutation
def put_loose(ctx: MutationCtx, rank: float):
    return ctx.db.insert("loose", {"rank": rank})


@mutation
def remove(ctx: MutationCtx, rank: float):
    for entry in ctx.db.query(Entry).with_index("by_rank", rank=rank):
        ctx.db.delete(entry._id)


@mutation
def move(ctx: MutationCtx, rank: float, to: float):
    for entry in ctx.db.query(Entry).with_index("by_rank", rank=rank).collect():
        ctx.db.patch(entry._id, rank=to)


FUNCTIONS = (page, filtered, loose, loose_since, twice, put, put_loose, remove, move)


@pytest.fixture
def app():
    with fresh() as deployment:
        yield deployment


def fresh(**options) -> Deployment:
    functions = {f"main:{f.handler.__name__}": f for f in FUNCTIONS}
    return Deployment(App(functions, {"entries": Entry}), **options)


def options(items, cursor=None, **more):
    return {"numItems": float(items), "cursor": cursor, **more}


def ranks(result):
    return [entry["rank"] for entry in result["page"]]


def fill(app, ranks_to_put):
    for rank in ranks_to_put:
        app.mutation("main:put", rank=rank)


# ---------------------------------------------------------------- the law

small = st.integers(0, 12).map(float)
writes = st.one_of(
    st.tuples(st.just("put"), small),
    st.tuples(st.just("remove"), small),
    st.tuples(st.just("move"), small, small),
)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(small, max_size=12),
    st.integers(1, 4),
    st.sampled_from(["asc", "desc"]),
    st.lists(writes, max_size=12),
)
def test_live_pages_neither_overlap_nor_gap(before, size, order, program):
    """The chain of pages a client has loaded equals the whole query after every write.

    Each page is a subscription whose cursor is where the one before ended when it was loaded.
    """
    with fresh() as app:
        fill(app, before)
        client = app.connect()
        pages, cursors, cursor = [], [], None
        while True:
            opened = client.subscribe(
                "main:page", {"paginationOpts": options(size, cursor), "order": order}
            )
            pages.append(opened)
            cursors.append(cursor)
            if opened.value["isDone"]:
                break
            cursor = opened.value["continueCursor"]
        present = sorted(before, reverse=order == "desc")
        assert [r for p in pages for r in ranks(p.value)] == present
        for name, *arguments in program:
            names = {"put": ("rank",), "remove": ("rank",), "move": ("rank", "to")}[name]
            app.mutation(f"main:{name}", **dict(zip(names, arguments, strict=True)))
            match name:
                case "put":
                    present.append(arguments[0])
                case "remove":
                    present = [r for r in present if r != arguments[0]]
                case "move":
                    present = [arguments[1] if r == arguments[0] else r for r in present]
            present.sort(reverse=order == "desc")
            assert [r for p in pages for r in ranks(p.value)] == present
            ends = [p.value["continueCursor"] for p in pages]
            assert ends[:-1] == cursors[1:]
        assert pages[-1].value["isDone"]


# ---------------------------------------------------------------- single pages


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_follow_each_other_to_the_end(app, order):
    fill(app, [3, 1, 2, 5, 4])
    seen, cursor = [], None
    while True:
        found = app.query("main:page", paginationOpts=options(2, cursor), order=order)
        seen.append(ranks(found))
        if found["isDone"]:
            break
        cursor = found["continueCursor"]
    forward = [[1, 2], [3, 4], [5]]
    assert seen == (forward if order == "asc" else [[5, 4], [3, 2], [1]])
    again = app.query("main:page", paginationOpts=options(2, found["continueCursor"]), order=order)
    assert (again["page"], again["isDone"]) == ([], True)


def test_the_same_position_gives_the_same_cursor(app):
    """So that results can be cached."""
    fill(app, [1, 2, 3])
    first = app.query("main:page", paginationOpts=options(2))
    fill(app, [9])
    assert app.query("main:page", paginationOpts=options(2)) == first


def test_a_split_cursor_divides_a_page_in_two(app):
    """As the React hooks do: (cursor, split] and (split, end], with `endCursor`."""
    fill(app, [1, 2, 3, 4])
    whole = app.query("main:page", paginationOpts=options(4))
    split, end = whole["splitCursor"], whole["continueCursor"]
    one = app.query("main:page", paginationOpts=options(1, None, endCursor=split))
    two = app.query("main:page", paginationOpts=options(1, split, endCursor=end))
    assert (ranks(one), ranks(two)) == ([1, 2], [3, 4])
    assert one["continueCursor"] == split
    assert two["continueCursor"] == end


def test_rows_read_are_bounded_and_the_page_says_so(app):
    fill(app, range(10))
    found = app.query("main:filtered", paginationOpts=options(5, maximumRowsRead=4.0), n=1)
    assert ranks(found) == [0]
    assert not found["isDone"]
    assert found["pageStatus"] == "SplitRequired"


def test_bytes_read_are_bounded_and_the_page_says_so():
    """Also where the bound lies inside of a document. The halves of such a page can be read."""
    with fresh(limits=Limits(bytes_read_max=1500)) as app:
        for rank in range(10):
            app.mutation("main:put", rank=float(rank), group="x" * 200)
        found = app.query("main:page", paginationOpts=options(10))
        assert ranks(found) == [0, 1, 2, 3, 4]
        assert (found["isDone"], found["pageStatus"]) == (False, "SplitRequired")
        half = options(10, None, endCursor=found["splitCursor"])
        assert ranks(app.query("main:page", paginationOpts=half)) == [0, 1, 2]
        rest = app.query("main:page", paginationOpts=options(10, found["continueCursor"]))
        assert ranks(rest) == [5, 6, 7, 8, 9]


def test_a_live_page_that_has_grown_too_large_can_be_split():
    with fresh(limits=Limits(bytes_read_max=1500)) as app:
        fill(app, [0, 9])
        live = app.connect().subscribe("main:page", {"paginationOpts": options(2)})
        for rank in range(1, 6):
            app.mutation("main:put", rank=float(rank), group="x" * 200)
        assert live.value["pageStatus"] == "SplitRequired"


def test_a_live_page_shows_what_comes_before_a_document_that_was_too_large():
    """What ends a page was read, though it is not shown."""
    with fresh(limits=Limits(bytes_read_max=620)) as app:
        fill(app, [0, 1, 2, 9])
        live = app.connect().subscribe("main:page", {"paginationOpts": options(4)})
        assert ranks(live.value) == [0, 1, 2, 9]
        app.mutation("main:put", rank=5.0, group="x" * 350)
        assert ranks(live.value) == [0, 1, 2]
        app.mutation("main:put", rank=4.0)
        assert ranks(live.value) == [0, 1, 2, 4]


def test_a_document_that_is_more_than_a_page_may_be_is_refused():
    with fresh(limits=Limits(bytes_read_max=100)) as app:
        app.mutation("main:put", rank=1.0, group="x" * 200)
        assert isinstance(failure_of(app, "main:page", paginationOpts=options(1)), LimitError)


def test_a_page_with_an_end_is_read_to_it(app):
    """Else the two halves of a page that must be split could not be read either."""
    fill(app, range(10))
    pinned = app.query("main:page", paginationOpts=options(10))["continueCursor"]
    whole = app.query(
        "main:page", paginationOpts=options(1, None, endCursor=pinned, maximumRowsRead=4.0)
    )
    assert ranks(whole) == list(range(10))
    assert whole["pageStatus"] is None


def test_a_page_of_an_empty_or_unknown_table_is_the_last(app):
    for path in ("main:page", "main:loose"):
        found = app.query(path, paginationOpts=options(3))
        assert (found["page"], found["isDone"]) == ([], True)


def test_a_live_page_of_an_unknown_table_sees_the_table_come(app):
    subscription = app.connect().subscribe("main:loose", {"paginationOpts": options(3)})
    app.mutation("main:put_loose", rank=1.0)
    assert ranks(subscription.value) == [1]


def test_a_cursor_of_an_unknown_table_stays_valid_when_the_table_comes(app):
    """The range is part of what a cursor is sealed for, whether or not there is a table."""
    first = app.query("main:loose_since", paginationOpts=options(3), since=5.0)
    assert first["isDone"]
    app.mutation("main:put_loose", rank=1.0)
    more = options(3, first["continueCursor"])
    assert app.query("main:loose_since", paginationOpts=more, since=5.0)["page"] == []
    again = options(3, endCursor=first["continueCursor"])
    assert ranks(app.query("main:loose_since", paginationOpts=again, since=5.0)) == [1]


# ---------------------------------------------------------------- refusals


def failure_of(app, path, **args):
    with pytest.raises(CupolaError) as raised:
        app.query(path, **args)
    return raised.value


def test_cursors_of_other_queries_and_changed_ones_are_refused(app):
    """The message has `InvalidCursor`, which makes the published hooks start again."""
    fill(app, [1, 2, 3])
    cursor = app.query("main:page", paginationOpts=options(1))["continueCursor"]
    changed = cursor[:-2] + ("AA" if cursor[-2:] != "AA" else "BB")
    for path, args, used in [
        ("main:page", {"order": "desc"}, cursor),
        ("main:page", {"least": 2.0}, cursor),
        ("main:filtered", {"n": 3.0}, cursor),
        ("main:page", {}, changed),
        ("main:page", {}, "nonsense"),
        ("main:page", {}, ""),
        ("main:page", {}, "\u00e9\ud7ff"),
        ("main:page", {}, cursor * 1000),
    ]:
        error = failure_of(app, path, paginationOpts=options(1, used), **args)
        assert isinstance(error, InvalidCursorError), (path, args)
        assert "InvalidCursor" in str(error)
        ended = failure_of(app, path, paginationOpts=options(1, None, endCursor=used), **args)
        assert isinstance(ended, InvalidCursorError)


def test_cursors_of_another_deployment_are_refused(app):
    fill(app, [1, 2])
    cursor = app.query("main:page", paginationOpts=options(1))["continueCursor"]
    app.backend.node.sealer = CursorSealer(b"another secret")
    error = failure_of(app, "main:page", paginationOpts=options(2, cursor))
    assert isinstance(error, InvalidCursorError)


@pytest.mark.parametrize("items", [0.0, -1.0, 0.5, float("nan"), float("inf"), -float("inf")])
def test_a_page_size_that_is_none_is_refused(app, items):
    error = failure_of(app, "main:page", paginationOpts=options(items))
    assert isinstance(error, DatabaseUseError)
    assert error.code == "NoDocumentsForPagination"


@pytest.mark.parametrize("bound", [0.0, -5.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["maximumRowsRead", "maximumBytesRead"])
def test_a_read_bound_that_is_none_is_refused(app, name, bound):
    error = failure_of(app, "main:page", paginationOpts=options(1, **{name: bound}))
    assert isinstance(error, DatabaseUseError)
    assert name in str(error)


def test_a_huge_page_is_as_large_as_the_data(app):
    fill(app, [1, 2])
    assert ranks(app.query("main:page", paginationOpts=options(1e300))) == [1, 2]


def test_a_function_may_paginate_once(app):
    error = failure_of(app, "main:twice", paginationOpts=options(1))
    assert error.code == "MultiplePaginatedDatabaseQueries"
