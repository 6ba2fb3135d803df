"""A deployment that redacts: texts of errors and log lines stay with the operator."""

import asyncio
import json
import re

import pytest

from cupola.auth import Identity
from cupola.backend.redaction import shown_to
from cupola.server.serve import Server as HttpServer
from cupola.server.serve import ServerOptions

from .conftest import Server
from .test_http_actions import _answer
from .test_live import Client

pytestmark = pytest.mark.node


@pytest.fixture(scope="module")
def redacting(code, tmp_path_factory):
    server = Server(code, tmp_path_factory.mktemp("redacting") / "data.sqlite3")
    server.backend.redacts_errors = True
    http = HttpServer(server.backend, ServerOptions(port=0, site_port=0))
    server.run(http.start())
    yield server, http.port, http.site_port
    server.close()


def post(world, kind, path, *headers):
    server, port, _ = world
    body = json.dumps({"path": path, "args": {}, "format": "json"}).encode()
    status, _, answer = server.run(
        _answer(port, "POST", f"/api/{kind}", ["content-type: application/json", *headers], body)
    )
    assert status in (200, 560)
    return json.loads(answer)


def is_redacted(message):
    return re.fullmatch(r"\[Request ID: [0-9a-f]+\] Server Error", message) is not None


def test_a_redacted_error_keeps_its_data_and_nothing_else(redacting):
    plain = post(redacting, "query", "messages:fail")
    assert is_redacted(plain["errorMessage"])
    assert "errorData" not in plain
    told = post(redacting, "mutation", "messages:failWithData")
    assert is_redacted(told["errorMessage"])
    assert told["errorData"] == {"code": "7", "text": "bad"}
    assert is_redacted(post(redacting, "action", "outside:fails")["errorMessage"])


def test_log_lines_are_not_sent(redacting):
    assert post(redacting, "query", "messages:logs")["logLines"] == []
    assert post(redacting, "action", "outside:logs")["logLines"] == []


def test_an_administrator_sees_everything(redacting):
    server, *_ = redacting
    result = server.call("query", "messages:fail")
    assert "boom" in shown_to(Identity("admin"), result).error_message


def test_live_queries_are_redacted_too(redacting):
    server, *_ = redacting

    async def story():
        client = Client(server)
        live = client.subscribe("messages:fail")
        await client.until(lambda: client.values.get(live))
        client.leave()
        await asyncio.sleep(0)
        return client.values[live]

    (message,) = server.run(story())
    assert is_redacted(message)


def test_an_http_action_tells_only_its_request(redacting):
    server, _, site = redacting
    status, _, body = server.run(_answer(site, "GET", "/fail"))
    told = json.loads(body)
    assert status == 500
    assert told.keys() == {"code"}
    assert is_redacted(told["code"])


def test_the_operators_log_has_the_texts(redacting):
    server, *_ = redacting
    seen = []
    server.backend.node.watchers.append(seen.append)
    server.call("mutation", "messages:failWithData")
    assert "Uncaught ConvexError" in seen[0].error_message


def test_functions_still_see_what_their_nested_calls_failed_with(redacting):
    server, *_ = redacting
    assert server.action("outside:catches")["text"] == "bad"
