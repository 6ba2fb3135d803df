"""Components, pushed by the published command line: eight of npm, unmodified, and two uses of one
that the app has in a folder of its own.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import HERE
from .project import Project

pytestmark = [pytest.mark.node, pytest.mark.slow]

FOLDER = HERE / "components"
SETTLES_WITHIN_S = 20.0


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, node: str) -> Iterator[Project]:
    """One app for all tests of the module, pushed once; each test uses keys of its own."""
    folder = tmp_path_factory.mktemp("components") / "app"
    project = Project(folder, node, FOLDER, FOLDER / "node_modules")
    project.start()
    try:
        project.said = project.convex("deploy", "--yes")
        yield project
    finally:
        project.stop()


@pytest.fixture
def run(project: Project) -> Callable[..., Any]:
    """`run("module:function", {...})`: what the command line prints of the result."""

    def run(path: str, args: dict[str, Any] | None = None, *options: str) -> Any:
        return answer(project, path, args or {}, *options)

    return run


def answer(project: Project, path: str, args: dict[str, Any], *options: str) -> Any:
    done = project.run("convex/bin/main.js", "run", *options, path, json.dumps(args))
    assert done.returncode == 0, f"{done.stderr}\nthe server says:\n{project.server.log()}"
    return json.loads(done.stdout or "null")


def eventually(look: Callable[[], Any], is_right: Callable[[Any], bool]) -> Any:
    """What `look` sees once that is right; background work has some seconds."""
    deadline = time.monotonic() + SETTLES_WITHIN_S
    while not is_right(seen := look()):
        assert time.monotonic() < deadline, seen
    return seen


# ------------------------------------------------------------------------------- the app's own


def test_a_push_installs_each_use_of_a_component(project: Project) -> None:
    said = project.said
    for path in ("savings", "savings/audit", "spending", "rateLimiter/batchWorker"):
        assert f"Installed component {path}." in said
    again = project.convex("deploy", "--yes")
    assert "Installed component" not in again and "Deployed" in again


def test_generated_code_knows_what_components_export(project: Project) -> None:
    generated = project.folder / "convex" / "_generated" / "api.d.ts"
    assert "shardedCounter" in generated.read_text()
    component = (project.folder / "convex/ledger/_generated/component.ts").read_text()
    assert "addLater: FunctionReference<" in component
    assert "addAndTell" not in component, "internal functions are nobody else's"
    assert project.typecheck("-p", "convex/tsconfig.json") == ""


def test_two_uses_of_a_component_share_no_data(run: Callable[..., Any]) -> None:
    run("money:save", {"account": "disjoint", "amount": 5})
    run("money:spend", {"account": "disjoint", "amount": 3})
    totals = run("money:totals", {"account": "disjoint"})
    assert totals["savings"]["total"] == 5
    assert totals["spending"] == {"total": 3, "currency": "gold"}


def test_a_component_sees_nothing_of_the_app_and_the_app_nothing_of_it(
    project: Project, run: Callable[..., Any]
) -> None:
    """Names and ids mean the component's own tables; variables and users are the app's."""
    project.convex("env", "set", "SECRET", "hush")
    entry = run("money:save", {"account": "isolated", "amount": 1})
    note = run("money:lookFromOutside", {"table": "notes"})
    assert note["rows"] >= 0

    identity = '{"subject":"ada","issuer":"https://example.org"}'
    inside = run("money:look", {"table": "notes"}, "--identity", identity)
    assert (inside["rows"], inside["secret"], inside["user"]) == (0, None, None)

    outside = run("money:lookFromOutside", {"table": "entries", "id": entry})
    assert (outside["rows"], outside["document"]) == (0, None)
    assert run("money:lookFromOutside", {"table": "savings//entries"})["rows"] == 0


def test_a_call_across_the_boundary_is_a_sub_transaction(run: Callable[..., Any]) -> None:
    """What fails in a component is undone there and in its own components, and nowhere else."""
    before = run("money:look", {"table": "entries"})
    assert run("money:spend", {"account": "undone", "amount": -4}) is None
    after = run("money:totals", {"account": "undone"})
    assert after["spending"]["total"] == 0
    assert "could not spend -4" in run("money:notes")
    assert run("money:look", {"table": "entries"})["notes"] == before["notes"]


def test_arguments_are_checked_at_the_boundary(project: Project, run: Callable[..., Any]) -> None:
    """An id of the component's own table is a string for everyone else."""
    entry = run("money:save", {"account": "reversed", "amount": 8})
    run("money:undo", {"entry": entry})
    assert run("money:totals", {"account": "reversed"})["savings"]["total"] == 0
    said = project.convex("run", "money:undo", '{"entry":"nothing"}', fails=True)
    assert "ArgumentValidationError" in said and 'v.id("savings//entries")' in said


