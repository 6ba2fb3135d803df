"""The HTTP API as a table of requests and answers, against a real socket."""

# ruff: noqa: E501 - one row of the table is one line where that can be

import base64
import contextlib
import json
import select
import socket
from typing import Any

import httpx
import pytest

from cupola.auth import AdminKeys
from cupola.limits import Limits
from cupola.server.http_protocol import HttpProtocol

from .fake_backend import FakeBackend

JSON = {"Content-Type": "application/json"}
CALL = b'{"path":"test:echo","args":{"a":1.0},"format":"convex_encoded_json"}'
INT64 = b'{"n":{"$integer":"BQAAAAAAAAA="}}'
KEYS = AdminKeys("carnitas", bytes(32))
ADMIN = {"Authorization": f"Convex {KEYS.issue()}"}
READ_ONLY = {"Authorization": f"Convex {KEYS.issue(read_only=True)}"}


def call(path: str = "test:echo", args: Any = None, **more: Any) -> bytes:
    return json.dumps({"path": path, "args": {} if args is None else args, **more}).encode()


def success(value: bytes) -> bytes:
    return b'{"status":"success","value":%b,"logLines":[]}' % value


GOLDEN = [
    # name, method, path, headers, body, status, body (or code of the error)
    ("query", "POST", "/api/query", {}, CALL, 200, success(b'{"a":1.0}')),
    ("mutation", "POST", "/api/mutation", {}, CALL, 200, success(b'{"a":1.0}')),
    ("action", "POST", "/api/action", {}, CALL, 200, success(b'{"a":1.0}')),
    ("a call that ends later", "POST", "/api/mutation", {}, call("test:later", {}), 200, success(b"{}")),
    ("array of one", "POST", "/api/query", {}, call(args=[{}]), 200, success(b"{}")),
    ("array of none", "POST", "/api/query", {}, call(args=[]), 200, success(b"{}")),
    ("array of two", "POST", "/api/query", {}, call(args=[{}, {}]), 400, "BadJsonBody"),
    ("array of a number", "POST", "/api/query", {}, call(args=[1]), 400, "BadJsonBody"),
    ("args a number", "POST", "/api/query", {}, call(args=1), 400, "BadJsonBody"),
    ("args a text", "POST", "/api/query", {}, call(args="x"), 400, "BadJsonBody"),
    ("no args", "POST", "/api/query", {}, b'{"path":"m:f"}', 400, "BadJsonBody"),
    ("no path", "POST", "/api/query", {}, b'{"args":{}}', 400, "BadJsonBody"),
    ("path a number", "POST", "/api/query", {}, b'{"path":1,"args":{}}', 400, "BadJsonBody"),
    ("not JSON", "POST", "/api/query", {}, b"{", 400, "BadJsonBody"),
    ("nothing", "POST", "/api/query", {}, b"", 400, "BadJsonBody"),
    ("an array", "POST", "/api/query", {}, b"[]", 400, "BadJsonBody"),
    ("not UTF-8", "POST", "/api/query", {}, b'{"path":"m:\xff","args":{}}', 400, "BadJsonBody"),
    ("args not UTF-8", "POST", "/api/query", {}, b'{"path":"m:f","args":{"a":"\xff"}}', 400, "BadJsonBody"),
    ("nested too deeply", "POST", "/api/query", {},
     b'{"path":"m:f","args":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "BadJsonBody"),
    ("text after JSON", "POST", "/api/query", {}, CALL + b"x", 400, "BadJsonBody"),
    ("no content type", "POST", "/api/query", {"Content-Type": ""}, CALL, 400, "BadJsonBody"),
    ("form", "POST", "/api/query", {"Content-Type": "text/plain"}, CALL, 400, "BadJsonBody"),
    ("charset", "POST", "/api/query", {"Content-Type": "application/json; charset=utf-8"}, CALL, 200,
     success(b'{"a":1.0}')),
    ("a JSON type", "POST", "/api/query", {"Content-Type": "application/x+json"}, CALL, 200,
     success(b'{"a":1.0}')),
    # formats
    ("encoded", "POST", "/api/query", {}, b'{"path":"m:f","args":%b,"format":"convex_encoded_json"}' % INT64,
     200, success(INT64)),
    ("encoded, old name", "POST", "/api/query", {}, b'{"path":"m:f","args":%b,"format":"convex_json"}' % INT64,
     200, success(INT64)),
    ("clean", "POST", "/api/query", {}, b'{"path":"m:f","args":%b,"format":"json"}' % INT64, 200,
     success(b'{"n":"5"}')),
    ("export", "POST", "/api/query", {}, b'{"path":"m:f","args":%b,"format":"export_json"}' % INT64, 200,
     success(b'{"n":5}')),
    ("default is clean", "POST", "/api/query", {}, b'{"path":"m:f","args":%b}' % INT64, 200,
     success(b'{"n":"5"}')),
    ("default of an old client", "POST", "/api/query", {"Convex-Client": "npm-1.4.0"},
     b'{"path":"m:f","args":%b}' % INT64, 200, success(INT64)),
    ("unknown format", "POST", "/api/query", {}, call(format="xml"), 400, "BadFormat"),
    # failures of functions, and of the way to them
    ("failure", "POST", "/api/query", {"Convex-Request-Id": "5c"}, call("test:fail"), 200,
     b'{"status":"error","errorMessage":"[Request ID: 5c] Server Error","errorData":{"n":"5"},'
     b'"logLines":["[LOG] \'h\'"]}'),
    ("missing function", "POST", "/api/query", {}, call("test:missing"), 200,
     b'{"status":"error","errorMessage":"Could not find public function for \'test:missing\'.","logLines":[]}'),
    ("wrong type", "POST", "/api/query", {}, call("test:wrongtype"), 200,
     b'{"status":"error","errorMessage":"is a query","logLines":[]}'),
    ("overload", "POST", "/api/mutation", {}, call("test:overloaded"), 503, "TooManyConcurrentMutations"),
    ("conflict", "POST", "/api/mutation", {}, call("test:conflict"), 503,
     "OptimisticConcurrencyControlFailure"),
    ("bad path", "POST", "/api/query", {}, call("test:path"), 400, "BadConvexFunctionIdentifier"),
    ("arguments no JSON", "POST", "/api/query", {}, call("test:badjson"), 400, "BadJsonBody"),
    ("our bug", "POST", "/api/query", {}, call("test:internal"), 500, "InternalServerError"),
    # who calls
    ("client", "POST", "/api/query", {"Convex-Client": "python-0.8.1-a0"}, CALL, 200, success(b'{"a":1.0}')),
    ("client without a dash", "POST", "/api/query", {"Convex-Client": "curl"}, CALL, 400,
     "InvalidClientVersion"),
    ("bad key", "POST", "/api/query", {"Authorization": "Convex nonsense"}, CALL, 401, "BadAdminKey"),
    ("JWT", "POST", "/api/query", {"Authorization": "Bearer a.b.c"}, CALL, 401, "InvalidAuthHeader"),
    ("JWT of nobody we know", "POST", "/api/query", {"Authorization": "Bearer eyJhbGciOiJSUzI1NiJ9."
     "eyJpc3MiOiJodHRwczovL3guZXhhbXBsZSIsInN1YiI6ImFkYSJ9.x"}, CALL, 401, "NoAuthProvider"),
    ("basic auth", "POST", "/api/query", {"Authorization": "Basic YTpi"}, CALL, 400, "InvalidAdminKey"),
    ("short header", "POST", "/api/query", {"Authorization": "x"}, CALL, 400, "InvalidHeaderFailure"),
    # by URL
    ("GET", "GET", "/api/query?path=m:f&args=%7B%22a%22%3A1%7D&format=convex_encoded_json", {}, b"", 200,
     success(b'{"a":1}')),
    ("GET without path", "GET", "/api/query?args={}", {}, b"", 400, "BadQueryArgs"),
    ("GET with broken args", "GET", "/api/query?path=m:f&args=%7B", {}, b"", 400, "BadJsonBody"),
    ("GET smuggling", "GET", "/api/query?path=m:f&args=%7B%7D%2C%22path%22%3A%22x%3Ay%22", {}, b"", 400, "BadJsonBody"),
    ("run", "POST", "/api/run/a/b/f", {}, b'{"args":{"a":1.0}}', 200, success(b'{"a":1.0}')),
    ("run without args", "POST", "/api/run/a/f", {}, b"{}", 200, success(b"{}")),
    ("run of one piece", "POST", "/api/run/a", {}, b'{"args":{}}', 400, "MissingIdentifier"),
    ("run of an empty piece", "POST", "/api/run/a//f", {}, b'{"args":{}}', 400, "MissingIdentifier"),
    # the admin's
    ("function as anybody", "POST", "/api/function", {}, CALL, 403, "BadDeployKey"),
    ("function as admin", "POST", "/api/function", ADMIN, CALL, 200, success(b'{"a":1.0}')),
    ("check", "GET", "/api/check_admin_key", {}, b"", 401, "BadAdminKey"),
    ("check a bad key", "GET", "/api/check_admin_key", {"Authorization": "Convex x|y"}, b"", 401, "BadAdminKey"),
    # timestamps
    ("query_ts", "POST", "/api/query_ts", {}, b"", 200, b'{"ts":"6QMAAAAAAAA="}'),
    ("query_at_ts", "POST", "/api/query_at_ts", {}, call(ts="6QMAAAAAAAA="), 200, success(b"{}")),
    ("query_at_ts without ts", "POST", "/api/query_at_ts", {}, call(), 400, "BadJsonBody"),
    ("query_at_ts, short ts", "POST", "/api/query_at_ts", {}, call(ts="6QM="), 400, "BadJsonBody"),
    ("query_at_ts, bad ts", "POST", "/api/query_at_ts", {}, call(ts="é"), 400, "BadJsonBody"),
    ("query_at_ts, large ts", "POST", "/api/query_at_ts", {}, call(ts="/////////38="), 200, success(b"{}")),
    ("query_at_ts, too large", "POST", "/api/query_at_ts", {}, call(ts="AAAAAAAAAIA="), 400, "BadJsonBody"),
    # batches
    ("batch", "POST", "/api/query_batch", {}, b'{"queries":[%b,%b]}' % (CALL, call("test:fail")), 200,
     b'{"results":[{"status":"success","value":{"a":1.0},"logLines":[]},{"status":"error",'
     b'"errorMessage":"[Request ID: None] Server Error","errorData":{"n":"5"},"logLines":["[LOG] \'h\'"]}]}'),
    ("empty batch", "POST", "/api/query_batch", {}, b'{"queries":[]}', 200, b'{"results":[]}'),
    ("batch with a bad path", "POST", "/api/query_batch", {}, b'{"queries":[%b]}' % call("test:path"), 400,
     "BadConvexFunctionIdentifier"),
    ("no batch", "POST", "/api/query_batch", {}, b"[]", 400, "BadJsonBody"),
    # about the deployment
    ("liveness", "GET", "/", {}, b"", 200, b"This Cupola deployment is running.\n"),
    ("name", "GET", "/instance_name", {}, b"", 200, b"carnitas"),
    ("health", "GET", "/healthz", {}, b"", 200, b"ready"),
    ("ready", "GET", "/readyz", {}, b"", 200,
     b'{"state":"ready","headTs":1001,"durableTs":1001,"sessions":0,"ready":true}'),
    ("echo", "POST", "/echo", {}, b"hello", 200, b"hello"),
    ("telemetry", "POST", "/api/debug_event", {}, b'{"any":"thing"}', 200, b"{}"),
    # what there is not
    ("tooling", "POST", "/api/get_indexes", {}, b"{}", 400, "UnsupportedEndpoint"),
    ("push", "POST", "/api/deploy2/start_push", {}, b"{}", 403, "BadDeployKey"),
    ("platform, no text", "GET", "/api/authorize", {"Authorization": b"Bearer \xff"}, b"", 401, "BadAdminKey"),
    ("storage", "POST", "/api/storage/upload", {}, b"data", 400, "BadQueryArgs"),
    ("sync without upgrade", "GET", "/api/1.48.0/sync", {}, b"", 400, "UnsupportedEndpoint"),
    ("no page", "GET", "/nothing", {}, b"", 404, "NotFound"),
    ("no such method", "DELETE", "/api/query", {}, b"", 405, "MethodNotAllowed"),
    ("HTTP action", "GET", "/http/x", {}, b"", 404,
     b"This Convex deployment does not have HTTP actions enabled."),
]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "expected"),
    [pytest.param(*case[1:], id=case[0]) for case in GOLDEN],
)
def test_golden(shared_http, method, path, headers, body, status, expected):
    """Each row is a promise to some client; see the HTTP API."""
    response = shared_http.request(method, path, headers={**JSON, **headers}, content=body)
    assert response.status_code == status, response.text
    if isinstance(expected, str):
        assert response.headers["content-type"] == "application/json"
        error = response.json()
        assert error["code"] == expected
        assert error["message"]
    else:
        assert response.content == expected


