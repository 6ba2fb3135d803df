"""HTTP actions over real sockets: in the server's process, and in action workers."""

from __future__ import annotations

import json
import os
import socket
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from cupola.backend import Backend
from cupola.errors import SchemaError
from cupola.functions.app import App, load_app
from cupola.functions.http import Route, Routes
from cupola.limits import Limits
from cupola.persistence.sqlite import SqlitePersistence

from .conftest import RunningServer

HTTP = """
import asyncio
import os
from cupola import ApplicationError, HttpCtx, Request, Response, http_action

@http_action("GET", "/echo")
async def show(ctx: HttpCtx, request: Request) -> Response:
    return Response.json({
        "method": request.method, "url": request.url, "path": request.path,
        "query": request.query, "test": request.headers.get("X-Test"),
    }, headers={"X-Made-By": "test"})

@http_action("POST", "/echo")
async def echo(ctx: HttpCtx, request: Request) -> Response:
    return Response(await request.body(), 201, {"Content-Type": request.headers["content-type"]})

@http_action("POST", "/count")
async def count(ctx: HttpCtx, request: Request) -> Response:
    size = 0
    async for part in request:
        size += len(part)
    return Response(str(size))

@http_action("POST", "/notes")
async def add(ctx: HttpCtx, request: Request) -> Response:
    await ctx.run_mutation("notes:add", text=await request.text())
    return Response(status=204)

@http_action("GET", "/notes")
async def notes(ctx: HttpCtx, request: Request) -> Response:
    return Response.json(await ctx.run_query("notes:all"))

@http_action("GET", "/files/*")
async def below(ctx: HttpCtx, request: Request) -> Response:
    return Response("below " + request.path)

@http_action("GET", "/files/deep/*")
async def deep(ctx: HttpCtx, request: Request) -> Response:
    return Response("deep " + request.path)

@http_action("GET", "/files/exact")
async def exact(ctx: HttpCtx, request: Request) -> Response:
    return Response("exact")

@http_action("GET", "/slowly")
async def slowly(ctx: HttpCtx, request: Request) -> Response:
    async def parts():
        yield "first\\n"
        while not await ctx.run_query("notes:all"):
            await asyncio.sleep(0.01)
        yield b"second\\n"
    return Response(parts(), headers=[("X-A", "1"), ("X-A", "2")])

@http_action("GET", "/endless")
async def endless(ctx: HttpCtx, request: Request) -> Response:
    async def parts():
        try:
            while True:
                yield bytes(1000)
                await asyncio.sleep(0.001)
        finally:
            await asyncio.shield(ctx.run_mutation("notes:add", text="ended"))
    return Response(parts())

@http_action("GET", "/waits")
async def waits(ctx: HttpCtx, request: Request) -> Response:
    try:
        await ctx.run_mutation("notes:add", text="began")
        await asyncio.sleep(60)
    finally:
        await asyncio.shield(ctx.run_mutation("notes:add", text="ended"))

@http_action("GET", "/large")
async def large(ctx: HttpCtx, request: Request) -> Response:
    async def parts():
        for _ in range(100):
            yield bytes(100_000)
    return Response(parts())

@http_action("GET", "/announced")
async def announced(ctx: HttpCtx, request: Request) -> Response:
    async def parts():
        yield "much more than announced"
    return Response(parts(), headers={"Content-Length": "4"})

@http_action("GET", "/status/*")
async def with_status(ctx: HttpCtx, request: Request) -> Response:
    return Response("as asked", int(request.path.removeprefix("/status/")))

@http_action("GET", "/broken")
async def broken(ctx: HttpCtx, request: Request) -> Response:
    raise ValueError("no idea")

@http_action("GET", "/refuses")
async def refuses(ctx: HttpCtx, request: Request) -> Response:
    raise ApplicationError({"code": 7})

@http_action("GET", "/cut")
async def cut(ctx: HttpCtx, request: Request) -> Response:
    async def parts():
        yield "half"
        raise ValueError("then nothing")
    return Response(parts())

class Speechless(Exception):
    def __str__(self):
        raise self

@http_action("GET", "/cut-without-a-word")
async def cut_without_a_word(ctx: HttpCtx, request: Request) -> Response:
    async def parts():
        yield "half"
        raise Speechless
    return Response(parts())

@http_action("GET", "/nothing")
async def nothing(ctx: HttpCtx, request: Request) -> Response:
    return {"not": "a response"}

@http_action("GET", "/splits")
async def splits(ctx: HttpCtx, request: Request) -> Response:
    return Response(headers={"X-A": "1\\r\\nSet-Cookie: x=1"})

@http_action("GET", "/who")
async def who(ctx: HttpCtx, request: Request) -> Response:
    identity = ctx.auth.get_user_identity()
    return Response.json(identity and identity["subject"])

@http_action("GET", "/webhook")
async def webhook(ctx: HttpCtx, request: Request) -> Response:
    return Response(request.headers["Authorization"])

@http_action("POST", "/later")
async def later(ctx: HttpCtx, request: Request) -> Response:
    return Response(await ctx.scheduler.run_after(0, "notes:add", text=await request.text()))

@http_action("OPTIONS", "/echo")
async def preflight(ctx: HttpCtx, request: Request) -> Response:
    return Response(status=204, headers={"Access-Control-Allow-Origin": "https://a.example"})

@http_action("GET", "/process")
async def process(ctx: HttpCtx, request: Request) -> Response:
    return Response(str(os.getpid()))
"""
NOTES = """
from collections.abc import Sequence
from cupola import MutationCtx, QueryCtx, mutation, query

@mutation
def add(ctx: MutationCtx, text: str) -> None:
    ctx.db.insert("notes", {"text": text})

@query
def all(ctx: QueryCtx) -> Sequence[str]:
    return [note["text"] for note in ctx.db.query("notes").collect()]

@mutation
def sign_in(ctx: MutationCtx, name: str) -> str:
    return ctx.auth.issue_token(name)
"""


