"""The same server in front of the real engine: what the fake backend cannot promise."""

import base64
import json
import textwrap
import threading

import httpx
import pytest

from cupola.backend import Backend
from cupola.functions.app import load_app

JSON = {"Content-Type": "application/json", "Convex-Client": "npm-1.48.0"}

FUNCTIONS = """
from collections.abc import Sequence
from cupola import (
    ActionCtx, ApplicationError, Id, Int64, MutationCtx, QueryCtx, Table,
    action, internal_mutation, mutation, query,
)

class Note(Table, name="notes", indexes={"by_text": ["text"]}):
    text: str

@query
def all(ctx: QueryCtx) -> Sequence[Note]:
    return ctx.db.query(Note).collect()

@query
def count(ctx: QueryCtx) -> int:
    return len(ctx.db.query(Note).collect())

@query
def big(ctx: QueryCtx, number: Int64) -> Int64:
    return Int64(number + 1)

@query
def who(ctx: QueryCtx) -> str | None:
    identity = ctx.auth.get_user_identity()
    return identity and identity["tokenIdentifier"]

@mutation
def add(ctx: MutationCtx, text: str) -> Id[Note]:
    print("adding", text)
    return ctx.db.insert(Note(text=text))

@mutation
def refuse(ctx: MutationCtx) -> None:
    ctx.db.insert(Note(text="never"))
    raise ApplicationError({"code": "Full"})

@internal_mutation
def hidden(ctx: MutationCtx) -> str:
    return "seen"

@action
async def twice(ctx: ActionCtx, text: str) -> int:
    await ctx.run_mutation("notes:add", text=text)
    await ctx.run_mutation("notes:add", text=text)
    return await ctx.run_query("notes:count")
"""


@pytest.fixture
def server(start_server, tmp_path):
    folder = tmp_path / "functions"
    folder.mkdir()
    (folder / "notes.py").write_text(textwrap.dedent(FUNCTIONS))

    def make_backend() -> Backend:
        backend = Backend(instance_name="carnitas", instance_secret=bytes(32))
        backend.deploy_now(load_app(tmp_path))
        return backend

    return start_server(make_backend=make_backend)


def ask(http: httpx.Client, route: str, path: str, args=None, headers=None, **more):
    body = {"path": path, "args": args or {}, **more}
    return http.post(f"/api/{route}", json=body, headers={**JSON, **(headers or {})})


def admin(server, **options) -> dict[str, str]:
    return {"Authorization": f"Convex {server.backend.admin_keys.issue(**options)}"}


def test_a_mutation_is_seen_by_the_next_query(http):
    added = ask(http, "mutation", "notes:add", {"text": "one"}).json()
    assert added["status"] == "success"
    assert added["logLines"] == ["[LOG] 'adding' 'one'"]
    (note,) = ask(http, "query", "notes:all").json()["value"]
    assert (note["_id"], note["text"]) == (added["value"], "one")


def test_an_action_calls_both(http):
    assert ask(http, "action", "notes:twice", {"text": "x"}).json()["value"] == 2.0


def test_an_application_error_keeps_its_data_and_writes_nothing(http):
    answer = ask(http, "mutation", "notes:refuse")
    assert answer.status_code == 200
    assert answer.json()["status"] == "error"
    assert answer.json()["errorData"] == {"code": "Full"}
    assert ask(http, "query", "notes:count").json()["value"] == 0.0


@pytest.mark.parametrize(
    ("format", "value"),
    [
        ("convex_encoded_json", {"$integer": "AQAAAAAAAIA="}),
        ("json", "-9223372036854775807"),
        ("export_json", -9223372036854775807),
        (None, "-9223372036854775807"),
    ],
)
def test_results_come_in_the_format_that_is_asked_for(http, format, value):
    number = {"$integer": base64.b64encode((-(2**63)).to_bytes(8, "little", signed=True)).decode()}
    more = {} if format is None else {"format": format}
    answer = ask(http, "query", "notes:big", {"number": number}, **more)
    assert json.loads(answer.content)["value"] == value


@pytest.mark.parametrize(
    ("route", "path", "args", "text"),
    [
        ("query", "notes:missing", {}, "Could not find public function for 'notes:missing'"),
        ("mutation", "notes:hidden", {}, "Could not find public function for 'notes:hidden'"),
        ("query", "notes:add", {"text": "x"}, "mutation"),
        ("mutation", "notes:add", {}, "ArgumentValidationError"),
        ("mutation", "notes:add", {"text": 1}, "ArgumentValidationError"),
        ("mutation", "notes:add", {"text": "x", "more": 1}, "ArgumentValidationError"),
    ],
)
def test_a_call_that_cannot_work_is_answered_with_200_and_why(http, route, path, args, text):
    answer = ask(http, route, path, args)
    assert answer.status_code == 200
    assert answer.json()["status"] == "error"
    assert text in answer.json()["errorMessage"]
    assert ask(http, "query", "notes:count").json()["value"] == 0.0


