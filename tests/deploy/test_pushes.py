"""From a push to running code: what is refused, what races, and what each answer says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from cupola.auth import OidcProvider
from cupola.backend.node import ExecutionLog
from cupola.deploy import deployer
from cupola.deploy.requests import FinishPush, PushReference, VariableChange
from cupola.errors import CupolaError
from cupola.functions.app import App
from cupola.functions.definitions import Function, Kind, Visibility
from cupola.runtimes.v8.node_version import node_runtime

from .conftest import HEAD, Pushing, module, notes, schema

Tell = Callable[..., None]

ONE = module("m.js", "export const f = query(async () => 1);")
TWO = module("m.js", "export const f = query(async () => 2);")
ADD = module("n.js", "export const add = mutation(async (ctx) => insert('notes', ctx));")


async def refusal(work: Any) -> CupolaError:
    with pytest.raises(CupolaError) as caught:
        await work
    return caught.value


def test_a_push_serves_when_it_is_finished_and_not_before(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        await at.push(ONE)
        assert await at.value("m:f") == 1
        started = await at.start(TWO)
        assert (await at.wait(started))["type"] == "complete"
        assert await at.value("m:f") == 1
        finished = await at.finish(started)
        assert await at.value("m:f") == 2
        assert finished["componentDiffs"][""]["diffType"] == {"type": "modify"}

    tell(story)


def test_what_was_pushed_serves_after_a_restart(tell: Tell) -> None:
    async def before(at: Pushing) -> None:
        await at.push(ONE, ADD, app={"schema": schema(notes(indexes=("by_body",)))})
        await at.deployer.update_environment([VariableChange("COLOUR", "blue")])

    async def after(at: Pushing) -> None:
        assert at.backend.state == "ready"
        assert await at.value("m:f") == 1
        assert at.deployer.variables == {"COLOUR": "blue"}
        assert {each["path"] for each in at.deployer.config_hashes()["moduleHashes"]} == {
            "m.js",
            "n.js",
        }
        seed = at.deployer.code.facts.import_seed
        await at.push(TWO)
        assert at.deployer.code.facts.import_seed == seed

    tell(before)
    tell(after)


def test_modules_that_did_not_change_are_sent_as_hashes(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        await at.push(ONE, ADD)
        (kept, _) = at.deployer.config_hashes()["moduleHashes"]
        unchanged = {
            "path": kept["path"],
            "environment": kept["environment"],
            "sha256": kept["hash"],
        }
        finished = await at.push(app={"unchangedModuleHashes": [unchanged]})
        assert finished["componentDiffs"][""]["moduleDiff"] == {"added": [], "removed": ["n.js"]}
        assert await at.value("m:f") == 1

        other = {**unchanged, "sha256": "0" * 64}
        error = await refusal(at.start(app={"unchangedModuleHashes": [other]}))
        assert error.code == "ExistingModuleHashConflict"
        gone = {**unchanged, "path": "n.js"}
        error = await refusal(at.start(app={"unchangedModuleHashes": [gone]}))
        assert error.code == "MissingExistingModule"

    tell(story)


def test_a_schema_that_data_does_not_match_is_refused_and_old_code_serves(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        await at.push(ONE, ADD, app={"schema": schema(notes())})
        await at.value("n:add", b'{"body":"text"}')
        started = await at.start(TWO, ADD, app={"schema": schema(notes("number"))})
        answer = await at.wait(started)
        assert (answer["type"], answer["tableName"]) == ("failed", "notes")
        assert 'in table "notes" does not match the new schema: Value does' in answer["error"]
        error = await refusal(at.finish(started))
        assert error.code == "SchemaEnforcementError"
        assert await at.value("m:f") == 1
        assert at.backend.node.committer.catalog.pending is None
        await at.push(TWO, ADD, app={"schema": schema(notes("string", ("by_body",)))})
        assert await at.value("m:f") == 2

    tell(story)


def test_a_write_between_the_check_and_the_end_is_checked_too(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        await at.push(ADD)
        started = await at.start(ADD, app={"schema": schema(notes("number"))})
        assert (await at.wait(started))["type"] == "complete"
        await at.value("n:add", b'{"body":"text"}')
        assert (await at.wait(started))["type"] == "failed"
        assert (await refusal(at.finish(started))).code == "SchemaEnforcementError"
        await at.value("n:add", b'{"body":"more"}')

    tell(story)


def test_the_last_of_two_pushes_wins(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        first = await at.start(ONE, app={"schema": schema(notes())})
        second = await at.start(TWO, app={"schema": schema(notes("number"))})
        assert (await at.wait(first))["type"] == "raceDetected"
        assert (await refusal(at.finish(first))).code == "RaceDetected"
        assert (await at.wait(second))["type"] == "complete"
        await at.finish(second)
        assert await at.value("m:f") == 2
        assert (await refusal(at.finish(second))).code == "RaceDetected"

    tell(story)


def test_generating_code_disturbs_no_push(tell: Tell) -> None:
    """`codegen` starts a push of the same schema and never finishes it."""

    async def story(at: Pushing) -> None:
        started = await at.start(ONE, app={"schema": schema(notes())})
        await at.start(ONE, app={"schema": schema(notes())})
        assert (await at.wait(started))["type"] == "complete"
        await at.finish(started)
        assert await at.value("m:f") == 1

    tell(story)


def test_a_push_that_nobody_finishes_is_forgotten(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(at: Pushing) -> None:
        monkeypatch.setattr(deployer, "_STAGED_FOR_S", 0.0)
        started = await at.start(ONE, app={"schema": schema(notes("number"))})
        while (await at.wait(started, 0))["type"] != "raceDetected":
            await asyncio.sleep(0)
        while at.backend.node.committer.catalog.pending is not None or at.backend.needs_turn:
            await asyncio.sleep(0)
        assert (await refusal(at.finish(started))).code == "RaceDetected"

    tell(story)


def test_other_variables_end_a_push(tell: Tell) -> None:
    """What was evaluated with the old ones may be wrong."""

    async def story(at: Pushing) -> None:
        started = await at.start(ONE)
        await at.deployer.update_environment([VariableChange("A", "1")])
        assert (await refusal(at.finish(started))).code == "RaceDetected"

    tell(story)


def test_a_dry_run_changes_nothing(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        tables = schema(notes(indexes=("by_body",)))
        started = await at.start(ONE, app={"schema": tables}, dryRun=True)
        (index,) = started["schemaChange"]["indexDiffs"][""]["added_indexes"]
        assert index["name"] == "notes.by_body"
        answer = await at.deployer.finish_push(FinishPush(PushReference(), dry_run=True))
        assert answer["componentDiffs"] == {}
        assert at.deployer.code is None
        assert "notes" not in at.backend.node.committer.catalog.by_name

    tell(story)


def test_the_answer_has_what_generated_code_is_made_from(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        routes = """
            export default {
              isRouter: true,
              getRoutes: () => [["/hook", "POST", Object.assign(() => {}, { isHttp: true })]],
            };
        """
        started = await at.start(
            ONE, module("http.js", routes), app={"schema": schema(notes())}, forCodegen=True
        )
        analysis = started["analysis"][""]
        assert set(analysis["functions"]) == {"m.js", "http.js"}
        (function,) = analysis["functions"]["m.js"]["functions"]
        assert function["name"] == "f" and function["udfType"] == "Query"
        assert function["args"] == '{"type":"any"}' and function["visibility"] == {"kind": "public"}
        (route,) = analysis["functions"]["http.js"]["httpRoutes"]
        assert route["route"] == {"path": "/hook", "method": "POST"}
        assert started["app"]["httpRoutes"]["httpModuleRoutes"] == [
            {"method": "POST", "path": "/hook"}
        ]
        assert analysis["schema"]["tables"][0]["tableName"] == "notes"

    tell(story)


def test_dashboards_hear_of_node_only_where_it_is_used(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        assert await at.value("_system/frontend/node:version") is None
        await at.push(ONE)
        assert await at.value("_system/frontend/node:version") is None
        actions = """
            export const act = Object.assign(() => {}, {
              isAction: true, isPublic: true, exportArgs: any, exportReturns: () => "null",
              invokeAction: async () => "null",
            });
        """
        await at.push(ONE, module("actions/send.js", actions, environment="node"))
        assert await at.value("_system/frontend/node:version") == node_runtime() is not None

    tell(story)


def test_dashboards_hear_which_indexes_are_staged(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        staged = [{"indexDescriptor": "later", "fields": ["body"]}]
        body = {"fieldType": {"type": "string"}, "optional": False}
        both = {"type": "object", "value": {"body": body, "title": body}}
        now = [{"indexDescriptor": "now", "fields": ["title"]}]
        table = {**notes(), "documentType": both, "indexes": now, "stagedDbIndexes": staged}
        await at.push(ONE, app={"schema": schema(table)})
        args = b'{"tableName":"notes","tableNamespace":null}'
        indexes = await at.value("_system/frontend/indexes:default", args)
        assert {each["name"]: (each["staged"], each["backfill"]["state"]) for each in indexes} == {
            "now": (False, "done"),
            "later": (True, "backfilled"),
        }

    tell(story)


def test_dashboards_hear_where_functions_begin(tell: Tell) -> None:
    """Positions come from source maps, as `npx convex dev` sends them."""

    async def story(at: Pushing) -> None:
        source = "export const f = query(() => 1);"
        maps = {"version": 3, "sources": ["m.ts"], "names": [], "mappings": "AAKA"}
        sent = module("m.js", HEAD.replace("\n", " ") + source, head="")
        await at.push({**sent, "sourceMap": json.dumps(maps)})
        modules = dict(await at.value("_system/frontend/modules:list"))
        (function,) = modules["m.js"]["functions"]
        assert (function["name"], function["lineno"]) == ("f", 6)

    tell(story)


AUTH = "export default { providers: [{ domain: process.env.DOMAIN, applicationID: 'app' }] };"
CRONS = """
export default {
  isCrons: true,
  export: () => JSON.stringify({
    tidy: { name: "m:f", args: [{}], schedule: { type: "interval", hours: 1 } },
  }),
};
"""
CASES: dict[str, tuple[list[dict[str, Any]], dict[str, Any], str, str]] = {
    "throws": ([module("m.js", "throw new Error('boom');")], {}, "InvalidModules", "boom"),
    "syntax": ([module("m.js", "export const = 1;")], {}, "InvalidModules", "m.js"),
    "twice": ([ONE, TWO], {}, "InvalidModules", "twice"),
    "system path": ([module("_system/m.js", "")], {}, "BadConvexModuleIdentifier", "_system/"),
    "bad path": ([module("../m.js", "")], {}, "BadConvexModuleIdentifier", "m"),
    "no extension": ([module("m.ts", "")], {}, "BadConvexModuleIdentifier", ".js"),
    "auth": (
        [module("auth.config.js", AUTH, head="")],
        {},
        "AuthConfigMissingEnvironmentVariable",
        "Environment variable DOMAIN",
    ),
    "crons": ([ONE, module("crons.js", CRONS)], {}, "InvalidModules", "is a query"),
    "schema": (
        [ONE],
        {"app": {"schema": schema({"tableName": "_x", "indexes": [], "documentType": None})}},
        "TableNameReserved",
        "`_x`",
    ),
    "components without an app": (
        [ONE],
        {
            "componentDefinitions": [
                {"definitionPath": "counter", "definition": module("convex.config.js", "")}
            ]
        },
        "InvalidDefinition",
        "without an app",
    ),
}


@pytest.mark.parametrize(("modules", "more", "code", "words"), CASES.values(), ids=list(CASES))
def test_what_cannot_be_is_refused_by_name(
    tell: Tell, modules: list[dict[str, Any]], more: dict[str, Any], code: str, words: str
) -> None:
    async def story(at: Pushing) -> None:
        error = await refusal(at.start(*modules, **more))
        assert error.code == code and error.http_status == 400
        assert words in error.message
        assert at.deployer.code is None

    tell(story)


def test_auth_providers_follow_variables(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        await at.deployer.update_environment([VariableChange("DOMAIN", "https://one.example")])
        started = await at.start(ONE, module("auth.config.js", AUTH, head=""))
        expected = {"domain": "https://one.example", "applicationID": "app"}
        assert started["appAuth"] == [expected]
        assert (await at.wait(started))["type"] == "complete"
        finished = await at.finish(started)
        assert len(finished["authDiff"]["added"]) == 1
        assert at.backend.users.providers == [OidcProvider("https://one.example", "app")]

        await at.deployer.update_environment([VariableChange("DOMAIN", "https://two.example")])
        assert at.deployer.code.facts.auth[0]["domain"] == "https://two.example"
        assert at.backend.users.providers == [OidcProvider("https://two.example", "app")]
        error = await refusal(at.deployer.update_environment([VariableChange("DOMAIN", None)]))
        assert error.code == "AuthConfigMissingEnvironmentVariable"
        assert at.deployer.variables == {"DOMAIN": "https://two.example"}

    async def after(at: Pushing) -> None:
        assert at.deployer.code.facts.auth[0]["domain"] == "https://two.example"
        assert at.backend.users.providers == [OidcProvider("https://two.example", "app")]

    tell(story)
    tell(after)


def test_variables_that_the_app_requires_must_be_set(tell: Tell) -> None:
    definition = """
        export default { export: () => ({
          definitionType: { type: "app" }, childComponents: [], httpMounts: {},
          exports: { type: "branch", branch: [] },
          envVars: [
            ["KEY", { type: "value", value: '{"type":"string"}' }],
            ["MORE", { type: "value", value: '{"type":"string"}', optional: true }],
          ],
        }) };
    """

    async def story(at: Pushing) -> None:
        app = {"definition": module("convex.config.js", definition, head="")}
        started = await at.start(ONE, app=app)
        assert started["analysis"][""]["definition"]["envVars"][0][0] == "KEY"
        error = await refusal(at.finish(started))
        assert error.code == "MissingEnvironmentVariables"
        assert "are not set: KEY. " in error.message  # the command line looks for these words
        await at.deployer.update_environment([VariableChange("KEY", "1")])
        await at.push(ONE, app=app)
        assert await at.value("m:f") == 1

    tell(story)


# ------------------------------------------------------------------------------- beside Python code


def python(value: float, path: str = "p:f") -> App:
    def handler(ctx: Any) -> float:
        return value

    return App({path: Function(handler, Kind.QUERY, Visibility.PUBLIC)}, {}, version=str(value))


def test_python_code_can_change_beside_pushed_code(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        await at.push(ONE)
        assert [await at.value("p:f"), await at.value("m:f")] == [1, 1]
        started = await at.start(TWO)
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        at.deployer.deploy_python(python(2.0), done.set_result)
        assert await done is None
        assert [await at.value("p:f"), await at.value("m:f")] == [2, 1]
        assert (await refusal(at.finish(started))).code == "RaceDetected"

    tell(story, python(1.0))


def test_variables_that_are_set_while_python_code_is_deployed_stay(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That takes many turns where documents are to be indexed."""
    pushed = module("m.js", "export const key = query(async () => process.env.KEY ?? null);")

    async def story(at: Pushing) -> None:
        await at.push(pushed)
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        with monkeypatch.context() as busy:
            busy.setattr(at.backend.pushes, "run", lambda: None)
            at.deployer.deploy_python(python(2.0), done.set_result)
            await at.deployer.update_environment([VariableChange("KEY", "new")])
        at.backend.wake()
        assert await done is None
        assert [await at.value("p:f"), await at.value("m:key")] == [2, "new"]

    tell(story, python(1.0))


