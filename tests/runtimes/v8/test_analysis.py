"""What pushed modules define, and how it is told what is wrong with them."""

import asyncio
import base64
import dataclasses
import json

import pytest

from cupola.functions.bundles import AnalysisError, Bundle, Module
from cupola.limits import DEFAULT_LIMITS
from cupola.runtimes.v8.analysis_process import Session
from cupola.runtimes.v8.analyzer import V8Analyzer
from cupola.schema import SchemaDefinition

from .conftest import PACKAGES, modules_of

ANALYZER = V8Analyzer(DEFAULT_LIMITS)
KINDS = ("string", "number")


def analyze(*sources, environment=None, **named):
    modules = [Module(f"{name}.js", source) for name, source in named.items()]
    bundle = Bundle((*sources, *modules), environment or {})
    return asyncio.run(ANALYZER.analyze(bundle))


def refused(*sources, **named) -> AnalysisError:
    with pytest.raises(AnalysisError) as caught:
        analyze(*sources, **named)
    return caught.value


# ------------------------------------------------------------------------------------- functions


@pytest.mark.node
def test_functions_have_kind_visibility_validators_and_place(code):
    functions = {f.name: f for f in code.analysis["messages.js"].functions}
    send, secret = functions["send"], functions["secret"]
    assert (send.kind, send.visibility) == ("mutation", "public")
    assert (secret.kind, secret.visibility) == ("query", "internal")
    assert set(json.loads(send.args)["value"]) == {"channel", "body"}
    assert json.loads(send.returns) == {"type": "id", "tableName": "messages"}
    assert send.position.path.endswith("app/messages.ts")
    assert send.position.line > functions["list"].position.line
    lines = [f.position.line for f in code.analysis["messages.js"].functions]
    assert lines == sorted(lines)


@pytest.mark.node
def test_modules_of_node_define_actions(code):
    functions = {f.name: f for f in code.analysis["actions/node.js"].functions}
    assert functions["hash"].kind == "action"
    assert functions["hash"].position.path.endswith("app/actions/node.ts")
    assert not any(path.startswith("_deps/") for path in code.analysis)


@pytest.mark.node
def test_routes_are_found(code):
    routes = {(route.method, route.path) for route in code.analysis["http.js"].routes}
    assert ("GET", "/hello") in routes
    assert ("POST", "/send/*") in routes


FUNCTION = """
const f = () => {};
f.isQuery = f.isPublic = true;
f.exportArgs = () => '{"type":"any"}';
f.exportReturns = () => "null";
export { f as name };
"""


def test_what_is_no_function_is_skipped():
    found = analyze(a=FUNCTION + "export const number = 5; export const plain = () => 1;")
    assert [function.name for function in found["a.js"].functions] == ["name"]


def test_modules_import_each_other_and_chunks_are_not_analysed():
    chunk = Module("_deps/X.js", FUNCTION)
    found = analyze(chunk, **{"folder/b": 'export { name } from "../_deps/X.js";'})
    assert set(found) == {"folder/b.js"}
    assert found["folder/b.js"].functions[0].position is None


def test_variables_time_and_randomness_are_there_and_stay_the_same():
    source = """
    const f = () => {};
    f.isQuery = f.isPublic = true;
    f.exportArgs = () => JSON.stringify({ type: "literal",
      value: process.env.A + Date.now() + Math.random() });
    export { f };
    """
    texts = {analyze(a=source, environment={"A": "1"})["a.js"].functions[0].args for _ in range(2)}
    assert len(texts) == 1
    assert json.loads(texts.pop())["value"].startswith("10")


# ----------------------------------------------------------------------------------------- mistakes


def test_an_exception_at_import_shows_its_place_and_what_was_logged():
    error = refused(a='console.log("before");\nthrow new Error("boom");')
    assert error.message.startswith("Failed to analyze a.js: Uncaught Error: boom")
    assert "a.js:2:7" in error.message
    assert "LOG 'before'" in error.message
    assert (error.code, error.module) == ("InvalidModules", "a.js")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("export const = 1;", "SyntaxError"),
        ('import { x } from "./b.js"; x();', 'Couldn\'t find module "./b.js"'),
        ('import fs from "node:fs"; fs;', 'Couldn\'t find module "node:fs"'),
        ('import left from "left-pad"; left;', "not prefixed with / or ./ or ../"),
        ("await new Promise(() => {});", "top-level await"),
        ("for (;;);", "did not end within 4 s"),
        ('await Convex.asyncSyscall("1.0/get", "{}");', "unsupported at import time"),
        ('Convex.syscall("1.0/queryStream", "{}");', "Can't use database at import time"),
        ('await fetch("https://example.com");', "Can't use fetch at import time"),
        ('Promise.reject(new Error("unheard"));', "unheard"),
        ("const a = []; for (;;) a.push(new Array(1000).fill(1));", "Failed to analyze"),
        (FUNCTION.replace('{"type":"any"}', '{"type":"odd"}'), "the args validator of `name`"),
        (FUNCTION.replace('\'{"type":"any"}\'', "5"), "must return a string"),
        (FUNCTION.replace("as name", "as ünï"), "cannot be the name of a function"),
        ("eval('1')", "EvalError"),
        ("Deno.readFileSync('/etc/passwd')", "Deno is not defined"),
    ],
)
def test_a_module_that_makes_no_sense_is_refused(source, words):
    assert words in refused(a=source).message