def test_arguments_reach_the_backend_as_they_were_written(server, http):
    """They are decoded once, by whoever needs them."""
    http.post(
        "/api/query", headers=JSON, content=b'{"args": {"b":  1, "a":"\xc3\xa9"},"path":"m.js:f"}'
    )
    assert server.backend.requests[0].args == b'{"b":  1, "a":"\xc3\xa9"}'
    assert server.backend.requests[0].path == "m.js:f"


def test_a_call_says_who_what_and_when(server, http):
    http.post(
        "/api/query_at_ts",
        headers={**JSON, **ADMIN, "Convex-Request-Id": "abc"},
        content=call(ts="6QMAAAAAAAA="),
    )
    http.post("/api/function", headers={**JSON, **ADMIN}, content=call(componentPath="c"))
    http.post("/api/run/a%2Fb/f", headers={**JSON, **READ_ONLY}, content=b"{}")
    http.post(
        "/api/mutation",
        headers={**JSON, "Convex-Request-Id": "two words"},
        content=call(componentPath="c"),
    )
    at_ts, function, run, mutation = server.backend.requests
    assert (at_ts.kind, at_ts.at_ts, at_ts.request_id, at_ts.visibility) == (
        "query",
        1001,
        "abc",
        "any",
    )
    assert (function.kind, function.component_path, function.identity.kind) == ("any", "c", "admin")
    assert (run.kind, run.path, run.identity.read_only) == ("any", "a/b:f", True)
    assert (mutation.kind, mutation.component_path, mutation.request_id) == ("mutation", None, None)
    assert mutation.visibility == "public"