def test_a_path_that_is_none_is_a_bad_request(http):
    answer = ask(http, "query", "not a path!")
    assert (answer.status_code, answer.json()["code"]) == (400, "BadConvexFunctionIdentifier")


def test_the_admin_may_call_what_others_may_not(server, http):
    assert ask(http, "function", "notes:hidden", headers=admin(server)).json()["value"] == "seen"
    assert ask(http, "mutation", "notes:hidden", headers=admin(server)).json()["value"] == "seen"
    assert http.post("/api/run/notes/hidden", json={"args": {}}).json()["status"] == "error"


def test_a_read_only_key_reads_only(server, http):
    key = admin(server, read_only=True)
    assert ask(http, "query", "notes:count", headers=key).json()["value"] == 0.0
    for route, path in [("mutation", "notes:hidden"), ("function", "notes:hidden"),
                        ("action", "notes:twice")]:  # fmt: skip
        answer = ask(http, route, path, {"text": "x"} if "twice" in path else {}, headers=key)
        assert answer.status_code == 403, (route, answer.text)


def test_an_admin_acts_as_a_user(server, http):
    user = base64.b64encode(b'{"issuer":"i","subject":"s"}').decode()
    headers = {"Authorization": f"{admin(server)['Authorization']}:{user}"}
    assert ask(http, "query", "notes:who", headers=headers).json()["value"] == "i|s"
    assert ask(http, "query", "notes:who", headers=admin(server)).json()["value"] is None
    assert ask(http, "query", "notes:who").json()["value"] is None


def test_several_queries_agree_about_the_moment(http):
    ask(http, "mutation", "notes:add", {"text": "one"})
    body = {"queries": [{"path": "notes:count", "args": {}}, {"path": "notes:all", "args": {}}]}
    count, notes = http.post("/api/query_batch", json=body, headers=JSON).json()["results"]
    assert count["value"] == len(notes["value"]) == 1
    ts = http.post("/api/query_ts", headers=JSON).json()["ts"]
    assert ask(http, "query_at_ts", "notes:count", ts=ts).json()["value"] == 1.0


def test_a_moment_that_is_still_to_come_is_a_bad_request(http):
    ts = base64.b64encode((2**62).to_bytes(8, "little")).decode()
    answer = ask(http, "query_at_ts", "notes:count", ts=ts)
    assert (answer.status_code, answer.json()["code"]) == (400, "TimestampInFuture")


def test_many_callers_at_once_are_all_answered(server):
    def add() -> None:
        with httpx.Client(base_url=server.url, timeout=20) as http:
            for number in range(20):
                assert ask(http, "mutation", "notes:add", {"text": str(number)}).is_success

    threads = [threading.Thread(target=add) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with httpx.Client(base_url=server.url) as http:
        assert ask(http, "query", "notes:count").json()["value"] == 100.0


def test_a_live_query_follows_a_mutation_over_http(server, http):
    with server.websocket() as peer:
        session = "8d24c6a6-6b2f-4f4e-9d3b-0d2c0a7b9b11"
        peer.send(json.dumps({"type": "Connect", "sessionId": session, "connectionCount": 0,
                              "lastCloseReason": "InitialConnect"}).encode())  # fmt: skip
        add = {"type": "Add", "queryId": 0, "udfPath": "notes:count", "args": [{}]}
        peer.send(json.dumps({"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1,
                              "modifications": [add]}).encode())  # fmt: skip
        first = json.loads(peer.receive_text())
        assert first["modifications"][0]["value"] == 0.0
        ask(http, "mutation", "notes:add", {"text": "one"})
        second = json.loads(peer.receive_text())
        assert second["startVersion"] == first["endVersion"]
        assert second["modifications"][0]["value"] == 1.0


@pytest.mark.parametrize("frame", [b"", b"{", b"[]", b'{"type":"Nonsense"}', b"\xff\xfe", b"null",
                                   b'{"type":"ModifyQuerySet"}', b"[" * 100_000])  # fmt: skip
def test_a_broken_sync_message_ends_in_a_fatal_error(server, frame):
    """And the next client is served as if nothing had happened."""
    with server.websocket() as peer:
        peer.send(frame)
        assert json.loads(peer.receive_text())["type"] == "FatalError"
        assert peer.receive_close().close_code is None
    with server.websocket() as peer:
        assert peer.status == 101
