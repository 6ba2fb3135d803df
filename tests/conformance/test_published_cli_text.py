"""Text indexes pushed by the published command line, searched through the published client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from .conftest import HERE
from .project import Project, pushed_project

if TYPE_CHECKING:
    from .conftest import StartDriver

pytestmark = [pytest.mark.node, pytest.mark.slow]

APP = HERE / "app_with_text"


@pytest.fixture(scope="module")
def project(node: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with pushed_project(tmp_path_factory.mktemp("text") / "app", node, APP) as project:
        yield project


def test_a_push_says_which_text_indexes_it_makes(project: Project) -> None:
    said = project.said
    assert "notes.search_body" in said and "notes.later" in said and "staged" in said.lower()
    assert project.typecheck("--project", "convex") == ""


def test_both_languages_search_live_and_within_a_mutation(
    project: Project, node: str, start_driver: StartDriver
) -> None:
    facts = start_driver(project.server, node, "text.mjs").facts()

    assert sorted(facts["found"]) == ["The quick brown FOX", "two foxes"]
    assert facts["found"][0] == "The quick brown FOX"
    assert facts["first"] == "The quick brown FOX", "the whole word before its beginning"
    assert facts["none"] == facts["nothing"] == []
    assert facts["bob"] == facts["longer"] == facts["python"] == ["two foxes"]
    assert facts["unpinned"] == ["The quick brown FOX"]
    assert facts["live"][:4] == [0, 1, 2, 1]
    assert facts["bobs"][:2] == [[], ["two foxes"]]
    assert facts["tagged"]["seen"] == ["two foxes", "foxes new"], "what the loop has added, too"
    tagged = ["foxes new tagged", "two foxes tagged"]
    assert facts["tagged"]["tagged"] == tagged, "in the same mutation"
    assert "at most 1024 documents" in facts["tooMany"]["error"]
    assert facts["newest"] == ["many 1099", "many 1098", "many 1097"]
    assert sorted(facts["one"]) == ["many 7", "many 77"]
    numbers = [1099 - n for n in range(12)]
    pages = [facts["pages"][0], facts["pages"][1], facts["pages"][2]]
    assert pages == [[f"many {n}" for n in numbers[i : i + 4]] for i in (0, 4, 8)]
    assert facts["single"] == [1, True]
    misused = facts["misused"]
    assert "has no search index `search_boby`" in misused["index"]
    assert "is staged" in misused["staged"]
    assert "searches `body`, not `author`" in misused["field"]
    assert "no filter field `body`; it has `author`, `pinned`" in misused["filter"]
    assert "must say what to look for" in misused["nothing"] or "Search" in misused["nothing"]
    assert misused["twice"]
    assert misused["number"]
    assert "at most 8 filters" in misused["many"]
    assert misused["order"]


def test_a_staged_index_is_enabled_by_another_push(project: Project) -> None:
    project.convex("run", "notes:add", '{"body":"x","author":"grace"}')
    assert "is staged" in project.answer("notes:misused", '{"how":"staged"}')

    project.change("convex/schema.ts", ", staged: true", "")
    said = project.convex("dev", "--once", "--tail-logs", "disable")

    assert "notes.later" in said
    (found,) = project.answer("notes:misused", '{"how":"staged"}')[:1]
    assert found["author"] == "ada"