def test_a_package_that_was_not_pushed_is_refused_with_a_way_out():
    source = 'import ws from "ws"; export const a = ws;'
    error = refused(Module("a.js", source, environment="node"))
    assert "name it in `node.externalPackages`" in error.message


def test_a_router_and_a_cron_table_must_be_what_they_are():
    assert "must have a default export" in refused(http="export const a = 1;").message
    assert "must be a router" in refused(http="export default 5;").message
    assert "must be made by cronJobs()" in refused(crons="export default {};").message


def crons(schedule) -> str:
    table = {"job": {"name": "a:b", "args": [{}], "schedule": schedule}}
    text = json.dumps(json.dumps(table))
    return f"export default {{ isCrons: true, export: () => {text} }};"


@pytest.mark.parametrize(
    "schedule",
    [
        {"type": "interval", "seconds": 30},
        {"type": "hourly", "minuteUTC": 5},
        {"type": "hourly"},
        {"type": "daily", "hourUTC": 3, "minuteUTC": 0},
        {"type": "weekly", "dayOfWeek": "monday", "hourUTC": 3, "minuteUTC": 1},
        {"type": "monthly", "day": 31, "hourUTC": 23, "minuteUTC": 59},
        {"type": "cron", "cron": "*/5 0-23 1,15 jan-dec mon-fri"},
    ],
)
def test_schedules_are_read(schedule):
    (job,) = analyze(crons=crons(schedule))["crons.js"].crons
    assert (job.identifier, job.function, job.schedule) == ("job", "a:b", schedule)


@pytest.mark.parametrize(
    "schedule",
    [
        {"type": "interval", "seconds": 0},
        {"type": "interval", "seconds": 1, "hours": 1},
        {"type": "hourly", "minuteUTC": 60},
        {"type": "weekly", "dayOfWeek": "someday", "hourUTC": 3},
        {"type": "monthly", "day": 0, "hourUTC": 3},
        {"type": "cron", "cron": "* * * *"},
        {"type": "cron", "cron": "61 * * * *"},
        {"type": "never"},
    ],
)
def test_schedules_that_cannot_be_are_refused(schedule):
    assert "`job` makes no sense" in refused(crons=crons(schedule)).message


# --------------------------------------------------------------------- schema, auth, definitions


def evaluate_schema(source: str) -> str:
    return asyncio.run(ANALYZER.evaluate_schema(Bundle(()), Module("schema.js", source)))


@pytest.mark.node
def test_a_schema_is_evaluated(tmp_path):
    (tmp_path / "schema.ts").write_text(
        """
        import { defineSchema, defineTable } from "convex/server";
        import { v } from "convex/values";
        export default defineSchema({
          messages: defineTable({ body: v.string() }).index("by_body", ["body"]),
        });
        """
    )
    if not (PACKAGES / "node_modules").is_dir():
        pytest.skip("no npm packages")
    (module,) = modules_of(tmp_path)
    text = evaluate_schema(module.source)
    schema = SchemaDefinition.from_json(text)
    assert set(schema.tables) == {"messages"}


def test_a_schema_must_be_one_and_reads_no_variables():
    for source, code in (
        ("export const a = 1;", "MissingSchemaExportError"),
        ("export default 5;", "InvalidSchemaExport"),
        ("export default process.env.A;", "InvalidSchema"),
        ('import "./other.js"; export default {};', "InvalidSchema"),
    ):
        with pytest.raises(AnalysisError) as caught:
            evaluate_schema(source)
        assert caught.value.code == code, source


def evaluate_auth(source: str, **environment: str) -> str:
    bundle = Bundle((), environment)
    return asyncio.run(ANALYZER.evaluate_auth_config(bundle, Module("auth.config.js", source)))


AUTH = "export default { providers: [{ domain: process.env.DOMAIN, applicationID: 'a' }] };"


def test_an_auth_config_is_evaluated_with_variables():
    providers = json.loads(evaluate_auth(AUTH, DOMAIN="https://a"))["providers"]
    assert providers == [{"domain": "https://a", "applicationID": "a"}]


