"""Vector indexes follow the log: whatever is committed, a search finds what the database holds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cupola.persistence import MemoryPersistence
from cupola.persistence.sqlite import SqlitePersistence
from cupola.schema import VectorIndexDefinition
from cupola.search import vector_files, vector_indexes
from cupola.search.vector_indexes import VectorIndexes
from cupola.values import UNSET, Int64

from .vector_world import BY_PLOT, Movies, catch_up, movie, search

MEMORY_MAX = 2**30


@pytest.fixture(params=["memory", "sqlite"])
def movies(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    persistence: Any = (
        MemoryPersistence()
        if request.param == "memory"
        else SqlitePersistence(str(tmp_path / "data.sqlite"))
    )
    yield Movies(persistence, BY_PLOT)
    persistence.close()


def followed(movies: Movies, folder: Path | None = None) -> VectorIndexes:
    indexes = VectorIndexes(folder, MEMORY_MAX)
    catch_up(indexes, movies)
    return indexes


def found(indexes: VectorIndexes, movies: Movies, *args: Any, **options: Any) -> list[str]:
    hits = search(indexes, movies, *args, **options)
    assert hits is not None
    return [hit.id for hit in hits]


def test_a_search_sees_what_was_there_before_and_what_came_since(movies: Movies) -> None:
    (heat,) = movies.add(movie([1.0, 0.0, 0.0]))
    indexes = followed(movies)
    (alien,) = movies.add(movie([0.0, 1.0, 0.0]))
    assert indexes.step(movies.persistence.reader)
    assert found(indexes, movies, [1.0, 0.1, 0.0]) == [heat, alien]

    movies.change(heat, {"about": {"plot": [0.0, 0.0, 1.0]}})
    movies.remove(alien)
    assert indexes.step(movies.persistence.reader)

    assert search(indexes, movies, [0.0, 0.0, 2.0]) == [(heat, pytest.approx(1.0))]


def test_a_document_without_a_vector_of_the_right_kind_is_not_in_the_index(movies: Movies) -> None:
    """As the reference does: it is stored, and no search finds it until its vector is right."""
    wrong = [
        movie(None),
        movie([1.0, 0.0]),
        movie([1.0, 0.0, 0.0, 0.0]),
        {"about": {"plot": "text"}},
        {"about": {"plot": [1.0, "0", 0.0]}},
        {"about": {"plot": [1.0, Int64(1), 0.0]}},
        {"about": {"plot": [1.0, True, 0.0]}},
        {"about": {"plot": [1.0, math.nan, 0.0]}},
        {"about": {"plot": [1.0, math.inf, 0.0]}},
        {"about": "plot"},
    ]
    ids = movies.commit(*(lambda t, f=fields: t.insert("movies", f) for fields in wrong))
    indexes = followed(movies)
    assert found(indexes, movies, [1.0, 0.0, 0.0]) == []

    movies.commit(lambda t: t.patch(ids[0], {"about": {"plot": [1.0, -0.0, 0.0]}}))
    indexes.step(movies.persistence.reader)
    assert found(indexes, movies, [1.0, 0.0, 0.0]) == [ids[0]]

    movies.commit(lambda t: t.patch(ids[0], {"about": UNSET}))
    indexes.step(movies.persistence.reader)
    assert found(indexes, movies, [1.0, 0.0, 0.0]) == []


def test_filters_tell_values_apart_as_equality_does(movies: Movies) -> None:
    """Also a missing field from null, integers from floats, and texts longer than a digest."""
    long = "x" * 5000
    genres: list[Any] = ["drama", "dramas", "", None, 1.0, Int64(1), True, ["drama"], long, UNSET]
    plot = [1.0, 0.0, 0.0]
    ids = movies.add(
        *(movie(plot, **({} if genre is UNSET else {"genre": genre})) for genre in genres)
    )
    indexes = followed(movies)

    for genre, expected in zip(genres, ids, strict=True):
        assert found(indexes, movies, plot, filters=[("genre", genre)]) == [expected], genre
    both = found(indexes, movies, plot, filters=[("genre", "drama"), ("year", UNSET)])
    assert sorted(both) == sorted(ids)
    assert found(indexes, movies, plot, filters=[("genre", "comedy")]) == []


def test_an_index_declared_later_is_built_while_commits_go_on(movies: Movies) -> None:
    """It is not searched before it is whole; what changes meanwhile is in it once."""
    ids = movies.add(*(movie([1.0, float(n), 0.0], genre="old") for n in range(600)))
    indexes = followed(movies)
    movies.declare(BY_PLOT, VectorIndexDefinition("by_genre", "about.plot", 3, ("genre",)))
    later = movies.index("by_genre").document_id

    assert indexes.step(movies.persistence.reader)
    assert indexes.search(later, [1.0, 0.0, 0.0], 10, ()) is None
    assert not indexes.progress()[later].is_built and indexes.progress()[later].total == 600
    movies.remove(ids[3])
    movies.change(ids[599], {"about": {"plot": [-1.0, 0.0, 0.0]}})
    movies.add(movie([1.0, 0.0, 0.0], genre="new"))
    catch_up(indexes, movies)

    assert indexes.progress()[later].is_built
    hits = indexes.search(later, [1.0, 0.0, 0.0], 1000, ())
    expected = movies.expected([1.0, 0.0, 0.0])
    assert hits is not None and {hit.id for hit in hits} == set(expected)
    assert hits[-1] == (ids[599], pytest.approx(-1.0))


def test_a_dropped_index_is_forgotten(movies: Movies, tmp_path: Path) -> None:
    movies.add(*(movie([1.0, float(n), 0.0]) for n in range(1200)))
    indexes = followed(movies, tmp_path / "vectors")
    indexes.save_due()
    assert len(list((tmp_path / "vectors").iterdir())) == 1

    movies.declare()
    catch_up(indexes, movies)

    assert indexes.progress() == {}
    assert list((tmp_path / "vectors").iterdir()) == []


@pytest.mark.parametrize("restarts", [False, True])
def test_a_table_gets_another_number(movies: Movies, tmp_path: Path, restarts: bool) -> None:
    """As an import gives it one: what the table had before is gone, what comes has other ids."""
    ids = movies.add(*(movie([1.0, float(n), 0.0]) for n in range(1200 if restarts else 3)))
    folder = tmp_path / "vectors"
    indexes = followed(movies, folder)
    if restarts:
        indexes.save_due()
        indexes = VectorIndexes(folder, MEMORY_MAX)
    movies.commit(*(lambda t, each=each: t.delete(each) for each in ids))
    movies.documents.clear()
    movies.commit(lambda t: t.renumber({"movies": 12_345}))
    new = movies.add(movie([0.0, 1.0, 0.0]))
    catch_up(indexes, movies)
    assert found(indexes, movies, [1.0, 0.0, 0.0]) == new


def test_a_start_goes_on_from_what_was_saved(
    movies: Movies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what changed since is read; and the outcome is that of reading everything."""
    ids = movies.add(*(movie([1.0, float(n), 0.0], genre="old") for n in range(1200)))
    folder = tmp_path / "vectors"
    followed(movies, folder).save_due()
    movies.remove(ids[0])
    movies.change(ids[1], {"genre": "new", "about": {"plot": [0.0, 0.0, 1.0]}})
    (added,) = movies.add(movie([0.0, 0.1, 1.0], genre="new"))

    read = []
    entry = vector_indexes._entry
    monkeypatch.setattr(vector_indexes, "_entry", lambda *args: read.append(1) or entry(*args))
    again = followed(movies, folder)

    assert len(read) == 2
    assert set(found(again, movies, [1.0, 0.0, 0.0], 2000)) == set(movies.documents)
    assert found(again, movies, [0.0, 0.0, 1.0], filters=[("genre", "new")]) == [ids[1], added]


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "ahead of the log"])
def test_a_file_that_cannot_be_relied_on_is_left_aside(tmp_path: Path, damage: str) -> None:
    """The documents are read instead: the file is a shortcut, and never the truth."""
    movies = Movies(MemoryPersistence(), BY_PLOT)
    movies.add(*(movie([1.0, float(n), 0.0]) for n in range(1200)))
    followed(movies, tmp_path).save_due()
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    match damage:
        case "cut":
            path.write_bytes(content[:-100])
        case "flipped":
            path.write_bytes(content[:5000] + b"\x42" + content[5001:])
        case "emptied":
            path.write_bytes(b"")
        case "ahead of the log":
            restored = Movies(MemoryPersistence(), BY_PLOT)
            assert restored.index().document_id == movies.index().document_id
            movies = restored
            movies.add(movie([1.0, 0.0, 0.0]))

    again = followed(movies, tmp_path)

    assert set(found(again, movies, [1.0, 0.0, 0.0], 2000)) == set(movies.documents)


