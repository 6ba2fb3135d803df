"""Paths of the command line that need no JavaScript: keys, bodies, variables, logs."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import brotli
import httpx
import pytest

from cupola.auth import Identity
from cupola.backend import Backend, CallRequest
from cupola.deploy import Deployer
from cupola.functions.app import App as PythonApp
from cupola.functions.app import load_app
from cupola.limits import DEFAULT_LIMITS, Limits
from cupola.server.errors import BodyTooLargeError
from cupola.server.push_bodies import decompressed
from cupola.server.serve import Server, ServerOptions
from cupola.values import Int64, encode

NOTES = """
    import os

    @query
    def variable(ctx: QueryCtx, name: str) -> str | None:
        return os.environ.get(name)

    @mutation
    def say(ctx: MutationCtx, text: str) -> None:
        print(text)
        if text == "audit":
            ctx.audit(action="said")
        if text == "fail":
            raise ValueError("it was asked to")

    @mutation
    def note(ctx: MutationCtx, text: str) -> None:
        ctx.db.insert("notes", {"text": text})

    @mutation
    def later(ctx: MutationCtx, delay: float) -> str:
        return ctx.scheduler.run_after(delay, say, text="later")

    @action
    async def act(ctx: ActionCtx, name: str) -> str | None:
        print("acting")
        return os.environ.get(name)
