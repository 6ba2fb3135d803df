"""HTTP actions: the app's own router answers, on the site port and below `/http`."""

import asyncio
import json

import pytest

from cupola.functions.near_limits import CLIENT_GONE
from cupola.server.serve import Server, ServerOptions

pytestmark = pytest.mark.node


@pytest.fixture(scope="module")
def ports(shared):
    """The ports of a real server: the API's and the site's."""
    server = Server(shared.backend, ServerOptions(port=0, site_port=0))
    shared.run(server.start())
    return server.port, server.site_port


async def _ask(port, method, path, headers=(), body=b""):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [f"{method} {path} HTTP/1.1", "host: example.com", "connection: close", *headers]
    if body:
        lines.append(f"content-length: {len(body)}")
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    return reader, writer


async def _answer(port, method, path, headers=(), body=b""):
    """Status, headers and body; chunks joined."""
    reader, writer = await _ask(port, method, path, headers, body)
    whole = await reader.read()
    writer.close()
    head, _, rest = whole.partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    found = dict(field.lower().split(": ", 1) for field in fields)
    if found.get("transfer-encoding") == "chunked":
        rest = _joined(rest)
    return int(status.split()[1]), found, rest


def _joined(data):
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        body, data = body + data[:length], data[length + 2 :]
        if not length:
            break
    return body


def test_a_route_answers_on_both_ports(server, ports):
    api, site = ports
    for port, prefix in ((site, ""), (api, "/http")):
        status, headers, body = server.run(
            _answer(port, "GET", f"{prefix}/hello?name=ada", ["x-sent: yes"])
        )
        assert (status, headers["x-seen"], headers["content-type"]) == (201, "yes", "text/fancy")
        assert body == b"hello ada of example.com/hello"


def test_head_is_answered_by_the_route_of_get(server, ports):
    status, headers, body = server.run(_answer(ports[1], "HEAD", "/hello"))
    assert (status, headers["content-type"], body) == (201, "text/fancy", b"")


def test_a_prefix_route_writes_and_reads(server, ports):
    status, headers, body = server.run(_answer(ports[1], "POST", "/send/lobby", body=b"hi"))
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert [message["body"] for message in json.loads(body)] == ["hi"]


def test_bytes_pass_unchanged(server, ports):
    sent = bytes(range(256)) * 5000
    assert server.run(_answer(ports[1], "POST", "/bytes", body=sent))[2] == sent


def test_a_body_arrives_while_it_is_made(server, ports):
    """The second half is made only after the first has arrived."""

    async def story():
        reader, writer = await _ask(ports[1], "GET", "/drip")
        await reader.readuntil(b"first")
        await server.ask("mutation", "messages:send", {"channel": "a", "body": "go on"})
        await reader.readuntil(b"second")
        writer.close()

    server.run(story())


def test_what_no_route_matches_is_told_so(server, ports):
    status, _, body = server.run(_answer(ports[1], "GET", "/nowhere"))
    assert (status, body) == (404, b"No matching routes found")
    assert server.run(_answer(ports[1], "POST", "/hello", body=b"x"))[0] == 404
    assert server.run(_answer(ports[1], "BREW", "/hello"))[0] in (400, 405)


def test_a_failure_is_told_as_json(server, ports):
    status, headers, body = server.run(_answer(ports[1], "GET", "/fail"))
    told = json.loads(body)
    assert (status, headers["content-type"]) == (500, "application/json")
    assert told["code"].endswith("Server Error: Error: boom")
    assert "app/http.ts:" in told["trace"]


def test_credentials_of_another_kind_matter_only_to_who_asks(server, ports):
    assert server.run(_answer(ports[1], "GET", "/who"))[2] == b"null"
    headers = ["authorization: Bearer nonsense"]
    assert server.run(_answer(ports[1], "GET", "/who", headers))[0] == 401
    assert server.run(_answer(ports[1], "GET", "/hello", headers))[0] == 201


def test_a_handler_hears_that_its_client_has_left(server, ports):
    """And so do those who watch the logs."""
    logs = []
    server.backend.node.watchers.append(logs.append)

    async def story():
        _, writer = await _ask(ports[1], "GET", "/wait")
        while len(await bodies()) < 1:
            await asyncio.sleep(0.005)
        writer.close()
        while len(await bodies()) < 2 or not any(log.kind == "httpAction" for log in logs):
            await asyncio.sleep(0.005)
        return await bodies()

    async def bodies():
        result = await server.ask("query", "messages:all", {})
        return json.loads(result.value)

    assert server.run(story()) == ["waiting", "gone"]
    server.backend.node.watchers.remove(logs.append)
    (log,) = [each for each in logs if each.kind == "httpAction"]
    assert f"[INFO] {CLIENT_GONE}" in log.log_lines


def test_an_answer_without_a_body(server, ports):
    assert server.run(_answer(ports[1], "DELETE", "/empty"))[0] == 204