def test_the_admin_key_may_stand_in_the_url(server, http):
    http.get(f"/api/query?path=m:f&adminKey={KEYS.issue()}")
    assert server.backend.requests[0].identity.kind == "admin"


def test_the_dashboard_learns_what_its_key_allows(http):
    full = http.get("/api/check_admin_key", headers=ADMIN).json()
    assert full["success"] and not full["isReadOnly"] and "WriteData" in full["allowedOps"]
    read_only = http.get("/api/check_admin_key", headers=READ_ONLY).json()
    assert read_only["isReadOnly"] and "WriteData" not in read_only["allowedOps"]


def test_an_admin_acts_as_a_user(server, http):
    user = base64.b64encode(b'{"issuer":"i","subject":"s"}').decode()
    http.post(
        "/api/query",
        headers={**JSON, "Authorization": f"{ADMIN['Authorization']}:{user}"},
        content=CALL,
    )
    assert server.backend.requests[0].identity.attributes["tokenIdentifier"] == "i|s"


# -------------------------------------------------------------------------------------------- CORS

ORIGIN = {"Origin": "https://app.test"}


def test_any_origin_may_call(http):
    response = http.post("/api/query", headers={**JSON, **ORIGIN}, content=CALL)
    assert response.headers["access-control-allow-origin"] == "https://app.test"
    assert response.headers["access-control-allow-credentials"] == "true"
    assert "origin" in response.headers["vary"]


