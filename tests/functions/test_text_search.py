"""`with_search_index` as apps use it: the same in memory and with files, however far those are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cupola.errors import CupolaError, DatabaseUseError, InvalidCursorError, LimitError
from cupola.functions.app import load_app
from cupola.limits import Limits
from cupola.persistence import MemoryPersistence
from cupola.persistence.sqlite import SqlitePersistence
from cupola.search.text_indexer import TextIndexer
from cupola.testing import Deployment

FORUM = """
    from typing import Any

    class Post(
        Table,
        name="posts",
        indexes={
            "search_body": TextIndex("body", filters=["author", "meta.topic"]),
            "search_title": TextIndex("title", staged=True),
        },
    ):
        body: str | UnsetType = UNSET
        author: str = "ada"
        title: str = ""
        meta: dict[str, str] | UnsetType = UNSET
        likes: int = 0

    def bodies(posts):
        return [post.body for post in posts]

    @mutation
    def add(ctx: MutationCtx, body: str, author: str = "ada", topic: str | None = None) -> Id[Post]:
        meta = UNSET if topic is None else {"topic": topic}
        return ctx.db.insert(Post(body=body, author=author, meta=meta))

    @mutation
    def edit(ctx: MutationCtx, post: Id[Post], body: str) -> None:
        ctx.db.patch(post, body=body)

    @mutation
    def like(ctx: MutationCtx, post: Id[Post]) -> None:
        ctx.db.patch(post, likes=1)

    @mutation
    def forget(ctx: MutationCtx, post: Id[Post]) -> None:
        ctx.db.delete(post)

    @query
    def search(ctx: QueryCtx, text: str, n: int = 100) -> list[str]:
        return bodies(ctx.db.query(Post).with_search_index("search_body", body=text).take(n))

    @query
    def search_by(ctx: QueryCtx, text: str, filters: dict[str, Any]) -> list[str]:
        found = ctx.db.query("posts").with_search_index("search_body", {"body": text, **filters})
        return bodies(found.collect())

    @query
    def first(ctx: QueryCtx, text: str) -> str | None:
        found = ctx.db.query(Post).with_search_index("search_body", body=text).first()
        return found and found.body

    @query
    def count(ctx: QueryCtx, text: str) -> int:
        return ctx.db.query(Post).with_search_index("search_body", body=text).count()

    @query
    def liked(ctx: QueryCtx, text: str) -> list[str]:
        found = ctx.db.query(Post).with_search_index("search_body", body=text)
        return bodies(found.filter(lambda post: post.likes > 0).collect())

    @query
    def page(ctx: QueryCtx, text: str, paginationOpts: PaginationOptions) -> Any:
        found = ctx.db.query(Post).with_search_index("search_body", body=text)
        page = found.paginate(paginationOpts)
        return {"page": bodies(page.page), "done": page.isDone, "cursor": page.continueCursor}

    @query
    def wrong(ctx: QueryCtx, how: str) -> Any:
        posts = ctx.db.query(Post)
        match how:
            case "no text":
                return posts.with_search_index("search_body", author="ada").collect()
            case "another field":
                return posts.with_search_index("search_body", title="x", body="x").collect()
            case "no index":
                return posts.with_search_index("search_boby", body="x").collect()
            case "staged":
                return posts.with_search_index("search_title", title="x").collect()
            case "not text":
                return posts.with_search_index("search_body", body=3).collect()
            case "order":
                return posts.with_search_index("search_body", body="x").order("desc").collect()
            case "sum":
                return posts.with_search_index("search_body", body="x").sum("likes")
            case "as index":
                return posts.with_index("search_body", body="x").collect()

    @mutation
    def write_and_search(ctx: MutationCtx, old: Id[Post]) -> list[list[str]]:
        def find():
            return sorted(bodies(ctx.db.query(Post).with_search_index("search_body", body="fox")))
        seen = [find()]
        new = ctx.db.insert(Post(body="a new fox"))
        seen.append(find())
        ctx.db.patch(old, body="no such animal")
        seen.append(find())
        ctx.db.patch(new, body="the newest fox")
        seen.append(find())
        ctx.db.delete(new)
        seen.append(find())
        return seen

    @mutation
    def tag_all(ctx: MutationCtx, text: str) -> list[str]:
        seen = []
        for post in ctx.db.query(Post).with_search_index("search_body", body=text):
            seen.append(post.body)
            ctx.db.patch(post._id, body=post.body + " tagged")
            if len(seen) == 1:
                ctx.db.insert(Post(body=text))
        return seen