def write_app(folder: Path, http: str = HTTP) -> Path:
    (folder / "functions").mkdir(parents=True)
    (folder / "functions" / "http.py").write_text(textwrap.dedent(http))
    (folder / "functions" / "notes.py").write_text(NOTES)
    return folder


class Site:
    """A deployment with HTTP actions, as its clients see it."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self.http = httpx.Client(base_url=server.server.site_url or "", timeout=20)
        self.api = httpx.Client(base_url=server.url, timeout=20)

    def notes(self) -> list[str]:
        return list(self.http.get("/notes").json())


@pytest.fixture(params=["in process", "in workers"])
def serve(
    request: pytest.FixtureRequest, start_server: Callable[..., RunningServer], tmp_path: Path
) -> Iterator[Callable[..., Site]]:
    sites: list[Site] = []

    def start(limits: Limits | None = None) -> Site:
        app = load_app(write_app(tmp_path / "app"))
        settings = {"limits": limits or Limits(), "instance_name": "carnitas"}

        def make_backend() -> Backend:
            if request.param == "in process":
                backend = Backend(**settings)
            else:
                file = os.fspath(tmp_path / "data.sqlite3")
                backend = Backend(SqlitePersistence(file), **settings)
                backend.use_workers(file)
            backend.deploy_now(app)
            return backend

        sites.append(Site(start_server(make_backend=make_backend)))
        return sites[-1]

    yield start
    for site in sites:
        site.http.close()
        site.api.close()


@pytest.fixture
def site(serve: Callable[..., Site]) -> Site:
    return serve()


# ------------------------------------------------------------------------------------- round trips


def test_a_request_arrives_whole_and_so_does_its_answer(site: Site) -> None:
    """URL, headers and status are those of client and app; the API's own port has them too."""
    for client, prefix in ((site.http, ""), (site.api, "/http")):
        asked = f"{prefix}/echo?a=1&b=%20x"
        answer = client.get(asked, headers={"X-Test": "t", "Host": "app.example"})
        assert answer.status_code == 200
        assert answer.headers["x-made-by"] == "test"
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == {
            "method": "GET",
            "url": "http://app.example/echo?a=1&b=%20x",
            "path": "/echo",
            "query": {"a": "1", "b": " x"},
            "test": "t",
        }