def test_errors_carry_cors_headers_too(http):
    """Without them a page cannot read what went wrong."""
    response = http.post("/api/query", headers=ORIGIN, content=b"")
    assert response.status_code == 400
    assert response.headers["access-control-allow-origin"] == "https://app.test"


def test_a_preflight_allows_what_is_asked(http):
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,x-y",
    }
    response = http.options("/api/mutation", headers={**ORIGIN, **asked})
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "https://app.test"
    assert response.headers["access-control-allow-headers"] == "authorization,x-y"
    assert (
        response.headers["access-control-allow-methods"] == "GET, POST, OPTIONS, PATCH, DELETE, PUT"
    )
    assert response.headers["access-control-max-age"] == "86400"


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_http_actions_mind_their_own_origins(http, server, method):
    assert (
        "access-control-allow-origin" not in http.request(method, "/http/x", headers=ORIGIN).headers
    )
    site = httpx.request(method, f"{server.server.site_url}/x", headers=ORIGIN)
    assert site.status_code == 404
    assert site.text == "This Convex deployment does not have HTTP actions enabled."
    assert "access-control-allow-origin" not in site.headers


# ----------------------------------------------------------------------------------- bounds and states

SMALL = Limits(http_body_bytes_max=1_000_000, http_batch_queries_max=2)


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "undeclared"])
def test_a_body_above_the_bound_is_refused_and_the_connection_lives_on(start_server, chunked):
    with httpx.Client(base_url=start_server(FakeBackend(SMALL)).url) as http:
        body = b'{"path":"m:f","args":{"a":"' + b"x" * 1_200_000 + b'"}}'
        content = iter([body[:600_000], body[600_000:]]) if chunked else body
        response = http.post("/api/query", headers=JSON, content=content)
        assert response.status_code == 413
        assert response.json()["code"] == "BodyTooLarge"
        assert "http_body_bytes_max" in response.json()["message"]
        assert http.post("/api/query", headers=JSON, content=CALL).status_code == 200


