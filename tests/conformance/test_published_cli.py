"""npm `convex` 1.48's command line, unmodified: a project is pushed into a real server."""

from __future__ import annotations

import json
import shutil
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cupola.auth import AdminKeys

from .conftest import free_port
from .project import Project, pushed_project

if TYPE_CHECKING:
    from .conftest import StartDriver

pytestmark = [pytest.mark.node, pytest.mark.slow]


@pytest.fixture
def project(node: str, tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path / "app", node)
    project.start()
    yield project
    project.stop()


@pytest.fixture(scope="module")
def pushed(node: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project that was pushed already, for tests that do not change it."""
    with pushed_project(tmp_path_factory.mktemp("pushed") / "app", node) as project:
        yield project


# ------------------------------------------------------------------------------------- what it does


def test_dev_once_pushes_a_project_as_it_is(pushed: Project) -> None:
    """It generates code, says which indexes it made, and writes where the deployment is."""
    said = pushed.said
    assert "messages.by_channel" in said and "Convex functions ready!" in said
    assert (pushed.folder / "convex/_generated/api.d.ts").exists()
    assert f"CONVEX_URL={pushed.server.url}" in (pushed.folder / ".env.local").read_text()


def test_published_clients_call_both_languages(
    pushed: Project, node: str, start_driver: StartDriver
) -> None:
    """Live queries of one see what mutations of the other write; errors are told as ever."""
    facts = start_driver(pushed.server, node, "pushed.mjs").facts()

    assert facts["typescript"] == ["from python", "from python", "from typescript"]
    assert facts["python"] == ["from typescript", "from python", "from python"]
    assert facts["twice"] == 3
    assert facts["action"] == {"value": 4}
    assert facts["refused"]["data"] == {"code": "Empty"}
    assert "ArgumentValidationError" in facts["badArgument"]["error"]
    assert "Could not find public function" in facts["internal"]["error"]


def test_run_calls_any_function(pushed: Project) -> None:
    pushed.send("run", "hello")
    assert pushed.list("run") == ["hello"]
    assert pushed.answer("messages:count", '{"channel":"run"}') == 1
    assert pushed.answer("rooms:bodies", '{"channel":"run"}') == ["hello"]
    said = pushed.convex("run", "messages:nothing", fails=True)
    assert "Could not find function" in said and "messages:sendLoudly" in said
    said = pushed.convex("run", "messages:send", '{"channel":"run"}', fails=True)
    assert "ArgumentValidationError" in said


def test_run_takes_a_query_that_is_made_up(pushed: Project) -> None:
    """It reads like deployed ones, calls them, and cannot write."""
    for body in ("one", "two", "three"):
        pushed.send("inline", body)
    said = pushed.convex(
        "run",
        "--inline-query",
        'const found = await ctx.db.query("messages")'
        '  .withIndex("by_channel", (q) => q.eq("channel", "inline"))'
        '  .filter((q) => q.neq(q.field("body"), "two")).order("desc").collect(); '
        'const all = await ctx.runQuery("messages:list", { channel: "inline" }); '
        'console.log("looking"); '
        "return { bodies: found.map((message) => message.body), all: all.length };",
    )
    assert "looking" in said
    assert json.loads(said[said.index("{") : said.rindex("}") + 1]) == {
        "bodies": ["three", "one"],
        "all": 3,
    }
    said = pushed.convex("run", "--inline-query", "return ctx.db.insert === undefined")
    assert said.strip() == "true"
    said = pushed.convex("run", "--inline-query", "throw new Error('boom')", fails=True)
    assert "boom" in said


def test_function_spec_shows_both_languages(pushed: Project) -> None:
    spec = json.loads(pushed.run("convex/bin/main.js", "function-spec").stdout)
    functions = {function["identifier"]: function for function in spec["functions"]}
    assert spec["url"] == pushed.server.url
    assert sorted(functions) == [
        "messages.js:count",
        "messages.js:list",
        "messages.js:send",
        "messages.js:sendLoudly",
        "messages.js:setting",
        "rooms.js:bodies",
        "rooms.js:send_twice",
    ]
    assert functions["messages.js:count"]["visibility"] == {"kind": "internal"}
    assert functions["messages.js:send"]["returns"] == {"type": "id", "tableName": "messages"}
    assert functions["rooms.js:bodies"]["args"]["value"]["channel"]["fieldType"] == {
        "type": "string"
    }


def test_variables_are_set_and_read_by_code(pushed: Project) -> None:
    """Without a push: code sees another value in its next call."""
    assert pushed.answer("messages:setting") == "none"
    pushed.convex("env", "set", "COLOUR", "blue")
    pushed.convex("env", "set", "SHAPE=round")
    assert pushed.answer("messages:setting") == "blue"
    assert pushed.convex("env", "get", "COLOUR").strip() == "blue"
    pushed.convex("env", "remove", "COLOUR")
    assert pushed.convex("env", "list").strip() == "SHAPE=round"
    assert pushed.answer("messages:setting") == "none"
    refused = pushed.convex("env", "set", "CONVEX_CLOUD_URL", "x", fails=True)
    assert "cannot name an environment variable" in refused


def test_what_the_command_line_changes_is_history(project: Project) -> None:
    """It stays over a restart, which is no push; of variables there are names and no values."""
    project.convex("dev", "--once", "--tail-logs", "disable")
    project.convex("env", "set", "COLOUR", "a secret")
    project.convex("env", "remove", "COLOUR")
    deploy = ("deploy", "--yes", "--typecheck", "disable", "--message")
    project.change("convex/messages.ts", ".take(50)", ".take(60)")
    project.convex(*deploy, "More of them")
    project.change("convex/messages.ts", "declare const", "throw new Error('no');\ndeclare const")
    project.convex(*deploy, "Refused", fails=True)
    project.server.kill()
    project.server.start()

    options = {"numItems": 100, "cursor": None}
    args = json.dumps({"paginationOpts": options, "filters": {"minDate": 0}})
    page = project.answer("_system/frontend/paginatedDeploymentEvents:default", args)["page"]
    assert [event["action"] for event in page] == [
        "push_config_with_components",
        "delete_environment_variable",
        "create_environment_variable",
        "push_config_with_components",  # of TypeScript
        "push_config_with_components",  # of Python, when the server first started
    ]
    assert page[1]["metadata"] == page[2]["metadata"] == {"variable_name": "COLOUR"}
    assert "a secret" not in json.dumps(page)
    newest = project.answer("_system/frontend/deploymentEvents:lastPushEvent", "{}")
    assert newest == page[0]
    assert newest["metadata"]["message"] == "More of them"
    added = page[3]["metadata"]["component_diffs"][0]["component_diff"]["moduleDiff"]["added"]
    assert "messages.js" in added


def test_data_shows_tables_and_documents(pushed: Project) -> None:
    for number in range(3):
        pushed.send("data", f"row {number}")
    assert "messages" in pushed.convex("data")
    shown = pushed.convex("data", "messages", "--limit", "2")
    assert "row 2" in shown and "row 1" in shown and "row 0" not in shown


def test_an_export_has_every_document(pushed: Project, tmp_path: Path) -> None:
    pushed.send("export", "kept")
    pushed.convex("export", "--path", str(tmp_path / "snapshot.zip"))
    with zipfile.ZipFile(tmp_path / "snapshot.zip") as archive:
        lines = archive.read("messages/documents.jsonl").decode().splitlines()
        assert archive.read("messages/generated_schema.jsonl") == b'"uniform"\n'
    (found,) = (m for line in lines if (m := json.loads(line))["channel"] == "export")
    assert found["body"] == "kept" and found["_id"] and found["_creationTime"]


def test_an_export_is_imported_into_another_deployment(project: Project, tmp_path: Path) -> None:
    """Documents keep their ids; what was there is replaced, and CSV is added beside it."""
    project.convex("deploy", "--yes")
    project.send("general", "one")
    snapshot, table = tmp_path / "snapshot.zip", tmp_path / "table.csv"
    project.convex("export", "--path", str(snapshot))
    project.send("general", "two")
    said = project.convex("import", "--replace-all", "--yes", str(snapshot))
    assert "Added 1 documents" in said
    assert project.list("general") == ["one"]

    table.write_text("channel,author,body\ngeneral,csv,three\n")
    refused = project.convex("import", "--table", "messages", str(table), fails=True)
    assert "has 1 document already" in refused
    project.convex("import", "--append", "--table", "messages", str(table))
    assert project.list("general") == ["three", "one"]


def test_stored_files_travel_with_an_export(project: Project, tmp_path: Path) -> None:
    """`--include-file-storage`: bytes, ids and types come back, also into another deployment."""
    project.convex("deploy", "--yes", "--typecheck", "disable")
    project.send("general", "one")
    data = bytes(range(256)) * 20_000
    upload_url = project.upload_url()
    request = urllib.request.Request(upload_url, data, {"Content-Type": "image/webp"})
    with urllib.request.urlopen(request) as answer:
        storage_id = json.load(answer)["storageId"]
    snapshot = tmp_path / "snapshot.zip"
    project.convex("export", "--include-file-storage", "--path", str(snapshot))
    before = project.stored_files()
    with zipfile.ZipFile(snapshot) as archive:
        assert archive.read(f"_storage/{storage_id}.webp") == data

    project.server.stop()
    shutil.rmtree(project.server.data)
    project.start()
    said = project.convex("import", "--yes", str(snapshot))
    assert "Added 2 documents" in said
    assert project.stored_files() == before
    again = tmp_path / "again.zip"
    project.convex("export", "--include-file-storage", "--path", str(again))
    with zipfile.ZipFile(snapshot) as first, zipfile.ZipFile(again) as second:
        for name in first.namelist():
            assert first.read(name) == second.read(name), name


def test_a_paused_deployment_runs_no_function(pushed: Project) -> None:
    """Of neither language; what the command line asks of the system goes on."""
    pushed.post("/api/v1/pause_deployment")
    for function in ("messages:list", "messages:send", "rooms:bodies"):
        args = '{"channel":"x","author":"a","body":"b"}'
        said = pushed.convex("run", function, args, fails=True)
        assert "Cannot run functions while this deployment is paused" in said
    assert "messages" in pushed.convex("data")
    pushed.post("/api/v1/unpause_deployment")
    assert pushed.list("paused") == []


def test_logs_tell_what_functions_said(pushed: Project) -> None:
    pushed.send("logs", "listen")
    process = pushed.start_convex("logs", "--history", "1000", "--jsonl")
    assert process.stdout is not None
    entries = (json.loads(line) for line in process.stdout if line.startswith("{"))
    found = next(
        entry
        for entry in entries
        if any("listen" in text for line in entry["logLines"] for text in line["messages"])
    )
    assert (found["identifier"], found["udfType"]) == ("messages:send", "Mutation")


def test_generated_code_has_the_types_of_the_project(pushed: Project) -> None:
    """`codegen` works without a push, and `tsc` finds a wrong call and no other."""
    pushed.convex("codegen")
    client = pushed.folder / "client.ts"
    client.write_text(
        "\n".join(
            [
                'import { ConvexHttpClient } from "convex/browser";',
                'import { api } from "./convex/_generated/api";',
                'const client = new ConvexHttpClient("http://127.0.0.1:3210");',
                "const bodies: Promise<string[]> =",
                '  client.query(api.messages.list, { channel: "general" });',
                "client.query(api.messages.list, { channel: 7 });",
                "export { bodies };",
            ]
        )
    )
    options = ["--strict", "--skipLibCheck", "--module", "ESNext", "--moduleResolution", "Bundler"]
    said = pushed.typecheck(*options, "--target", "ESNext", "client.ts")
    client.unlink()
    assert said.startswith("client.ts(6,") and said.count("error TS") == 1
    assert pushed.typecheck("-p", "convex") == ""


# -------------------------------------------------------------------------------- code that changes


def test_changed_code_serves_after_the_next_push(project: Project) -> None:
    project.convex("deploy", "--yes")
    project.send("general", "one")
    project.change("convex/messages.ts", "=> message.body", "=> `new: ${message.body}`")
    assert project.list("general") == ["one"]
    dry = project.convex("deploy", "--dry-run")
    assert "Would have deployed" in dry
    assert project.list("general") == ["one"]
    project.convex("deploy", "--yes")
    assert project.list("general") == ["new: one"]


def test_dev_pushes_what_is_saved(project: Project) -> None:
    """`npx convex dev` stays: code is live soon after it is saved, also after a mistake, and what
    functions log is shown in its terminal.
    """
    process = project.start_convex("dev", "--typecheck", "disable")
    assert process.stdout is not None
    said = iter(process.stdout.readline, "")

    def wait_for(words: str) -> str:
        found = next((line for line in said if words in line), None)
        assert found is not None, f"never said {words!r}; the server says:\n{project.server.log()}"
        return found

    wait_for("Convex functions ready!")
    project.send("general", "one")
    wait_for("'sending' 'one'")
    project.change("convex/messages.ts", "=> message.body", "=> `new: ${message.body}`")
    wait_for("Convex functions ready!")
    assert project.list("general") == ["new: one"]
    project.change("convex/lib/text.ts", "return text", "throw new Error('boom'); return text")
    project.change("convex/lib/text.ts", "export function", "shout(''); export function")
    wait_for("boom")
    assert project.list("general") == ["new: one"]
    project.change("convex/lib/text.ts", "shout(''); export function", "export function")
    wait_for("Convex functions ready!")


def test_no_call_fails_during_a_push(
    project: Project, node: str, start_driver: StartDriver
) -> None:
    """Clients call without a pause, and live queries change over to the new code by themselves."""
    project.convex("deploy", "--yes")
    driver = start_driver(project.server, node, "during_push.mjs")
    assert driver.facts() == {"pushNow": True}
    project.change("convex/messages.ts", "=> message.body", "=> `new: ${message.body}`")
    project.convex("deploy", "--yes")
    driver.go_on()
    facts = driver.facts()
    assert facts["failures"] == [] and facts["errors"] == []
    assert facts["calls"] > 10


def test_a_failing_push_leaves_the_old_code_serving(project: Project) -> None:
    """Whatever is wrong: an import, a type, a schema that stored documents do not match."""
    project.convex("deploy", "--yes")
    project.send("general", "one")
    files = {name: (project.folder / name).read_text() for name in ("convex/messages.ts",)}

    project.change("convex/messages.ts", "=> message.body", "=> `new: ${message.body}`")
    project.change(
        "convex/messages.ts", "export const list", 'throw new Error("boom");\nexport const list'
    )
    said = project.convex("deploy", "--yes", "--typecheck", "disable", fails=True)
    assert "Failed to analyze messages.js" in said and "boom" in said
    assert "messages.ts:" in said  # mapped to the source
    assert project.list("general") == ["one"]

    project.change(
        "convex/messages.ts", 'throw new Error("boom");\n', "const wrong: number = 'a';\n"
    )
    said = project.convex("deploy", "--yes", fails=True)
    assert "TS2322" in said
    assert project.list("general") == ["one"]

    (project.folder / "convex/messages.ts").write_text(files["convex/messages.ts"])
    project.change("convex/schema.ts", "body: v.string()", "body: v.number()")
    said = project.convex("deploy", "--yes", "--typecheck", "disable", fails=True)
    assert 'in table "messages" does not match' in said
    assert project.list("general") == ["one"]
    project.send("general", "two")

    project.change("convex/schema.ts", "body: v.number()", "body: v.string()")
    project.convex("deploy", "--yes")
    assert project.list("general") == ["two", "one"]


def test_the_command_line_says_what_is_missing(project: Project) -> None:
    """It knows these errors, and says which variable to set; what does not exist says so itself."""
    push = ("deploy", "--yes", "--typecheck", "disable")
    config = project.folder / "convex/auth.config.ts"
    config.write_text(
        "export default { providers: ["
        '{ domain: process.env.AUTH_DOMAIN, applicationID: "convex" }] };\n'
    )
    said = project.convex(*push, fails=True)
    assert "Environment variable AUTH_DOMAIN is used in auth config" in said
    project.convex("env", "set", "AUTH_DOMAIN", "https://issuer.example")
    project.convex(*push)
    said = project.convex("env", "remove", "AUTH_DOMAIN", fails=True)
    assert "AUTH_DOMAIN" in said

    definition = project.folder / "convex/convex.config.ts"
    definition.write_text(
        'import { defineApp } from "convex/server";\nimport { v } from "convex/values";\n'
        "export default defineApp({ env: { NEEDED: v.string() } });\n"
    )
    assert "NEEDED <value>" in project.convex(*push, fails=True)
    project.convex("env", "set", "NEEDED", "1")
    project.convex(*push)

    (project.folder / "convex/crons.ts").write_text(
        'import { cronJobs } from "convex/server";\nimport { api } from "./_generated/api";\n'
        "const crons = cronJobs();\n"
        'crons.interval("tidy", { hours: 1 }, api.messages.list, { channel: "a" });\n'
        "export default crons;\n"
    )
    said = project.convex(*push, fails=True)
    assert "`messages:list` is a query; a cron job runs a mutation or an action" in said


def test_pushed_code_survives_a_crash(project: Project) -> None:
    """It is kept with the data: killed and started again, the server has both."""
    project.convex("deploy", "--yes")
    project.convex("env", "set", "COLOUR", "green")
    project.send("general", "one")
    project.server.kill()
    project.server.start()
    assert project.list("general") == ["one"]
    assert project.answer("messages:setting") == "green"
    assert project.answer("rooms:bodies", '{"channel":"general"}') == ["one"]


def test_a_name_of_both_languages_is_refused(project: Project) -> None:
    (project.folder / "convex/rooms.ts").write_text(
        'import { query } from "./_generated/server";\n'
        'export const bodies = query({ args: {}, handler: async () => "typescript" });\n'
    )
    said = project.convex("deploy", "--yes", fails=True)
    assert "`rooms:bodies` is defined in Python and in JavaScript" in said


def test_the_command_line_starts_a_local_backend(node: str, tmp_path: Path) -> None:
    """Without any server: it starts the program it takes for the reference's local backend, with
    its own options, pushes to it, and ends it. A second time it finds the data of the first.
    """
    project = Project(tmp_path / "app", node)
    version = "precompiled-2026-10-01-cupola0"  # such names say from when on keys can be made
    binary = tmp_path / "home/.cache/convex/binaries" / version / "convex-local-backend"
    binary.parent.mkdir(parents=True)
    binary.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cupola.cli.local_backend "$@"\n')
    binary.chmod(0o755)
    state = project.folder / ".convex/local/default"
    state.mkdir(parents=True)
    name, secret = "anonymous-agent", "5c" * 32
    config = {
        "ports": {"cloud": free_port(), "site": free_port()},
        "backendVersion": version,
        "adminKey": AdminKeys(name, bytes.fromhex(secret)).issue(),
        "instanceSecret": secret,
        "deploymentName": name,
    }
    (state / "config.json").write_text(json.dumps(config))
    project.use({"CONVEX_AGENT_MODE": "anonymous"})

    options = ["dev", "--once", "--tail-logs", "disable", "--local-backend-version", version]
    said = project.convex(*options, "--typecheck", "disable")
    assert "messages.by_channel" in said and "Convex functions ready!" in said
    call = ["--run", "messages:setting"]
    said = project.convex(*options, "--typecheck", "disable", *call)
    assert "messages.by_channel" not in said and '"none"' in said
    assert (state / "convex_local_backend.sqlite3").stat().st_size > 0


@pytest.mark.browser
def test_a_react_page_follows_data_and_code(
    project: Project, node: str, chromium: str, start_driver: StartDriver
) -> None:
    """The quickstart's page in two windows: what one sends the other shows, and when the functions
    change under them, they show what the new ones answer, without a reload.
    """
    project.convex("deploy", "--yes")
    project.bundle("web/main.jsx", "public/main.js")
    driver = start_driver(project.server, node, "react_page.mjs", chromium)
    assert driver.facts() == {"pushNow": True}
    project.change("convex/messages.ts", "=> message.body", "=> `new: ${message.body}`")
    project.convex("deploy", "--yes")
    driver.go_on()
    facts = driver.facts()
    assert facts == {"shown": ["new: again", "new: hello"], "notReloaded": True, "problems": []}