def test_a_save_that_was_cut_off_leaves_the_one_before(tmp_path: Path) -> None:
    movies = Movies(MemoryPersistence(), BY_PLOT)
    movies.add(*(movie([1.0, float(n), 0.0]) for n in range(1200)))
    followed(movies, tmp_path).save_due()
    index = movies.index()
    vector_files.path_of(tmp_path, index.document_id).with_suffix(".new").write_bytes(b"half")
    (tmp_path / "another.vectors").write_bytes(b"of an index that is no more")

    followed(movies, tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == [f"{index.document_id}.vectors"]


def test_an_index_too_large_for_memory_is_given_up_and_others_stay(tmp_path: Path) -> None:
    """An index that is being built does not push out one that serves."""
    movies = Movies(MemoryPersistence(), BY_PLOT)
    movies.add(*(movie([1.0, float(n), 0.0], genre=f"g{n}") for n in range(2000)))
    indexes = VectorIndexes(tmp_path, followed(movies).size_bytes + 2**20)
    catch_up(indexes, movies)
    movies.declare(BY_PLOT, VectorIndexDefinition("more", "about.plot", 3, ("genre",)))

    catch_up(indexes, movies)

    more = movies.index("more").document_id
    assert indexes.progress()[more].is_too_large
    assert indexes.search(more, [1.0, 0.0, 0.0], 5, ()) is None
    assert len(found(indexes, movies, [1.0, 0.0, 0.0], 5)) == 5


vectors = st.lists(st.integers(-2, 2).map(float), min_size=3, max_size=3)
genres = st.sampled_from(["drama", "crime", "war"])
writes = st.one_of(
    st.tuples(st.just("add"), vectors, genres),
    st.tuples(st.just("move"), vectors, st.integers(0, 20)),
    st.tuples(st.just("genre"), genres, st.integers(0, 20)),
    st.tuples(st.just("remove"), st.none(), st.integers(0, 20)),
    st.tuples(st.sampled_from(["step", "restart"]), st.none(), st.none()),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(writes, max_size=40), vectors, st.none() | genres)
def test_after_any_history_a_search_equals_a_look_at_all_documents(
    tmp_path_factory: pytest.TempPathFactory,
    history: list[tuple[str, Any, Any]],
    asked: list[float],
    genre: str | None,
) -> None:
    """Whatever was saved in between, and however far the index was behind."""
    folder = tmp_path_factory.mktemp("vectors")
    movies = Movies(MemoryPersistence(), BY_PLOT)
    indexes = VectorIndexes(folder, MEMORY_MAX)
    for what, value, which in history:
        ids = list(movies.documents)
        target = ids[which % len(ids)] if ids and isinstance(which, int) else None
        match what:
            case "add":
                movies.add(movie(value, genre=which))
            case "move" if target:
                movies.change(target, {"about": {"plot": value}})
            case "genre" if target:
                movies.change(target, {"genre": value})
            case "remove" if target:
                movies.remove(target)
            case "step":
                indexes.step(movies.persistence.reader)
            case "restart":
                catch_up(indexes, movies)
                for kept in indexes._indexes.values():
                    kept.unsaved = 10**6  # as if much had changed
                indexes.save_due()
                indexes = VectorIndexes(folder, MEMORY_MAX)
    catch_up(indexes, movies)

    filters = [("genre", genre)] if genre else []
    hits = search(indexes, movies, asked, 256, filters)

    assert hits is not None
    expected = movies.expected(asked, filters)
    assert {hit.id: hit.score for hit in hits} == pytest.approx(expected, abs=1e-5)
