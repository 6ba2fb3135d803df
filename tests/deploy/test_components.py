"""Components, pushed without a command line: what a push makes of definitions."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cupola.auth import Identity
from cupola.backend import CallRequest
from cupola.deploy.components import environments, instances
from cupola.deploy.deletions import delete_component, delete_tables
from cupola.deploy.requests import StartPush
from cupola.errors import BadRequestError
from cupola.values import qualified

from ..runtimes.v8.live_client import Client
from .conftest import Json, Pushing, Story, module, schema
from .test_exports import finished
from .test_file_imports import bytes_of, forget_all, pieces
from .test_file_imports import exported as exported_with_files
from .test_imports import load

Tell = Callable[[Story], None]


def use(name: str, path: str, **env: Json) -> Json:
    return {"name": name, "path": path, "args": [], "env": list(env.items())}


def definition(*uses: Json, mounts: dict[str, str] | None = None, **declared: Json) -> Json:
    return {
        "definitionType": {"type": "app"},
        "childComponents": list(uses),
        "httpMounts": {
            prefix: f"_reference/childComponent/{name}" for name, prefix in (mounts or {}).items()
        },
        "envVars": list(declared.items()),
    }


TEXT = {"type": "value", "value": '{"type":"string"}'}
OPTIONAL = {**TEXT, "optional": True}


# ------------------------------------------------------------------------------- the tree


def test_each_use_of_a_definition_is_an_instance_at_the_path_of_names() -> None:
    root = instances(
        {
            "": definition(use("one", "a"), use("two", "a")),
            "a": definition(use("inner", "b")),
            "b": definition(),
        },
        {},
    )
    assert [(each.path, each.definition) for each in root.all()] == [
        ("", ""),
        ("one", "a"),
        ("one/inner", "b"),
        ("two", "a"),
        ("two/inner", "b"),
    ]


def test_routes_are_mounted_below_those_of_whoever_uses_a_component() -> None:
    """The app's own prefix moves the app's routes only."""
    root = instances(
        {
            "": {
                **definition(use("a", "a"), use("b", "b"), mounts={"a": "/a/"}),
                "httpPrefix": "/api/",
            },
            "a": definition(use("in", "b"), mounts={"in": "/in/"}),
            "b": definition(use("deep", "c"), mounts={"deep": "/deep/"}),
            "c": definition(),
        },
        {},
    )
    mounts = {each.path: each.mount for each in root.all()}
    assert mounts == {
        "": "/api/",
        "a": "/a/",
        "a/in": "/a/in/",
        "a/in/deep": "/a/in/deep/",
        "b": None,
        "b/deep": None,
    }


def test_a_component_sees_the_variables_that_were_bound_for_it() -> None:
    root = instances(
        {
            "": definition(
                use(
                    "a",
                    "a",
                    KEY={"type": "value", "value": "text"},
                    OTHER={"type": "envVar", "name": "FROM_APP"},
                    GONE={"type": "envVar", "name": "UNSET"},
                ),
                mounts={"a": "/a/"},
                FROM_APP=TEXT,
            ),
            "a": definition(KEY=TEXT, OTHER=OPTIONAL, GONE=OPTIONAL, LEFT_OUT=OPTIONAL),
        },
        {"FROM_APP": "secret", "ANOTHER": "not its business", "CONVEX_SITE_URL": "http://x"},
    )
    assert environments(root, {"CONVEX_SITE_URL": "http://x", "ANOTHER": "?"}) == {
        "a": {"KEY": "text", "OTHER": "secret", "CONVEX_SITE_URL": "http://x/a"}
    }


WRONG = {
    "two of one name": ({"": definition(use("a", "a"), use("a", "a")), "a": definition()}, "`a`"),
    "a name": ({"": definition(use("a/b", "a")), "a": definition()}, "a/b"),
    "a definition that is not there": ({"": definition(use("a", "a"))}, "was not pushed"),
    "a variable it does not have": (
        {"": definition(use("a", "a", X={"type": "value", "value": ""})), "a": definition()},
        "declares no environment variable X",
    ),
    "a variable it needs": (
        {"": definition(use("a", "a")), "a": definition(NEEDED=TEXT)},
        "needs the environment variable NEEDED",
    ),
    "a prefix": ({"": definition(use("a", "a"), mounts={"a": "/a*/"}), "a": definition()}, "/a*/"),
    "one inside the other": (
        {
            "": definition(use("a", "a"), use("b", "a"), mounts={"a": "/x/", "b": "/x/y/"}),
            "a": definition(),
        },
        "one inside the other",
    ),
}


@pytest.mark.parametrize(("definitions", "words"), WRONG.values(), ids=list(WRONG))
def test_uses_that_make_no_sense_are_refused(definitions: Any, words: str) -> None:
    with pytest.raises(BadRequestError, match="makes no sense") as refused:
        instances(definitions, {})
    assert refused.value.code == "InvalidDefinition" and words in refused.value.message


# ------------------------------------------------------------------------------- pushes


LIB = module(
    "lib.js",
    """
    export const add = mutation(async () => (await insert("rows", { body: "x" })) && null);
    export const count = query(async () => {
      const { queryId } = JSON.parse(Convex.syscall("1.0/queryStream", JSON.stringify({
        query: { source: { type: "FullTableScan", tableName: "rows", order: null }, operators: [] },
      })));
      let rows = 0;
      while (!JSON.parse(await Convex.asyncSyscall("1.0/queryStreamNext",
        JSON.stringify({ queryId }))).done) rows += 1;
      return rows;
    });
    export const hidden = internalQuery(() => 1);
    export const now = query(() => Date.now());
    """,
)
APP = module(
    "app.js",
    """
    const run = (udfType, reference) =>
      Convex.asyncSyscall("1.0/runUdf", JSON.stringify({ udfType, args: {}, reference }))
        .then(JSON.parse);
    const of = (path) => `_reference/childComponent/${path}`;
    export const add = mutation(({ to }) => run("mutation", of(`${to}/lib/add`)));
    export const count = query(({ to }) => run("query", of(`${to}/lib/count`)));
    export const hidden = query(({ to }) => run("query", of(`${to}/lib/hidden`)));
    export const now = query(({ to }) => run("query", of(`${to}/lib/now`)));
    """,
)


def table(name: str, *indexes: str, kind: str = "string") -> Json:
    fields = {
        "body": {"fieldType": {"type": kind}, "optional": False},
        "before": {"fieldType": {"type": "id", "tableName": name}, "optional": True},
    }
    return {
        "tableName": name,
        "indexes": [{"indexDescriptor": each, "fields": ["body"]} for each in indexes],
        "documentType": {"type": "object", "value": fields},
    }


def config(exported: Json) -> Json:
    text = json.dumps(exported)
    return module("convex.config.js", f"export default {{ export: () => ({text}) }};", head="")


def pushed(*names: str, tables: Json | None = None) -> Json:
    """What the command line sends of an app that uses one component under these names."""
    component: Json = {
        "definitionPath": "box",
        "definition": config({**definition(), "name": "box"}),
        "functions": [LIB],
    }
    if tables is not None:
        component["schema"] = schema(tables)
    return {
        "app": {
            "definition": config(definition(*(use(name, "box") for name in names))),
            "dependencies": ["box"],
        },
        "componentDefinitions": [component],
    }


def test_each_instance_has_tables_of_its_own(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        await at.push(APP, **pushed("left", "right", tables=table("rows", "by_body")))
        await at.value("app:add", b'{"to":"left"}')
        await at.value("app:add", b'{"to":"left"}')
        await at.value("app:add", b'{"to":"right"}')
        assert await at.value("app:count", b'{"to":"left"}') == 2
        assert await at.value("app:count", b'{"to":"right"}') == 1
        names = at.backend.node.committer.catalog.by_name
        assert {"left//rows", "right//rows"} <= names.keys() and "rows" not in names

    async def after_a_restart(at: Pushing) -> None:
        assert await at.value("app:count", b'{"to":"left"}') == 2

    tell(story)
    tell(after_a_restart)


def test_a_result_that_depends_on_a_components_clock_is_not_shared_for_ever(tell: Tell) -> None:
    """Also when a user calls, whom the component does not get to know."""

    async def story(at: Pushing) -> None:
        await at.push(APP, **pushed("left"))
        ada = Identity("user", {"subject": "ada"}, cache_key=b"ada")
        asked = CallRequest("query", "app:now", b'{"to":"left"}', ada)
        assert [(await at.backend.call(asked)).ok for _ in range(2)] == [True, True]
        [entry] = at.backend.node.cache._idle
        assert entry.expires_ns is not None

    tell(story)


def test_only_what_is_exported_can_be_called_from_outside(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        await at.push(APP, **pushed("left"))
        for path in ("app:hidden", "app:count"):
            unknown = b'{"to":"elsewhere"}' if path == "app:count" else b'{"to":"left"}'
            result = await at.call(path, unknown)
            assert "cannot be resolved" in (result.error_message or "")

    tell(story)


def test_a_push_tells_what_it_does_to_each_component(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        first = await at.start(APP, **pushed("left", tables=table("rows", "by_body")))
        assert first["schemaChange"]["allocatedComponentIds"] == {"left": "left"}
        added = first["schemaChange"]["indexDiffs"]["left"]["added_indexes"]
        assert [index["name"] for index in added] == ["rows.by_body"]
        exported = first["analysis"]["box"]["definition"]["exports"]["branch"]
        assert [name for name, _ in exported[0][1]["branch"]] == ["add", "count", "now"]
        assert (await at.wait(first))["type"] == "complete"
        finished = await at.finish(first)
        assert finished["componentDiffs"]["left"]["diffType"] == {"type": "create"}

        again = await at.push(APP, **pushed("left", tables=table("rows", "by_body")))
        assert again["componentDiffs"]["left"]["diffType"] == {"type": "modify"}

    tell(story)


def test_the_data_of_a_component_that_is_taken_out_waits_for_it(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        await at.push(APP, **pushed("left", tables=table("rows", "by_body")))
        await at.value("app:add", b'{"to":"left"}')
        gone = await at.push(APP)
        assert gone["componentDiffs"]["left"]["diffType"] == {"type": "unmount"}
        assert not (await at.call("app:count", b'{"to":"left"}')).ok
        back = await at.push(APP, **pushed("left", tables=table("rows", "by_body")))
        assert back["componentDiffs"]["left"]["diffType"] == {"type": "remount"}
        assert await at.value("app:count", b'{"to":"left"}') == 1

    tell(story)


async def components(at: Pushing) -> dict[str, str]:
    listed = await at.value("_system/frontend/components:list")
    return {each["path"]: each["state"] for each in listed}


def test_what_a_component_has_left_can_be_deleted(tell: Tell) -> None:
    """Documents, files and jobs of that component; those of others, and of the app, stay."""
    both = pushed("left", "right", tables=table("rows", "by_body"))

    async def story(at: Pushing) -> None:
        await at.push(APP, **both)
        for name in (*["left"] * 150, "right"):
            await at.value("app:add", json.dumps({"to": name}).encode())
        file = await stored(at, b"of the left", "left")
        kept = {name: await stored(at, b"kept", name) for name in ("right", "")}
        with pytest.raises(BadRequestError, match="is in use") as refused:
            await delete_component(at.backend, "left")
        assert refused.value.code == "ComponentMustBeUnmounted"

        await at.push(APP, **pushed("right", tables=table("rows", "by_body")))
        assert await components(at) == {"": "active", "right": "active", "left": "unmounted"}
        await delete_component(at.backend, "left")

        assert await components(at) == {"": "active", "right": "active"}
        await at.push(APP, **both)
        assert await at.value("app:count", b'{"to":"left"}') == 0
        assert await at.value("app:count", b'{"to":"right"}') == 1
        assert await files_of(at, "left") == set()
        for name, stays in kept.items():
            assert await files_of(at, name) == {(stays, b"kept")}
        await at.backend.files.settle()
        names = [name async for some in at.backend.files.store.names() for name in some]
        assert file not in names and set(kept.values()) <= set(names)

    tell(story)


@pytest.mark.parametrize("name", ["", "nobody", "no path", "right"])
def test_only_a_component_that_was_taken_out_is_deleted(tell: Tell, name: str) -> None:
    async def story(at: Pushing) -> None:
        await at.push(APP, **pushed("right", tables=table("rows")))
        await at.value("app:add", b'{"to":"right"}')
        with pytest.raises(BadRequestError):
            await delete_component(at.backend, name)
        assert await at.value("app:count", b'{"to":"right"}') == 1

    tell(story)


def test_tables_are_emptied_by_name(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        await at.push(APP, **pushed("left", "right", tables=table("rows")))
        for name in ("left", "right"):
            await at.value("app:add", json.dumps({"to": name}).encode())
        with pytest.raises(BadRequestError, match="no table `other`"):
            await delete_tables(at.backend, ["rows", "other"], "left")
        await delete_tables(at.backend, ["rows"], "left")
        assert await at.value("app:count", b'{"to":"left"}') == 0
        assert await at.value("app:count", b'{"to":"right"}') == 1

    tell(story)


def test_documents_that_refuse_a_schema_are_named_with_their_component(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        await at.push(APP, **pushed("left", tables=table("rows")))
        await at.value("app:add", b'{"to":"left"}')
        started = await at.start(APP, **pushed("left", tables=table("rows", kind="number")))
        answer = await at.wait(started)
        assert answer["type"] == "failed"
        assert (answer["componentPath"], answer["tableName"]) == ("left", "rows")

    tell(story)


def test_a_push_is_told_what_it_would_do_to_each_component(tell: Tell) -> None:
    """The command line asks before an index of many documents is built or dropped."""

    async def evaluated(at: Pushing, **push: Any) -> Json:
        app = {"changedModules": [APP], "udfServerVersion": "1.48.0", **push.pop("app")}
        body = {"appDefinition": app, **push}
        found: Json = await at.deployer.evaluate_schema(msgspec.convert(body, StartPush))
        return found

    async def story(at: Pushing) -> None:
        first = await evaluated(at, **pushed("left", tables=table("rows", "by_body")))
        assert first["newComponentDefinitions"] == ["box"]
        await at.push(APP, **pushed("left", tables=table("rows", "by_body")))
        for _ in range(2):
            await at.value("app:add", b'{"to":"left"}')
        found = await evaluated(at, **pushed("left", "right", tables=table("rows", kind="number")))
        assert found["newComponentDefinitions"] == []
        app, left, right = (
            found["componentSchemaEvaluations"][path] for path in ("", "left", "right")
        )
        assert (app["definitionPath"], app["tables"]) == ("", [])
        (rows,) = left["tables"]
        assert (rows["name"], rows["outcome"], rows["numDocs"]) == ("rows", "mustWalk", 2)
        (dropped,) = left["indexes"]
        assert (dropped["name"], dropped["change"]) == ("rows.by_body", "dropped")
        assert (left["definitionPath"], left["schemaValidation"]) == ("box", True)
        assert (right["tables"][0]["numDocs"], right["indexes"]) == (0, [])

        same = await evaluated(at, **pushed("left", tables=table("rows", "by_body")))
        (rows,) = same["componentSchemaEvaluations"]["left"]["tables"]
        assert rows["outcome"] == "supersetOfEnforced"
        without = await evaluated(at, **pushed("left"))
        assert without["componentSchemaEvaluations"]["left"]["schemaValidation"] is False

    tell(story)


NODE = module(
    "outside.js",
    """
    import { createHash } from "node:crypto";
    import { prefix } from "./_deps/node/chunk.js";
    const action = (handler) => Object.assign(() => {}, {
      isAction: true, isPublic: true, exportArgs: any, exportReturns: () => "null",
      invokeAction: async (_, args) => JSON.stringify(await handler(...JSON.parse(args)) ?? null),
    });
    const ask = async (op, args) => JSON.parse(await Convex.asyncSyscall(op, JSON.stringify(args)));
    export const keep = action(async ({ text }) => {
      const storageId = await Convex.jsSyscall("storage/storeBlob", { blob: new Blob([text]) });
      const blob = await Convex.jsSyscall("storage/getBlob", { storageId });
      const rows = await ask("1.0/actions/mutation", { name: "lib:add", args: {} });
      const digest = createHash("sha256").update(await blob.text()).digest("hex").slice(0, 8);
      return [prefix + digest, process.env.COLOUR ?? null, typeof rows, storageId];
    });
    """,
    environment="node",
)
CHUNK = module(
    "_deps/node/chunk.js", 'export const prefix = "sha256 ";', head="", environment="node"
)
FILES = module(
    "files.js",
    """
    export const known = query(async ({ id }) => JSON.parse(await Convex.asyncSyscall(
      "1.0/storageGetMetadata", JSON.stringify({ storageId: id })))?.size ?? null);
    """,
)


def test_a_component_has_actions_that_use_node(tell: Tell) -> None:
    """With its own variables, functions and files. The published command line refuses to send
    them so far; the server takes them.
    """

    async def story(at: Pushing) -> None:
        push = pushed("left", "right", tables=table("rows"))
        push["componentDefinitions"][0]["functions"] += [NODE, CHUNK, FILES]
        await at.push(APP, FILES, **push)
        found = await at.value("left//outside:keep", b'{"text":"hello"}')
        *facts, file = found
        assert facts == ["sha256 2cf24dba", None, "object"]
        assert await at.value("app:count", b'{"to":"left"}') == 1
        asked = json.dumps({"id": file}).encode()
        assert await at.value("left//files:known", asked) == 5
        for elsewhere in ("files:known", "right//files:known"):
            assert await at.value(elsewhere, asked) is None

    async def after_a_restart(at: Pushing) -> None:
        assert (await at.value("right//outside:keep", b'{"text":""}'))[0] == "sha256 e3b0c442"

    tell(story)
    tell(after_a_restart)


def test_a_query_in_a_module_that_uses_node_is_refused(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        push = pushed("left")
        wrong = module("n.js", "export const no = query(() => 1);", environment="node")
        push["componentDefinitions"][0]["functions"] = [wrong]
        with pytest.raises(BadRequestError, match='"use node" modules can define only actions'):
            await at.start(APP, **push)

    tell(story)


def test_a_live_query_runs_again_when_its_component_is_written(tell: Tell) -> None:
    """And not when another instance of the same component is."""

    async def story(at: Pushing) -> None:
        await at.push(APP, **pushed("left", "right", tables=table("rows")))
        client = Client(at)
        left = client.subscribe("app:count", to="left")
        right = client.subscribe("app:count", to="right")
        await client.until(lambda: {left, right} <= client.values.keys())
        await at.value("app:add", b'{"to":"left"}')
        await client.until(lambda: client.values[left][-1] == 1)
        await at.value("app:add", b'{"to":"left"}')
        await client.until(lambda: client.values[left][-1] == 2)
        client.leave()
        assert client.values[left] == [0, 1, 2]
        assert client.values[right] == [0]

    tell(story)


# ------------------------------------------------------------------------- exports and imports


async def exported(at: Pushing) -> bytes:
    await at.deployer.exports.request(include_storage=False)
    latest = await finished(at)
    return at.deployer.exports.find(latest["_id"])[0].read_bytes()


def test_an_export_has_a_folder_per_component_and_comes_in_again(tell: Tell) -> None:
    """With the ids that it has, whatever else is there; also as another component's data."""

    async def story(at: Pushing) -> None:
        push = pushed("left", "right", tables=table("rows", "by_body"))
        await at.push(APP, **push)
        await at.value("app:add", b'{"to":"left"}')
        await at.value("app:add", b'{"to":"left"}')
        await at.value("app:add", b'{"to":"right"}')
        whole = await exported(at)
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            names = archive.namelist()
            lines = archive.read("_components/left/rows/documents.jsonl").splitlines()
            tables = archive.read("_components/left/_tables/documents.jsonl")
            alone = io.BytesIO()
            with zipfile.ZipFile(alone, "w") as part:
                part.writestr("rows/documents.jsonl", b"\n".join(lines))
                part.writestr("_tables/documents.jsonl", tables)
        assert "_components/right/rows/generated_schema.jsonl" in names
        assert json.loads(tables) == {"name": "rows", "id": 10001}
        ids = {json.loads(line)["_id"] for line in lines}
        assert len(ids) == 2

        await at.value("app:add", b'{"to":"left"}')
        state = await load(at, whole, "zip", mode="replaceAll")
        assert state["state"] == "completed", state
        assert await at.value("app:count", b'{"to":"left"}') == 2
        assert await at.value("app:count", b'{"to":"right"}') == 1
        with zipfile.ZipFile(io.BytesIO(await exported(at))) as archive:
            again = archive.read("_components/left/rows/documents.jsonl").splitlines()
        assert {json.loads(line)["_id"] for line in again} == ids

        state = await load(at, alone.getvalue(), "zip", mode="replace", component="right")
        assert state["state"] == "completed", state
        assert await at.value("app:count", b'{"to":"right"}') == 2
        assert await at.value("app:count", b'{"to":"left"}') == 2

    tell(story)