"""
Story = Callable[["Client"], Awaitable[None]]


class Client:
    """Speaks to a running server as an administrator."""

    def __init__(self, backend: Backend, http: httpx.AsyncClient) -> None:
        self.backend = backend
        self.http = http
        self.key = backend.admin_keys.issue()
        self.headers = {"authorization": f"Convex {self.key}", "convex-client": "npm-cli-1.48.0"}

    async def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        return await self.http.post(path, json=body, headers={**self.headers, **headers})

    async def set(self, **variables: str | None) -> httpx.Response:
        changes = [{"name": name, "value": value} for name, value in variables.items()]
        return await self.post("/api/update_environment_variables", {"changes": changes})

    async def call(self, path: str, **args: Any) -> Any:
        answer = await self.post("/api/function", {"path": path, "args": args})
        return answer.json()

    async def logs(self, cursor: float, **headers: str) -> Any:
        url = f"/api/stream_function_logs?cursor={cursor}"
        return (await self.http.get(url, headers={**self.headers, **headers})).json()


def tell_of(app: Path, story: Story, limits: Limits = DEFAULT_LIMITS) -> None:
    """Run a story against a server on the log in memory."""

    async def main() -> None:
        backend = Backend(limits=limits)
        deployer = Deployer(backend)
        deployer.deploy_python_now(load_app(app))
        options = ServerOptions(port=0, site_port=0, drain_s=1.0)
        async with (
            Server(backend, options, deployer=deployer) as server,
            httpx.AsyncClient(base_url=server.url) as http,
        ):
            await story(Client(backend, http))

    asyncio.run(main())


async def states_of(backend: Backend, path: str) -> list[str]:
    request = CallRequest("query", path, identity=Identity("admin"), visibility="any")
    listed: Any = json.loads((await backend.call(request)).value or b"")
    found = listed if isinstance(listed, list) else [listed]
    return [e["state"] if isinstance(e["state"], str) else e["state"]["state"] for e in found]


def test_what_an_earlier_server_left_unfinished_is_told_at_the_start() -> None:
    """Whoever waits for it would wait until somebody exports or imports again."""
    backend = Backend()
    deployer = Deployer(backend)
    deployer.deploy_python_now(PythonApp({}, {}))
    for path, fields in (
        ("deployment/exports:put", {"state": "in_progress", "start_ts": Int64(5)}),
        ("deployment/imports:put", {"state": {"state": "in_progress"}, "mode": "Append"}),
    ):
        args = encode({"id": None, "fields": fields})
        admin = Identity("admin")
        note = CallRequest("mutation", f"_system/{path}", args, admin, visibility="any")
        backend.submit(note, lambda result: None)
    backend.run_until_idle()

    async def main() -> None:
        async with Server(backend, ServerOptions(port=0), deployer=deployer), asyncio.timeout(20):
            for path in ("cli/exports:getLatest", "cli/queryImport:list"):
                while await states_of(backend, f"_system/{path}") != ["failed"]:
                    await asyncio.sleep(0)

    asyncio.run(main())


@pytest.fixture
def tell(write_app: Callable[..., Path]) -> Callable[..., None]:
    """Runs a story against a server of the app."""

    def run(story: Story, limits: Limits = DEFAULT_LIMITS) -> None:
        tell_of(write_app(notes=NOTES), story, limits)

    return run


def test_only_administrators_come_in(tell: Callable[..., None]) -> None:
    async def story(client: Client) -> None:
        url = "/api/get_config_hashes"
        nobody = await client.http.post(url, json={"version": "1.48.0"})
        assert (nobody.status_code, nobody.json()["code"]) == (403, "BadDeployKey")
        in_body = await client.http.post(url, json={"adminKey": client.key})
        assert in_body.json()["moduleHashes"] == []
        wrong = await client.http.post(url, json={"adminKey": "anonymous|01ff"})
        assert (wrong.status_code, wrong.json()["code"]) == (401, "BadAdminKey")

        client.headers["authorization"] = "Convex " + client.backend.admin_keys.issue(True)
        read_only = await client.set(A="1")
        assert read_only.status_code == 403
        assert "do not have permission to perform this operation" in read_only.json()["message"]

    tell(story)


def test_bodies_may_be_compressed(tell: Callable[..., None]) -> None:
    async def story(client: Client) -> None:
        async def send(body: bytes, encoding: str = "br") -> httpx.Response:
            headers = {**client.headers, "content-encoding": encoding}
            url = "/api/get_config_hashes"
            return await client.http.post(url, content=body, headers=headers)

        assert (await send(brotli.compress(b'{"version":"1.48.0"}'))).status_code == 200
        assert (await send(brotli.compress(b" " * 900 + b"{}")[:-3])).json()["code"] == (
            "BadContentEncoding"
        )
        assert (await send(b"{}", "gzip")).json()["code"] == "BadContentEncoding"
        bomb = await send(brotli.compress(b" " * 2_000_000))
        assert (bomb.status_code, bomb.json()["code"]) == (413, "BodyTooLarge")

    tell(story, Limits(push_size_bytes_max=1_000_000))


def test_a_bomb_is_never_held_whole() -> None:
    bomb = brotli.compress(b"0" * 200_000_000, quality=4)
    assert len(bomb) < 100_000
    with pytest.raises(BodyTooLargeError):
        decompressed(bomb, 10_000_000)


def test_variables_reach_functions_at_once_and_last(tell: Callable[..., None]) -> None:
    async def story(client: Client) -> None:
        assert (await client.call("notes:variable", name="COLOUR"))["value"] is None
        assert (await client.set(COLOUR="blue", SHAPE="round")).status_code == 200
        assert (await client.call("notes:variable", name="COLOUR"))["value"] == "blue"
        listed = await client.http.get("/api/v1/list_environment_variables", headers=client.headers)
        assert listed.json() == {"environmentVariables": {"COLOUR": "blue", "SHAPE": "round"}}

        refused = await client.set(COLOUR="red", **{"no name": "1"})
        assert refused.json()["code"] == "EnvironmentVariableNameInvalid"
        assert (await client.set(SHAPE=None)).status_code == 200
        assert Deployer(client.backend).variables == {"COLOUR": "blue"}
        url = (await client.call("notes:variable", name="CONVEX_CLOUD_URL"))["value"]
        assert url == str(client.http.base_url)

    tell(story)


def test_logs_are_told_from_the_cursor_on(tell: Callable[..., None]) -> None:
    async def story(client: Client) -> None:
        empty = await client.logs(0)
        assert empty["entries"] == [] and empty["newCursor"] > 0
        waiting = asyncio.create_task(client.logs(empty["newCursor"]))
        await client.call("notes:say", text="hello")
        told = await waiting
        (entry,) = told["entries"]
        assert (entry["kind"], entry["udfType"], entry["identifier"]) == (
            "Completion",
            "Mutation",
            "notes:say",
        )
        (line,) = entry["logLines"]
        assert (line["level"], line["messages"]) == ("LOG", ["'hello'"])
        assert abs(line["timestamp"] - entry["timestamp"] * 1000) < 1000

        await client.call("notes:say", text="fail")
        (failed,) = (await client.logs(told["newCursor"]))["entries"]
        assert "it was asked to" in failed["error"]
        both = await client.logs(0, **{"convex-client": "python-1.0"})
        assert [entry["logLines"] for entry in both["entries"]] == [
            ["[LOG] 'hello'"],
            ["[LOG] 'fail'"],
        ]

    tell(story)


def test_logs_are_kept_up_to_a_size(
    tell: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few executions may say very much."""
    monkeypatch.setattr("cupola.server.function_logs._KEPT_CHARACTERS_MAX", 50_000)

    async def story(client: Client) -> None:
        await client.logs(0)
        for letter in "abcd":
            await client.call("notes:say", text=letter * 20_000)
        told = [entry["logLines"][0]["messages"][0] for entry in (await client.logs(0))["entries"]]
        assert told == ["'" + letter * 20_000 + "'" for letter in "cd"]

    tell(story)