def test_a_component_schedules_and_calls_back_by_a_handle(run: Callable[..., Any]) -> None:
    run("money:saveLater", {"account": "later", "amount": 71})
    eventually(lambda: run("money:notes"), lambda notes: "nobody: added 71" in notes)
    assert run("money:totals", {"account": "later"})["savings"]["total"] == 71
    assert run("money:lookFromOutside", {"table": "notes"})["jobs"] == 0
    assert run("money:look", {"table": "notes"})["jobs"] != []


def test_actions_of_components_call_mutations_and_handles(run: Callable[..., Any]) -> None:
    identity = '{"subject":"ada","issuer":"https://example.org"}'
    told = run("money:saveInAction", {"account": "action", "amount": 13}, "--identity", identity)
    assert told["handle"].startswith("function://;money:note;")
    assert told["inside"] == {"currency": None, "user": None}
    assert told["totals"]["savings"]["total"] >= 13
    eventually(lambda: run("money:notes"), lambda notes: notes.count("nobody: added 13") == 2)


def test_the_app_schedules_functions_of_components(run: Callable[..., Any]) -> None:
    run("money:scheduleInside", {"account": "scheduled", "amount": 6})
    look = lambda: run("money:totals", {"account": "scheduled"})["spending"]["total"]  # noqa: E731
    eventually(look, lambda total: total == 6)


def test_crons_of_a_component_run_inside_it(run: Callable[..., Any]) -> None:
    look = lambda: run("money:totals", {"account": "books"})  # noqa: E731
    totals = eventually(look, lambda totals: totals["savings"]["total"] == 1)
    assert totals["spending"]["total"] == 1


def test_variables_are_those_that_the_app_has_bound(
    project: Project, run: Callable[..., Any]
) -> None:
    project.convex("env", "set", "CURRENCY", "euro")
    totals = run("money:totals", {"account": "bound"})
    assert [totals[name]["currency"] for name in ("savings", "spending")] == ["euro", "gold"]
    project.convex("env", "remove", "CURRENCY")
    assert run("money:totals", {"account": "bound"})["savings"]["currency"] is None


def test_routes_of_a_component_are_below_its_prefix(
    project: Project, run: Callable[..., Any]
) -> None:
    facts = json.loads((project.server.data / "server.json").read_text())
    site = f"http://127.0.0.1:{facts['sitePort']}"
    with urllib.request.urlopen(f"{site}/savings/balance?account=x") as response:
        assert response.read() == b"balance of x"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{site}/balance")
    assert run("money:look", {"table": "entries"})["site"] == f"{site}/savings"


def test_files_of_a_component_are_its_own(run: Callable[..., Any]) -> None:
    told = run("money:receipt", {"text": "paid"})
    inside = told["inside"]
    assert inside["again"] == "paid"
    with urllib.request.urlopen(inside["url"]) as response:
        assert response.read() == b"paid"

    seen = run("money:receipts", {"id": inside["id"]})
    assert seen["url"] is None and inside["id"] not in seen["files"]
    assert seen["inSavings"]["url"] == inside["url"]
    assert inside["id"] in seen["inSavings"]["files"]
    assert seen["inSpending"] == {"url": None, "files": []}

    mine = run("money:receipts", {"id": told["mine"]})
    assert mine["url"] is not None and mine["inSavings"]["url"] is None

    request = urllib.request.Request(inside["uploadUrl"], b"later", {"Content-Type": "text/plain"})
    with urllib.request.urlopen(request) as response:
        uploaded = json.load(response)["storageId"]
    seen = run("money:receipts", {"id": uploaded})
    assert seen["url"] is None and seen["inSavings"]["url"] is not None


def test_the_command_line_looks_into_components(project: Project, run: Callable[..., Any]) -> None:
    run("money:save", {"account": "shown", "amount": 9})
    inside = ("--component", "savings")
    assert project.convex("data", *inside).split() == ["entries"]
    assert '"shown"' in project.convex("data", "entries", *inside)
    assert run("entries:total", {"account": "shown"}, *inside)["total"] == 9
    assert run("log:count", {}, "--component", "savings/audit") > 0
    query = 'return (await ctx.db.query("entries").collect()).map((e) => e.account)'
    done = project.run("convex/bin/main.js", "run", *inside, "--inline-query", query)
    assert "shown" in json.loads(done.stdout)