@pytest.mark.parametrize(
    "headers", [{"X-Forwarded-Proto": "https"}, {"Forwarded": 'for=1;proto="https"'}]
)
def test_behind_a_proxy_the_url_has_the_scheme_of_the_client(
    site: Site, headers: dict[str, str]
) -> None:
    url = site.http.get("/echo", headers={**headers, "Host": "a.example"}).json()["url"]
    assert url == "https://a.example/echo"


def test_bodies_pass_both_ways(site: Site) -> None:
    data = bytes(range(256)) * 5000
    answer = site.http.post("/echo", content=data, headers={"Content-Type": "a/b"})
    assert (answer.status_code, answer.headers["content-type"]) == (201, "a/b")
    assert answer.content == data
    assert answer.headers["content-length"] == str(len(data))
    counted = site.http.post("/count", content=iter([data] * 10))
    assert counted.text == str(10 * len(data))


def test_a_post_without_a_body_is_one_with_an_empty_body(site: Site) -> None:
    """As `curl -X POST` sends it: neither a length nor chunks."""
    port = site.server.server.site_port
    with socket.create_connection(("127.0.0.1", port), timeout=20) as peer:
        peer.sendall(b"POST /count HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: peer.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n0")


def test_an_http_action_reaches_the_data_and_its_writes_are_seen(site: Site) -> None:
    assert site.http.post("/notes", content="hello").status_code == 204
    assert site.notes() == ["hello"]


def test_a_streamed_answer_arrives_while_it_is_made(site: Site) -> None:
    """The second part waits for a note, which is added only when the first one has arrived."""
    with site.http.stream("GET", "/slowly") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "first"
        with httpx.Client(base_url=site.http.base_url) as other:
            other.post("/notes", content="go on")
        assert list(lines) == ["second"]
        assert answer.headers.get_list("x-a") == ["1", "2"]


# ------------------------------------------------------------------------------------------ routes


@pytest.mark.parametrize(
    ("path", "text"),
    [("/files/exact", "exact"), ("/files/other", "below /files/other"),
     ("/files/", "below /files/"), ("/files/deep/er", "deep /files/deep/er"),
     ("/files/a%2Fb", "below /files/a%2Fb")],
)  # fmt: skip
def test_exact_paths_come_first_and_then_the_longest_prefix(
    site: Site, path: str, text: str
) -> None:
    assert site.http.get(path).text == text


@pytest.mark.parametrize("path", ["/", "/files", "/echo/", "/other", "/http/echo"])
def test_no_route_is_a_plain_404(site: Site, path: str) -> None:
    answer = site.http.get(path)
    assert (answer.status_code, answer.text) == (404, "No matching routes found")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_head_is_answered_by_get_without_the_body(site: Site) -> None:
    answer = site.http.head("/files/exact")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == "5"
    assert site.http.head("/count").status_code == 404, "it has no GET"


def test_other_methods_are_refused(site: Site) -> None:
    assert site.http.request("TRACE", "/echo").status_code == 405
    assert site.http.delete("/echo").status_code == 404


def test_cors_is_the_apps_business(site: Site) -> None:
    preflight = site.http.options("/echo", headers={"Origin": "https://b.example"})
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "https://a.example"
    answer = site.api.get("/http/echo", headers={"Origin": "https://b.example"})
    assert "access-control-allow-origin" not in answer.headers