def test_audit_logs_are_lines_of_their_own_kind(tell: Callable[..., None]) -> None:
    async def story(client: Client) -> None:
        await client.logs(0)
        answer = await client.call("notes:say", text="audit")
        assert answer["logLines"] == ["[LOG] 'audit'"]
        (entry,) = (await client.logs(0))["entries"]
        assert entry["logLines"][1]["messages"] == ['{"action":"said"}']
        assert entry["logLines"][1]["systemMetadata"] == {"code": "info:auditLog"}
        older = await client.http.get("/api/stream_udf_execution?cursor=0", headers=client.headers)
        assert older.json()["entries"][0]["logLines"][1] == '[AUDIT] {"action":"said"}'

    tell(story)


def test_a_server_that_stops_lets_those_who_wait_for_logs_go(tell: Callable[..., None]) -> None:
    async def story(client: Client) -> None:
        cursor = (await client.logs(0))["newCursor"]
        waiting = asyncio.create_task(client.logs(cursor))
        while client.backend.node.watchers == []:
            await asyncio.sleep(0)
        client.backend.drain()
        assert (await waiting)["entries"] == []

    tell(story)


def test_scheduled_functions_are_canceled(tell: Callable[..., None]) -> None:
    """One by its id, and all that wait."""

    async def story(client: Client) -> None:
        jobs = [await client.call("notes:later", delay=3600) for _ in range(3)]
        first = jobs[0]["value"]
        assert (await client.post("/api/cancel_job", {"id": first})).status_code == 200
        waiting = "_system/frontend/paginatedScheduledJobs:default"
        page = (await client.call(waiting))["value"]["page"]
        assert first not in [job["_id"] for job in page]
        assert len(page) == 2
        answer = await client.post("/api/cancel_all_jobs", {"udfPath": "notes:say"})
        assert answer.status_code == 200
        assert (await client.call(waiting))["value"]["page"] == []
        assert (await client.post("/api/cancel_job", {"id": "nonsense"})).status_code == 400

    tell(story)


def test_scheduled_functions_of_some_time_are_canceled(tell: Callable[..., None]) -> None:
    """From one page's entry to before another's, exactly."""

    async def story(client: Client) -> None:
        waiting = "_system/frontend/paginatedScheduledJobs:default"

        async def due() -> list[str]:
            page = (await client.call(waiting))["value"]["page"]
            return [job["_id"] for job in page]

        for delay in (3600, 3600.0007, 7200, 9000, 9000.0003):
            await client.call("notes:later", delay=delay)
        jobs = await due()
        encoded = {"path": waiting, "args": {}, "format": "convex_encoded_json"}
        page = (await client.post("/api/function", encoded)).json()["value"]["page"]
        times = [
            int.from_bytes(base64.b64decode(job["nextTs"]["$integer"]), "little") for job in page
        ]
        body = {"startNextTs": times[1], "endNextTs": times[3]}
        assert (await client.post("/api/cancel_all_jobs", body)).status_code == 200
        assert await due() == [jobs[0], *jobs[3:]]
        history = "_system/frontend/listDeploymentEventsFromTime:default"
        noted = (await client.call(history, fromTimestamp=0))["value"][-1]["metadata"]
        assert (noted["start_next_ts"], noted["end_next_ts"]) == (str(times[1]), str(times[3]))
        after = {"startNextTs": times[4]}
        assert (await client.post("/api/cancel_all_jobs", after)).status_code == 200
        assert await due() == [jobs[0], jobs[3]]
        backwards = {"startNextTs": times[4], "endNextTs": times[0]}
        assert (await client.post("/api/cancel_all_jobs", backwards)).status_code == 200
        assert await due() == [jobs[0], jobs[3]]
        for bad in (-1, "soon", 2**63):
            answer = await client.post("/api/cancel_all_jobs", {"endNextTs": bad})
            assert (answer.status_code, answer.json()["code"]) == (400, "BadJsonBody")
            assert "endNextTs" in answer.json()["message"]
        assert len(await due()) == 2

    tell(story)