def test_a_variable_that_an_auth_config_needs_must_be_set():
    """The command line looks for these words, and says how to set it."""
    with pytest.raises(AnalysisError) as caught:
        evaluate_auth(AUTH)
    assert caught.value.code == "AuthConfigMissingEnvironmentVariable"
    assert "Environment variable DOMAIN is used in auth config file but" in caught.value.message


@pytest.mark.parametrize("source", ["Date.now()", "Math.random()", "new Date()"])
def test_an_auth_config_is_always_the_same(source):
    with pytest.raises(AnalysisError, match="must always be the same"):
        evaluate_auth(f"export default {{ providers: [{source}] }};")


def test_definitions_are_evaluated_children_first():
    child = Module(
        "convex.config.js",
        "export default { export: () => ({ definitionType: "
        '{ type: "childComponent", name: "counter", args: [] }, name: "counter" }) };',
    )
    identifier = base64.urlsafe_b64encode(b"counter").decode().rstrip("=")
    app = Module(
        "convex.config.js",
        f'import counter from "./_componentDeps/{identifier}";\n'
        'export default { export: () => ({ definitionType: { type: "app" }, childComponents: '
        "[{ name: counter.defaultName, path: counter.componentDefinitionPath }] }) };",
    )

    found = asyncio.run(
        ANALYZER.evaluate_definitions({"": app, "counter": child}, {"": ["counter"]}, {})
    )

    assert json.loads(found["counter"])["path"] == "counter"
    children = json.loads(found[""])["childComponents"]
    assert children == [{"name": "counter", "path": "counter"}]


def test_definitions_that_import_each_other_are_refused():
    module = Module("convex.config.js", "export default { export: () => ({}) };")
    with pytest.raises(AnalysisError, match="imports itself"):
        asyncio.run(
            ANALYZER.evaluate_definitions(
                {"": module, "a": module, "b": module}, {"": ["a"], "a": ["b"], "b": ["a"]}, {}
            )
        )


# ------------------------------------------------------------------------------------- once only


@pytest.fixture
def asked(monkeypatch) -> list[str]:
    """The modules that are evaluated from now on."""
    paths: list[str] = []
    ask = Session.ask

    def noting(session, look, module, options, code):
        paths.append(module.path)
        return ask(session, look, module, options, code)

    monkeypatch.setattr(Session, "ask", noting)
    return paths


def args_of(found) -> str:
    (function,) = found["a.js"].functions
    return function.args


def test_only_what_changed_is_evaluated_again(asked):
    one, two = (FUNCTION + f"export const own = {n};" for n in (11, 12))
    first = analyze(a=one, b=two)
    second = analyze(a=one, b=two + "//")

    assert asked == ["a.js", "b.js", "b.js"]
    assert first["a.js"] == second["a.js"]


def test_a_module_changes_with_what_it_imports(asked):
    """However far away: what is found in it is never older than any of its imports."""
    module = """
        import { text } from "./_deps/X.js";
        const f = () => {};
        f.isQuery = f.isPublic = true;
        f.exportArgs = () => text;
        export { f as name };
    """
    near = Module("_deps/X.js", 'export { text } from "./Y.js";')
    far = [
        Module("_deps/Y.js", f"""export const text = '{{"type":"{kind}"}}';""") for kind in KINDS
    ]

    found = [args_of(analyze(near, each, a=module)) for each in (far[0], far[1], far[1])]

    assert found == ['{"type":"string"}', '{"type":"number"}', '{"type":"number"}']
    assert asked == ["a.js", "a.js"]


def test_a_module_changes_with_the_variables(asked):
    module = """
        const f = () => {};
        f.isQuery = f.isPublic = true;
        f.exportArgs = () => `{"type":"${process.env.KIND}"}`;
        export { f as name };
    """
    found = [args_of(analyze(a=module, environment={"KIND": kind})) for kind in KINDS]
    assert found == ['{"type":"string"}', '{"type":"number"}']


def test_modules_share_a_process_and_nothing_in_it():
    """Also when one of them tries to leave something behind."""
    seen = "if (globalThis.left || Object.prototype.left) throw new Error('seen');"
    leave = "globalThis.left = Object.prototype.left = true;"
    assert set(analyze(a=seen + leave, b=seen + leave)) == {"a.js", "b.js"}


def test_the_process_ends_when_no_push_comes():
    async def story():
        analyzer = V8Analyzer(dataclasses.replace(DEFAULT_LIMITS, push_idle_s=0.01))
        await analyzer.warm_up()
        process = analyzer._process
        while process._deno is not None:
            await asyncio.sleep(0.001)
        assert await analyzer.analyze(Bundle((Module("a.js", FUNCTION),)))  # another takes over
        analyzer.close()

    asyncio.run(asyncio.wait_for(story(), 30))