"""


class Forum:
    """A deployment, and its files where it has some: `index()` brings them up to date."""

    def __init__(self, app: Deployment, indexer: TextIndexer | None) -> None:
        self.app = app
        self._indexer = indexer

    def index(self) -> None:
        reader = self.app.backend.node.persistence.reader
        while self._indexer is not None and not self._indexer.step(reader, reader.newest_ts()):
            pass

    def add(self, body: str, **fields: str) -> str:
        return self.app.mutation("forum:add", body=body, **fields)

    def search(self, text: str, **more: int) -> list[str]:
        return self.app.query("forum:search", text=text, **more)


@pytest.fixture(params=["memory", "files", "files from the start"])
def open_forum(
    request: pytest.FixtureRequest, write_app: Callable[..., Path], tmp_path: Path
) -> Iterator[Callable[..., Forum]]:
    with ExitStack() as stack:

        def start(**limits: int) -> Forum:
            bounds = Limits(**limits)
            app = load_app(write_app(forum=FORUM))
            if request.param == "memory":
                persistence: object = MemoryPersistence(bounds)
                return Forum(stack.enter_context(Deployment(app, limits=bounds)), None)
            persistence = SqlitePersistence(str(tmp_path / "data.sqlite3"), bounds)
            deployment = stack.enter_context(
                Deployment(app, persistence=persistence, limits=bounds)
            )
            deployment.backend.node.text_folder = tmp_path / "text"
            indexer = TextIndexer(tmp_path / "text")
            stack.callback(indexer.close)
            forum = Forum(deployment, indexer)
            if request.param == "files from the start":
                forum.index()
            return forum

        yield start


@pytest.fixture
def forum(open_forum: Callable[..., Forum]) -> Forum:
    return open_forum()


def test_words_are_found_whatever_their_case_and_punctuation(forum: Forum) -> None:
    forum.add("The Quick, brown FOX.")
    forum.add("A lazy dog")
    forum.index()
    forum.add("(fox)-hunting: über Füchse")
    assert sorted(forum.search("fox")) == ["(fox)-hunting: über Füchse", "The Quick, brown FOX."]
    assert forum.search("QUICK") == ["The Quick, brown FOX."]
    assert forum.search("füchse") == ["(fox)-hunting: über Füchse"]
    assert forum.search("cat") == forum.search("") == forum.search(" ,.! ") == []


def test_only_the_last_word_may_be_the_beginning_of_one(forum: Forum) -> None:
    """And there is no fuzzy match: "stake" is not "snake"."""
    forum.add("a snake in the grass")
    forum.index()
    forum.add("a snakeskin")
    assert sorted(forum.search("sna")) == ["a snake in the grass", "a snakeskin"]
    assert forum.search("snake") == ["a snake in the grass", "a snakeskin"]
    assert forum.search("stake") == forum.search("snaky") == []
    assert forum.search("gra snakes") == ["a snakeskin"]
    assert forum.search("grass zzz") == ["a snake in the grass"]


def test_the_most_relevant_come_first(forum: Forum) -> None:
    """More of the words, rarer words, shorter texts; and the newest of equals."""
    for n in range(20):
        forum.add(f"nothing of the kind {n}")
    forum.add("apple pie")
    for n in range(8):
        forum.add(f"pie number{n}")
    forum.index()
    forum.add("some apple")
    forum.add("a long text about this and that and an apple")
    forum.add("pie number8")
    found = forum.search("apple pie")
    pies = [f"pie number{n}" for n in reversed(range(9))]
    assert found[:2] == ["apple pie", "some apple"]
    assert [body for body in found if body in pies] == pies
    assert set(found[2:]) == {*pies, "a long text about this and that and an apple"}
    assert forum.search("number") == pies
    assert forum.search("apple pie", n=5) == found[:5]
    assert forum.search("pie", n=3) == forum.search("pie")[:3]
    assert forum.app.query("forum:first", text="apple pie") == "apple pie"


def test_filters_must_all_hold(forum: Forum) -> None:
    forum.add("red fox", author="ada", topic="zoo")
    forum.add("grey fox", author="bob", topic="zoo")
    forum.index()
    forum.add("old fox", author="bob")
    forum.add("sly fox", author="b" * 200)

    def search(**filters: object) -> list[str]:
        return sorted(forum.app.query("forum:search_by", text="fox", filters=filters))

    assert search() == ["grey fox", "old fox", "red fox", "sly fox"]
    assert search(author="bob") == ["grey fox", "old fox"]
    assert search(author="b" * 200) == ["sly fox"]
    assert search(**{"author": "bob", "meta.topic": "zoo"}) == ["grey fox"]
    assert search(author="eve") == search(author=None) == []


def test_what_changed_or_went_is_found_as_it_is_now(forum: Forum) -> None:
    one, two, three = forum.add("one fox"), forum.add("two foxes"), forum.add("three foxes")
    forum.index()
    forum.app.mutation("forum:edit", post=one, body="one hare")
    forum.app.mutation("forum:forget", post=two)
    forum.app.mutation("forum:like", post=three)
    assert forum.search("fox") == ["three foxes"]
    assert forum.search("hare") == ["one hare"]
    assert forum.app.query("forum:liked", text="foxes") == ["three foxes"]
    forum.index()
    assert forum.search("fox") == ["three foxes"]
    assert forum.search("one") == ["one hare"]
    assert forum.app.query("forum:count", text="fox") == 1


def test_a_mutation_finds_what_it_has_written_itself(forum: Forum) -> None:
    old = forum.add("an old fox")
    forum.index()
    assert forum.app.mutation("forum:write_and_search", old=old) == [
        ["an old fox"],
        ["a new fox", "an old fox"],
        ["a new fox"],
        ["the newest fox"],
        [],
    ]
    assert forum.search("fox") == []


def test_writes_while_reading_the_results_are_seen(forum: Forum) -> None:
    """Each document comes once; one that is written meanwhile comes too."""
    forum.add("fox one")
    forum.index()
    forum.add("fox two")
    assert forum.app.mutation("forum:tag_all", text="fox") == ["fox two", "fox", "fox one"]
    assert sorted(forum.search("tagged")) == ["fox one tagged", "fox tagged", "fox two tagged"]


def test_a_subscription_hears_of_documents_that_match_and_of_no_others(forum: Forum) -> None:
    one = forum.add("one fox")
    forum.index()
    client = forum.app.connect()
    foxes = client.subscribe("forum:search", text="red fo")
    adas = client.subscribe("forum:search_by", text="fox", filters={"author": "ada"})
    assert foxes.value == adas.value == ["one fox"]

    hare = forum.add("a hare")
    forum.app.mutation("forum:edit", post=hare, body="a red deer")
    assert sorted(foxes.value) == ["a red deer", "one fox"]
    assert len(foxes.updates) == 2
    assert len(adas.updates) == 1

    forum.add("two foxes", author="bob")
    assert sorted(foxes.value) == ["a red deer", "one fox", "two foxes"]
    assert len(adas.updates) == 1
    forum.app.mutation("forum:edit", post=one, body="one dog")
    assert sorted(foxes.value) == ["a red deer", "two foxes"]
    assert adas.value == []
    forum.app.mutation("forum:forget", post=hare)
    assert foxes.value == ["two foxes"]
    runs = forum.app.backend.node.counters["query_runs"]
    forum.add("a dog", author="ada")
    assert forum.app.backend.node.counters["query_runs"] == runs


def test_pages_follow_each_other_in_the_order_of_relevance(forum: Forum) -> None:
    for n in range(25):
        forum.add(f"page {n}")
        if n == 20:
            forum.index()
    found, cursor, done = [], None, False
    while not done:
        options = {"numItems": 10, "cursor": cursor}
        page = forum.app.query("forum:page", text="page", paginationOpts=options)
        assert len(page["page"]) == (10 if len(found) < 20 else 5)
        found += page["page"]
        cursor, done = page["cursor"], page["done"]
    assert found == [f"page {n}" for n in reversed(range(25))]
    beyond = {"numItems": 10, "cursor": cursor}
    last = forum.app.query("forum:page", text="page", paginationOpts=beyond)
    assert (last["page"], last["done"]) == ([], True)
    with pytest.raises(InvalidCursorError):
        forum.app.query("forum:page", text="pages", paginationOpts=beyond)


def test_a_page_stays_live_and_covers_the_same_positions(forum: Forum) -> None:
    for n in range(6):
        forum.add(f"page {n}")
    forum.index()
    client = forum.app.connect()
    options = {"numItems": 3, "cursor": None}
    first = client.subscribe("forum:page", text="page", paginationOpts=options)
    options = {"numItems": 3, "cursor": first.value["cursor"]}
    second = client.subscribe("forum:page", text="page", paginationOpts=options)
    assert [first.value["page"], second.value["page"]] == [
        ["page 5", "page 4", "page 3"],
        ["page 2", "page 1", "page 0"],
    ]
    forum.add("page 6")
    assert [first.value["page"], second.value["page"]] == [
        ["page 6", "page 5", "page 4"],
        ["page 3", "page 2", "page 1"],
    ]


def test_a_search_that_finds_too_much_says_so(open_forum: Callable[..., Forum]) -> None:
    forum = open_forum(search_results_max=20)
    for n in range(21):
        forum.add(f"fox {n}")
    forum.index()
    assert len(forum.search("fox", n=20)) == 20
    with pytest.raises(LimitError, match="at most 20 documents") as caught:
        forum.search("fox")
    assert caught.value.code == "SearchQueryScannedTooManyDocuments"
    assert forum.search("fox 7", n=1) == ["fox 7"]


def test_so_many_words_and_filters_count(open_forum: Callable[..., Forum]) -> None:
    forum = open_forum(search_words_max=2, search_filters_max=1)
    forum.add("one")
    forum.add("two")
    forum.add("three")
    assert sorted(forum.search("one two three")) == ["one", "two"]
    with pytest.raises(LimitError) as caught:
        filters = {"author": "ada", "meta.topic": "zoo"}
        forum.app.query("forum:search_by", text="one", filters=filters)
    assert caught.value.code == "TooManyFilterConditionsInSearchQuery"


@pytest.mark.parametrize(
    ("how", "code", "told"),
    [
        ("no text", "MissingSearchFilter", "must say what to look for in `body`"),
        ("another field", "IncorrectFilterField", "no filter field `title`"),
        ("no index", "IndexNotFound", "it has `search_body`"),
        ("staged", "IndexNotReady", "staged"),
        ("not text", "BadArguments", "not for"),
        ("order", "BadOrder", "relevance"),
        ("sum", "NotAggregated", "no ranges"),
        ("as index", "IndexNotFound", "with_search_index"),
    ],
)
def test_misuse_is_named(forum: Forum, how: str, code: str, told: str) -> None:
    with pytest.raises(DatabaseUseError, match=told) as caught:
        forum.app.query("forum:wrong", how=how)
    assert caught.value.code == code


@pytest.mark.parametrize("open_forum", ["files", "files from the start"], indirect=True)
def test_an_index_that_is_far_behind_fails_searches_and_nothing_else(
    open_forum: Callable[..., Forum],
) -> None:
    """In memory nothing is ever behind."""
    forum = open_forum(search_changes_max=10)
    forum.add("one fox")
    forum.index()
    for n in range(12):
        forum.add(f"hare {n}")
    with pytest.raises(CupolaError, match="catches up") as caught:
        forum.search("fox")
    assert caught.value.code == "SearchIndexesUnavailable"
    assert forum.add("still writing")
    forum.index()
    assert forum.search("fox") == ["one fox"]
