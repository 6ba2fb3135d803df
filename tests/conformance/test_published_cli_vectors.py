"""Vector indexes pushed by the published command line, searched through the published client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .conftest import HERE
from .project import Project, pushed_project

if TYPE_CHECKING:
    from .conftest import StartDriver

pytestmark = [pytest.mark.node, pytest.mark.slow]

APP = HERE / "app_with_vectors"


@pytest.fixture(scope="module")
def project(node: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with pushed_project(tmp_path_factory.mktemp("vectors") / "app", node, APP) as project:
        yield project


def test_a_push_says_which_vector_indexes_it_makes(project: Project) -> None:
    said = project.said
    assert "movies.by_plot" in said and "movies.later" in said and "staged" in said.lower()
    assert project.typecheck("--project", "convex") == ""


def test_actions_of_both_languages_search(
    project: Project, node: str, start_driver: StartDriver
) -> None:
    """In V8, in Node's, in HTTP actions and in Python; filtered; and as of the last mutation."""
    facts = start_driver(project.server, node, "vectors.mjs").facts()

    diagonal = pytest.approx(0.5**0.5)
    assert facts["all"] == [["Heat", 1], ["Ronin", diagonal], ["Alien", 0]]
    assert facts["best"] == [["Heat", 1]]
    assert facts["horror"] == [["Alien", 0]]
    assert facts["either"] == facts["all"]
    assert facts["orYear"] == [["Ronin", diagonal], ["Alien", 0]], "any condition is enough"
    assert facts["none"] == []
    assert facts["withoutYear"] == 0
    assert facts["inNode"] == 3
    assert [score for _, score in facts["python"]] == [1, diagonal]
    assert facts["python"][0][0] == facts["heat"]
    assert facts["http"][0] == {"_id": facts["heat"], "_score": 1} and len(facts["http"]) == 2
    assert facts["afterwards"] == facts["all"][1:]
    assert "is not a function" in facts["inAQuery"]["error"]
    misused = facts["misused"]
    assert "no vector index `by_plt`" in misused["index"]
    assert "is staged" in misused["staged"]
    assert "no table `films`" in misused["table"]
    assert "`vector` must be a non-empty Array" in misused["empty"]
    assert "Expected a vector with dimensions 3, received 2" in misused["dimensions"]
    assert "finite numbers" in misused["numbers"] and "finite numbers" in misused["nan"]
    assert "at most 256 results" in misused["limit"]
    assert "cannot filter by `title`" in misused["field"]
    assert "64 conditions at most" in misused["many"]
    assert "no filter of a vector search" in misused["literal"]


def test_a_staged_index_is_enabled_by_another_push(project: Project) -> None:
    """It is built already, so that this push is done at once."""
    staged = project.answer("movies:misused", '{"how":"staged"}')
    assert "is staged" in staged

    project.change("convex/schema.ts", "staged: true,", "")
    said = project.convex("dev", "--once", "--tail-logs", "disable")

    assert "movies.later" in said
    found = project.answer("movies:misused", '{"how":"staged"}')
    assert isinstance(found, list)


def test_other_dimensions_are_another_index(project: Project) -> None:
    """It is built anew, of the documents whose vectors have as many numbers."""
    project.convex("run", "movies:add", '{"title":"Flat","genre":"x","plot":[1,0]}')
    project.change(
        "convex/schema.ts",
        'dimensions: 3,\n      filterFields: ["genre',
        'dimensions: 2,\n      filterFields: ["genre',
    )
    project.convex("dev", "--once", "--tail-logs", "disable")

    found = project.answer("movies:nearest", '{"plot":[1,0],"genres":["x"]}')

    assert found == [["Flat", 1]]


@pytest.mark.parametrize("dimensions", [1, 4097])
def test_dimensions_are_bounded_at_the_push(project: Project, dimensions: int) -> None:
    text = Path(project.folder / "convex/schema.ts").read_text()
    (project.folder / "convex/schema.ts").write_text(
        text.replace("dimensions: 3", f"dimensions: {dimensions}")
    )
    said = project.convex("dev", "--once", "--tail-logs", "disable", fails=True)
    (project.folder / "convex/schema.ts").write_text(text)
    assert f"has {dimensions} dimensions; it must have 2 to 4096" in said