def test_data_are_deleted_as_a_whole_by_those_who_may(tell: Callable[..., None]) -> None:
    async def story(client: Client) -> None:
        await client.call("notes:note", text="one")
        refused = await client.post("/api/delete_component", {"componentId": "nobody"})
        assert (refused.status_code, refused.json()["code"]) == (400, "ComponentNotFound")
        reader = f"Convex {client.backend.admin_keys.issue(read_only=True)}"
        body = {"tableNames": ["notes"], "componentId": None}
        answer = await client.post("/api/delete_tables", body, authorization=reader)
        assert answer.status_code == 403
        assert (await client.post("/api/delete_tables", body)).status_code == 200
        size = await client.call("_system/frontend/tableSize:default", tableName="notes")
        assert size["value"] == 0

    tell(story)


def test_all_scheduled_functions_are_forgotten(tell: Callable[..., None]) -> None:
    """Those that wait never run, and no document tells of the others."""

    async def story(client: Client) -> None:
        for _ in range(3):
            await client.call("notes:later", delay=3600)
        assert (await client.post("/api/delete_scheduled_functions_table", {})).status_code == 200
        options = {"numItems": 10, "cursor": None}
        page = await client.call(
            "_system/cli/tableData:default", table="_scheduled_functions", paginationOpts=options
        )
        assert page["value"]["page"] == []
        assert client.backend.scheduler.next_due_ns is None

    tell(story)


class Channel:
    """The end of a sync connection that waits for one answer."""

    def __init__(self) -> None:
        self.answered = asyncio.Event()

    def send(self, *frames: Any) -> None:
        if any(b"MutationResponse" in bytes(frame) for frame in frames):
            self.answered.set()

    def close(self, code: int | None, reason: str) -> None:
        pass


def test_logs_are_told_of_one_request_of_one_session(tell: Callable[..., None]) -> None:
    """Whoever made it knows the session and its number, and finds what it logged."""

    async def story(client: Client) -> None:
        await client.logs(0)
        await client.call("notes:say", text="of somebody else")
        session = "6d5f7f3e-5b53-4a60-8d2a-0e8a8f7c1f11"
        channel = Channel()
        host = client.backend.open_session(channel)
        opening = {"type": "Connect", "sessionId": session, "connectionCount": 0}
        host.receive(json.dumps({**opening, "lastCloseReason": "InitialConnect"}).encode())
        call = {"type": "Mutation", "requestId": 7, "udfPath": "notes:say"}
        host.receive(json.dumps({**call, "args": [{"text": "mine"}]}).encode())
        await channel.answered.wait()
        url = f"/api/stream_function_logs?cursor=0&sessionId={session}&clientRequestCounter="
        answer = (await client.http.get(url + "7", headers=client.headers)).json()
        (entry,) = answer["entries"]
        assert entry["logLines"][0]["messages"] == ["'mine'"]
        assert (entry["caller"], entry["identityType"]) == ("SyncWorker", "unknown")
        other = (await client.http.get(url + "8", headers=client.headers)).json()
        assert other["entries"] == []
        wrong = await client.http.get(url + "x", headers=client.headers)
        assert (wrong.status_code, wrong.json()["code"]) == (400, "BadQueryArgs")

        older = await client.http.get("/api/stream_udf_execution?cursor=0", headers=client.headers)
        lines = [line for entry in older.json()["entries"] for line in entry["logLines"]]
        assert lines == ["[LOG] 'of somebody else'", "[LOG] 'mine'"]
        first = older.json()["entries"][0]
        assert (first["caller"], first["identityType"]) == ("HttpApi", "instance_admin")

    tell(story)