def test_an_app_without_routes_says_so(
    start_server: Callable[..., RunningServer], tmp_path: Path
) -> None:
    def make_backend() -> Backend:
        backend = Backend()
        backend.deploy_now(App({}, {}))
        return backend

    server = start_server(make_backend=make_backend)
    for url in (f"{server.server.site_url}/x", f"{server.url}/http/x"):
        answer = httpx.get(url)
        assert answer.status_code == 404
        assert answer.text == "This Convex deployment does not have HTTP actions enabled."


# ------------------------------------------------------------------------------------------ errors


def test_an_error_before_the_answer_is_told_as_json(site: Site) -> None:
    answer = site.http.get("/broken", headers={"Convex-Request-Id": "r1"})
    assert answer.status_code == 500
    body = answer.json()
    assert body["code"] == "[Request ID: r1] Server Error: ValueError: no idea"
    assert "functions/http.py" in body["trace"]
    assert "data" not in body


def test_the_data_of_an_application_error_is_sent(site: Site) -> None:
    assert site.http.get("/refuses").json()["data"] == {"code": 7.0}


@pytest.mark.parametrize("path", ["/cut", "/cut-without-a-word"])
def test_an_error_after_the_head_ends_the_answer(site: Site, path: str) -> None:
    answer = site.http.get(path)
    assert (answer.status_code, answer.text) == (200, "half")


@pytest.mark.parametrize("path", ["/nothing", "/splits"])
def test_what_is_no_response_is_an_error(site: Site, path: str) -> None:
    answer = site.http.get(path)
    assert answer.status_code == 500
    assert "set-cookie" not in answer.headers


def test_more_than_was_announced_is_not_sent(site: Site) -> None:
    """Otherwise the rest would be taken for the next answer of the connection."""
    assert site.http.get("/announced").text == "much"
    assert site.http.get("/files/exact").text == "exact"


@pytest.mark.parametrize("status", [299, 450, 520, 599])
def test_a_status_may_be_one_that_has_no_name(site: Site, status: int) -> None:
    answer = site.http.get(f"/status/{status}")
    assert (answer.status_code, answer.text) == (status, "as asked")