def test_rows_come_into_a_table_of_a_component(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        await at.push(APP, **pushed("left", tables=table("rows")))
        rows = b'{"body":"a"}\n{"body":"b"}\n'
        state = await load(at, rows, "jsonLines", "rows", "append", "left")
        assert state["state"] == "completed", state
        assert await at.value("app:count", b'{"to":"left"}') == 2
        wrong = await load(at, b'{"body":1}', "jsonLines", "rows", "append", "left")
        assert wrong["state"] == "failed" and "left//rows" in wrong["error_message"]
        state = await load(at, b"", "jsonLines", "rows", "replace", "left")
        assert await at.value("app:count", b'{"to":"left"}') == 0

    tell(story)


async def stored(at: Pushing, data: bytes, component: str) -> str:
    return await at.backend.files.upload(pieces(data), "text/plain", component=component)


async def files_of(at: Pushing, component: str) -> set[tuple[str, bytes]]:
    """Their ids and bytes, as somebody who looks into the component finds them."""
    args = {"table": "_storage", "paginationOpts": {"numItems": 100, "cursor": None}}
    path = qualified(component, "_system/cli/tableData:default")
    page = (await at.value(path, json.dumps(args).encode()))["page"]
    ids = [(document["_id"], int(document["size"])) for document in page]
    return {(name, await bytes_of(at.backend.files, name, size)) for name, size in ids}


def test_stored_files_of_components_leave_and_come_back(tell: Tell, tmp_path: Path) -> None:
    """Each component's in its folder: ids, bytes, and whose they are."""
    push = pushed("left", "right", tables=table("rows"))
    kept: dict[str, set[tuple[str, bytes]]] = {}

    async def source(at: Pushing) -> None:
        await at.push(APP, **push)
        name = await stored(at, b"of the left", "left")
        await stored(at, b"also", "left")
        await stored(at, b"of the app", "")
        for component in ("left", "right", ""):
            kept[component] = await files_of(at, component)
        (await exported_with_files(at)).rename(tmp_path / "kept.zip")
        with zipfile.ZipFile(tmp_path / "kept.zip") as archive:
            assert archive.read(f"_components/left/_storage/{name}.txt") == b"of the left"
            described = archive.read("_components/left/_storage/documents.jsonl").splitlines()
            (of_the_app,) = archive.read("_storage/documents.jsonl").splitlines()
        assert len(described) == 2 and "component" not in json.loads(described[0])
        assert json.loads(of_the_app)["size"] == len("of the app")

    async def target(at: Pushing) -> None:
        await at.push(APP, **push)
        state = await load(at, (tmp_path / "kept.zip").read_bytes(), "zip")
        assert state["state"] == "completed", state
        for component, files in kept.items():
            assert await files_of(at, component) == files

        await stored(at, b"later", "left")
        stays = await stored(at, b"stays", "right")
        with zipfile.ZipFile(tmp_path / "kept.zip") as archive:
            of_the_left = files_in(archive, "_components/left/")
        state = await load(at, of_the_left, "zip", mode="replace", component="left")
        assert state["state"] == "completed", state
        assert await files_of(at, "left") == kept["left"]
        assert await files_of(at, "") == kept[""]
        assert await files_of(at, "right") == {(stays, b"stays")}

        taken = await load(at, of_the_left, "zip", mode="append", component="right")
        assert taken["state"] == "failed" and "already" in taken["error_message"]

        whole = (tmp_path / "kept.zip").read_bytes()
        state = await load(at, whole, "zip", mode="replaceAll")
        assert state["state"] == "completed", state
        assert await files_of(at, "right") == set()

    tell(source)
    forget_all(tmp_path)
    tell(target)


def files_in(archive: zipfile.ZipFile, folder: str) -> bytes:
    """What is in a folder of a ZIP, as a ZIP."""
    part = io.BytesIO()
    with zipfile.ZipFile(part, "w") as written:
        for name in archive.namelist():
            if name.startswith(folder):
                written.writestr(name.removeprefix(folder), archive.read(name))
    return part.getvalue()