def test_data_of_components_leave_and_come_back(
    project: Project, run: Callable[..., Any], tmp_path: Path
) -> None:
    run("money:save", {"account": "moved", "amount": 17})
    path = tmp_path / "snapshot.zip"
    project.convex("export", "--path", str(path))
    with zipfile.ZipFile(path) as archive:
        assert "_components/savings/_components/audit/notes/documents.jsonl" in archive.namelist()
        lines = archive.read("_components/savings/entries/documents.jsonl").splitlines()
    moved = [line for line in lines if json.loads(line)["account"] == "moved"]
    rows = tmp_path / "rows.jsonl"
    rows.write_bytes(b"\n".join(moved))
    into = ("--table", "entries", "--append", "-y", "--component", "spending", str(rows))
    project.convex("import", *into)
    assert run("money:totals", {"account": "moved"})["spending"]["total"] == 17
    project.convex("import", "--replace", "-y", str(path))
    totals = run("money:totals", {"account": "moved"})
    assert totals["savings"]["total"] == 17


def test_clients_cannot_call_components(project: Project) -> None:
    """Neither by the path that they have inside, nor by naming the component."""
    for body in (
        {"path": "savings//entries:total", "args": {"account": "a"}},
        {"path": "entries:total", "componentPath": "savings", "args": {"account": "a"}},
    ):
        request = urllib.request.Request(
            f"{project.server.url}/api/query",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request) as response:
                told = response.read().decode()
        except urllib.error.HTTPError as error:
            told = error.read().decode()
        assert "Could not find public function" in told


# -------------------------------------------------------------------------------- those of npm


def test_sharded_counter(run: Callable[..., Any]) -> None:
    for by in (5, 2, -3):
        run("published:count", {"name": "a", "by": by})
    assert run("published:counted", {"name": "a"}) == 4
    assert run("published:counted", {"name": "b"}) == 0


def test_rate_limiter(run: Callable[..., Any]) -> None:
    asked = {"name": "send", "key": "ada"}
    assert [run("published:limit", asked) for _ in range(3)] == [True, True, False]
    assert run("published:limit", {"name": "send", "key": "bob"}) is True
    assert run("published:limited", asked) == 0
    later = {"name": "later", "key": "ada"}
    assert run("published:limit", later) is True
    eventually(lambda: run("published:limited", later), lambda left: left == 2)


def test_aggregate(run: Callable[..., Any]) -> None:
    ids = [
        run("published:addScore", {"player": player, "score": score})
        for player, score in (("ada", 10), ("ada", 30), ("bob", 20))
    ]
    ada = {"player": "ada"}
    assert run("published:scores", ada) == {"count": 2, "sum": 40, "best": 30, "of": 3}
    run("published:removeScore", {"id": ids[1]})
    assert run("published:scores", ada) == {"count": 1, "sum": 10, "best": 10, "of": 2}


def test_action_cache(run: Callable[..., Any]) -> None:
    """The action ran once for two questions."""
    assert [run("published:square", {"n": 12}) for _ in range(2)] == [144, 144]
    assert run("money:notes").count("computed 12") == 1


def test_crons(run: Callable[..., Any]) -> None:
    run("published:register", {"name": "often", "ms": 1000})
    assert run("published:registered") == ["often"]
    eventually(lambda: run("money:notes"), lambda notes: notes.count("cron often") >= 2)
    run("published:unregister", {"name": "often"})
    assert run("published:registered") == []


def test_migrations(run: Callable[..., Any]) -> None:
    for score in (10, 25, 40):
        run("published:addScore", {"player": "migrated", "score": score})
    run("published:migrate")
    seen = eventually(lambda: run("published:migrated"), lambda seen: seen["state"] == "success")
    assert None not in seen["levels"] and seen["processed"] == len(seen["levels"])


def test_presence(run: Callable[..., Any]) -> None:
    beat = {"room": "r", "user": "ada", "session": "s1", "interval": 60_000}
    tokens = run("published:heartbeat", beat)
    room = {"token": tokens["roomToken"]}
    assert run("published:present", room) == [{"userId": "ada", "online": True}]
    run("published:leave", {"token": tokens["sessionToken"]})
    assert run("published:present", room) == [{"userId": "ada", "online": False}]


def test_workpool(run: Callable[..., Any]) -> None:
    """Work in parallel, retried, with a mutation of the app at the end of each."""
    run("published:enqueue", {"n": 16})
    run("published:enqueue", {"n": -1})
    wanted = {"root of 16: 4", "root of -1: failed"}
    eventually(lambda: run("money:notes"), lambda notes: wanted <= set(notes))


# ------------------------------------------------------------------------------- over a restart


def test_components_are_there_again_after_a_kill(project: Project, run: Callable[..., Any]) -> None:
    run("money:save", {"account": "kept", "amount": 4})
    project.server.kill()
    project.server.start()
    totals = run("money:totals", {"account": "kept"})
    assert totals["savings"]["total"] == 4