def test_a_body_that_never_ends_is_hung_up_on(start_server, monkeypatch):
    """Reading on has an end too."""
    monkeypatch.setattr("cupola.server.messages._DISCARDED_BYTES_MAX", 1_000_000)
    with httpx.Client(base_url=start_server(FakeBackend(SMALL)).url) as http:
        body = iter(lambda: b"x" * 100_000, None)
        try:
            response = http.post("/api/query", headers=JSON, content=body)
        except httpx.WriteError:
            return  # hung up on while it was still sending
        assert response.status_code == 413
        assert response.headers["connection"] == "close"


def test_a_body_of_exactly_the_bound_passes(start_server):
    with httpx.Client(base_url=start_server(FakeBackend(SMALL)).url) as http:
        frame = b'{"path":"m:f","args":{"a":"%b"}}'
        body = frame % (b"x" * (1_000_000 - len(frame) + 2))
        assert len(body) == 1_000_000
        assert http.post("/api/query", headers=JSON, content=body).status_code == 200
        assert http.post("/api/query", headers=JSON, content=body + b" ").status_code == 413


def test_who_asks_before_sending_too_much_is_told_at_once(start_server):
    """`Expect: 100-continue`, as curl does: the body is never sent."""
    running = start_server(FakeBackend(SMALL))
    with socket.create_connection(("127.0.0.1", running.server.port), timeout=10) as peer:
        peer.sendall(
            b"POST /api/query HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100000000\r\nExpect: 100-continue\r\n\r\n"
        )
        answer = b""
        while data := peer.recv(65536):
            answer += data
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer


@pytest.mark.parametrize("path", ["/api/query", "/api/update_environment_variables"])
def test_large_bodies_of_strangers_are_bounded_together(start_server, path):
    """Also where an administrator is asked for, who may be named in the body."""
    running = start_server(FakeBackend(SMALL))
    address = ("127.0.0.1", running.server.port)
    large = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        "Content-Length: 1000000\r\n\r\n{"
    ).encode()
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(socket.create_connection(address)) for _ in range(17)]
        for peer in peers:
            peer.sendall(large)
        (answered,) = select.select(peers, [], [], 10)[0]
        assert answered.recv(65536).startswith(b"HTTP/1.1 503 ")


def test_too_many_queries_in_a_batch_are_refused(start_server):
    with httpx.Client(base_url=start_server(FakeBackend(SMALL)).url) as http:
        body = b'{"queries":[%b]}' % b",".join([CALL] * 3)
        response = http.post("/api/query_batch", headers=JSON, content=body)
        assert response.status_code == 400
        assert "http_batch_queries_max" in response.json()["message"]