def test_a_function_of_both_is_refused_whichever_comes_second(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        error = await refusal(at.start(module("p.js", "export const f = query(async () => 1);")))
        assert "`p:f` is defined in Python and in JavaScript" in error.message
        await at.push(ONE)
        with pytest.raises(CupolaError, match="`m:f` is defined in Python"):
            at.deployer.deploy_python(python(1.0, "m:f"), lambda error: None)

    tell(story, python(1.0))


def test_a_push_waits_until_a_worker_has_loaded_its_code(tell: Tell) -> None:
    """So that the first call after it is as fast as those that follow."""

    async def story(pushing: Pushing) -> None:
        pushing.deployer.config_hashes()  # the command line's first question starts a process
        pool = pushing.backend.mutations.offload._pool  # type: ignore[union-attr]
        blank = pool._blank
        await pushing.push(module("a.js", "export const f = query(() => 7);"))

        assert blank in pool._workers and blank.is_idle
        assert await pushing.value("a:f") == 7
        await pushing.push(module("a.js", "export const f = query(() => 7);"))  # the same again
        assert any(worker.is_idle for worker in pool._workers)

    tell(story)


def test_those_who_watch_hear_how_long_a_pushed_query_took_and_for_whom(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        await at.push(ONE)
        heard: list[ExecutionLog] = []
        at.backend.node.watchers.append(heard.append)
        await at.value("m:f")
        (log,) = heard
        assert log.path == "m:f" and log.duration_s > 0 and log.identity == "instance_admin"

    tell(story)