def test_a_client_of_http_1_0_is_sent_no_chunks(site: Site) -> None:
    """The end of the connection is that of the body."""
    port = site.server.server.site_port
    with socket.create_connection(("127.0.0.1", port), timeout=20) as peer:
        peer.sendall(b"GET /large HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        answer = b"".join(iter(lambda: peer.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert body == bytes(10_000_000)


def test_bodies_are_bounded_both_ways(serve: Callable[..., Site]) -> None:
    site = serve(Limits(http_action_body_bytes_max=1_000_000))
    declared = site.http.post("/count", content=bytes(1_000_001))
    assert (declared.status_code, declared.json()["code"]) == (413, "BodyTooLarge")
    streamed = site.http.post("/count", content=iter([bytes(600_000)] * 2))
    assert (streamed.status_code, streamed.json()["code"]) == (413, "BodyTooLarge")
    assert site.http.post("/count", content=bytes(1_000_000)).text == "1000000"
    assert len(site.http.get("/large").content) == 1_000_000


# -------------------------------------------------------------------------------------- who it is


def test_the_caller_is_known_by_a_token_and_only_if_it_is_asked_for(site: Site) -> None:
    assert site.http.get("/who").json() is None
    basic = {"Authorization": "Basic dXNlcjpwYXNz"}
    assert site.http.get("/webhook", headers=basic).text == basic["Authorization"]
    asked = site.http.get("/who", headers=basic)
    assert asked.status_code == 500
    assert "Server Error" in asked.json()["code"]


def test_an_admin_may_act_as_a_user(site: Site) -> None:
    import base64

    key = site.server.run(site.server.backend.admin_keys.issue)
    identity = base64.b64encode(json.dumps({"issuer": "i", "subject": "ada"}).encode()).decode()
    answer = site.http.get("/who", headers={"Authorization": f"Convex {key}:{identity}"})
    assert answer.json() == "ada"


def test_a_token_that_the_app_issued_says_who_calls(site: Site) -> None:
    call = {"path": "notes:sign_in", "args": {"name": "ada"}}
    token = site.api.post("/api/mutation", json=call).json()["value"]
    answer = site.http.get("/who", headers={"Authorization": f"Bearer {token}"})
    assert answer.json() == "ada"


def test_an_http_action_schedules_functions(site: Site) -> None:
    """So that a webhook is answered at once, and its work is done after."""
    assert site.http.post("/later", content="from a webhook").status_code == 200
    eventually(lambda: site.notes() == ["from a webhook"])


# ---------------------------------------------------------------------------------- clients that go


@pytest.mark.parametrize(
    ("path", "expected"), [("/endless", ["ended"]), ("/waits", ["began", "ended"])]
)
def test_a_client_that_goes_away_ends_the_action(
    site: Site, path: str, expected: list[str]
) -> None:
    """Before the answer as in the middle of it."""
    with socket.create_connection(("127.0.0.1", site.server.server.site_port)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        if path == "/endless":
            connection.recv(10)
        else:
            eventually(lambda: site.notes() == ["began"])
    eventually(lambda: site.notes() == expected)
    site.server.eventually(lambda: site.server.backend.status()["runningActions"] == 0)


def test_in_workers_they_run_in_another_process(site: Site) -> None:
    """So that what they do cannot stop the server."""
    has_workers = site.server.backend.mutations.offload is not None
    assert (site.http.get("/process").text != str(os.getpid())) == has_workers


def eventually(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        threading.Event().wait(0.02)
    raise AssertionError


# --------------------------------------------------------------------------------- the definitions


def test_two_actions_of_one_route_are_refused() -> None:
    routes = [Route("GET", "/a", "one"), Route("GET", "/a", "two")]
    with pytest.raises(SchemaError, match="GET /a is answered by two"):
        Routes(routes)


def test_below_a_mount_nobody_else_answers() -> None:
    """Paths there are the component's, but for exact ones of the app (function runtime, 16)."""
    routes = Routes(
        [
            Route("GET", "/*", "app"),
            Route("GET", "/box/status", "status"),
            Route("GET", "/box/items/*", "items"),
            Route("POST", "/box/inner/*", "inner"),
        ],
        ["/box/", "/box/inner/", "/empty/"],
    )
    found = {
        path: routes.find("GET", path)
        for path in (
            "/other",
            "/box",
            "/box/status",
            "/box/items/1",
            "/box/none",
            "/empty/",
            "/boxes",
        )
    }
    assert found == {
        "/other": "app",
        "/box": "app",
        "/box/status": "status",
        "/box/items/1": "items",
        "/box/none": None,
        "/empty/": None,
        "/boxes": "app",
    }
    assert routes.find("GET", "/box/inner/1") is None
    assert routes.find("POST", "/box/inner/1") == "inner"
    assert Routes([], ["/box/"])


@pytest.mark.parametrize(
    "decorator",
    ['"HEAD", "/a"', '"get", "/a"', '"GET", "a"', '"GET", "/a*"', '"GET", ""'],
)
def test_routes_that_cannot_be_fail_the_load(tmp_path: Path, decorator: str) -> None:
    source = f"""
    from cupola import http_action
    @http_action({decorator})
    async def f(ctx, request): ...
    """
    with pytest.raises(SchemaError):
        load_app(write_app(tmp_path, source))


def test_a_paused_deployment_answers_no_request(site: Site) -> None:
    """Until it is resumed: whoever calls a webhook hears that it may work later."""
    key = site.server.backend.admin_keys.issue()
    admin = {"authorization": f"Convex {key}"}
    assert site.api.post("/api/v1/pause_deployment", headers=admin).status_code == 200
    answer = site.http.get("/echo")
    assert (answer.status_code, answer.json()["code"]) == (503, "BackendIsNotRunning")
    assert site.api.post("/api/v1/unpause_deployment", headers=admin).status_code == 200
    assert site.http.get("/echo").status_code == 200