def test_a_body_may_take_longer_than_a_head_however_its_chunks_are_cut(server, monkeypatch):
    """The end of a chunk that arrives by itself is not the head of another request."""
    read = HttpProtocol.data_received
    states = []

    def data_received(self, data):
        read(self, data)
        states.append((bytes(data), self._head_timer is not None))

    monkeypatch.setattr(HttpProtocol, "data_received", data_received)
    with socket.create_connection(("127.0.0.1", server.server.port), timeout=10) as peer:
        pieces = [b"5\r\nhello", b"\r\n", b"5", b"\r\nworld", b"\r", b"\n"]
        pieces[0] = (
            b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces[0]
        )
        for number, piece in enumerate(pieces, start=1):
            peer.sendall(piece)
            server.eventually(lambda number=number: len(states) == number)
        assert states == [(piece, False) for piece in pieces]
        peer.sendall(b"0\r\n\r\n")
        assert b"helloworld" in peer.recv(65536)


def test_a_head_without_end_is_refused(server):
    with socket.create_connection(("127.0.0.1", server.server.port), timeout=10) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\nx: " + b"y" * 70_000)
        assert peer.recv(65536).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00\x01\x00", b"hello\r\n\r\n", b"GET  HTTP\r\n\r\n"]
)
def test_what_is_not_http_is_refused(server, garbage):
    with socket.create_connection(("127.0.0.1", server.server.port), timeout=10) as peer:
        peer.sendall(garbage)
        assert peer.recv(65536).startswith(b"HTTP/1.1 400 ")


def test_a_doubled_slash_is_forgiven(server):
    """Clients join an address that ends in a slash with a path that begins with one."""
    with socket.create_connection(("127.0.0.1", server.server.port), timeout=10) as peer:
        peer.sendall(b"GET //api/query?path=m:f HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b'"status":"success"' in peer.recv(65536)


def test_requests_may_follow_each_other_without_waiting(server):
    """HTTP pipelining: answers come in order, each whole."""
    head = b"POST /api/query HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    bodies = [call("test:later", {"n": "1"}), call(args={"n": "2"})]
    with socket.create_connection(("127.0.0.1", server.server.port), timeout=10) as peer:
        peer.sendall(b"".join(head % len(body) + body for body in bodies))
        answer = b""
        while answer.count(b"logLines") < 2:
            answer += peer.recv(65536)
    assert answer.index(b'"1"') < answer.index(b'"2"')


@pytest.mark.parametrize("state", ["starting", "failed"])
def test_nothing_is_called_before_the_deployment_is_ready(server, http, state):
    server.backend.state = state
    response = http.post("/api/query", headers=JSON, content=CALL)
    assert (response.status_code, response.json()["code"]) == (503, "NotReady")
    assert http.get("/readyz").status_code == 503
    assert http.get("/healthz").status_code == (503 if state == "failed" else 200)


def test_a_bug_of_ours_shows_nothing_of_itself(server, http, caplog):
    def explode(request: Any, done: Any) -> None:
        raise RuntimeError("the secret plan")

    server.backend.submit = explode
    response = http.post("/api/query", headers=JSON, content=CALL)
    assert response.status_code == 500
    assert response.json()["code"] == "InternalServerError"
    assert "secret" not in response.text
    assert "the secret plan" in caplog.text


def test_metrics_count_what_was_answered(http):
    http.post("/api/query", headers=JSON, content=CALL)
    http.post("/api/query", headers=JSON, content=b"{")
    text = http.get("/metrics").text
    assert 'cupola_http_requests_total{status="200"} 1.0' in text
    assert 'cupola_http_requests_total{status="400"} 1.0' in text
    assert "cupola_websocket_connections 0.0" in text


def test_head_is_get_without_the_body(http):
    response = http.head("/version")
    assert response.status_code == 200
    assert response.content == b""
    assert int(response.headers["content-length"]) == len(http.get("/version").content)


def test_echo_carries_any_amount(http):
    body = bytes(range(256)) * 20_000
    assert http.post("/echo", content=body).content == body
    assert http.post("/echo", content=iter([b"a", b"b"])).content == b"ab"
