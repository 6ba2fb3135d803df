"""What functions of both languages know of the request behind them (the spec, section 6.3)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cupola.auth import ANONYMOUS, Identity, Origin
from cupola.server.serve import Server as HttpServer
from cupola.server.serve import ServerOptions

from .conftest import Server
from .test_http_actions import _answer
from .test_scheduling import ended, until

pytestmark = pytest.mark.node

LANGUAGES = ("requests", "snakes")
NAMES = {
    "requests": {"mutation": "inMutation", "action": "inAction", "query": "inQuery"},
    "snakes": {"mutation": "in_mutation", "action": "in_action", "query": "in_query"},
}


@pytest.fixture(scope="module")
def port(bilingual: Server) -> int:
    server = HttpServer(bilingual.backend, ServerOptions(port=0, site_port=None))
    bilingual.run(server.start())
    return server.port


def over_http(server: Server, port: int, kind: str, path: str, *headers: str) -> Any:
    body = json.dumps({"path": path, "args": {}, "format": "json"}).encode()
    sent = ["Content-Type: application/json", *headers]
    status, _, answer = server.run(_answer(port, "POST", f"/api/{kind}", sent, body))
    assert status == 200, answer
    return json.loads(answer)["value"]


@pytest.mark.parametrize("module", LANGUAGES)
@pytest.mark.parametrize("kind", ["mutation", "action"])
def test_a_function_sees_address_and_user_agent(
    bilingual: Server, port: int, kind: str, module: str
) -> None:
    headers = ("User-Agent: tester/1", "Convex-Request-Id: mine")
    found = over_http(bilingual, port, kind, f"{module}:{NAMES[module][kind]}", *headers)
    assert found == {
        "ip": "127.0.0.1",
        "userAgent": "tester/1",
        "requestId": "mine",
        "scheduledFunctionId": None,
        "authToken": None,
    }


@pytest.mark.parametrize("module", LANGUAGES)
def test_whoever_is_called_is_part_of_the_same_request(
    bilingual: Server, port: int, module: str
) -> None:
    headers = ("User-Agent: tester/1", "X-Forwarded-For: 203.0.113.9", "Convex-Request-Id: one")
    mine, *others = over_http(bilingual, port, "action", f"{module}:nested", *headers)
    assert (mine["ip"], mine["requestId"]) == ("203.0.113.9", "one")
    assert others == [mine, mine]


@pytest.mark.parametrize("module", LANGUAGES)
def test_a_query_sees_no_request(bilingual: Server, module: str) -> None:
    """Its result is shared; the reference refuses as well."""
    failure = bilingual.failure("query", f"{module}:{NAMES[module]['query']}")
    assert "A query cannot see the request that asked" in failure


@pytest.mark.parametrize("module", LANGUAGES)
def test_a_user_s_token_is_shown_as_it_was_sent(bilingual: Server, module: str) -> None:
    ada = Identity("user", {"subject": "ada"}).seen_from(Origin("::1", None, "header.claims.sig"))
    for kind in ("mutation", "action"):
        found = bilingual.value(kind, f"{module}:{NAMES[module][kind]}", ada)
        assert (found["ip"], found["authToken"]) == ("::1", "header.claims.sig")
        assert bilingual.value(kind, f"{module}:{NAMES[module][kind]}", ANONYMOUS)["ip"] is None


@pytest.mark.parametrize("module", LANGUAGES)
def test_a_scheduled_function_is_nobody_s_request(bilingual: Server, module: str) -> None:
    job = bilingual.mutation(f"{module}:later")
    until(bilingual, "later:job", ended, id=job)
    found = bilingual.query("requests:noted")[-1]
    assert (found["ip"], found["userAgent"], found["authToken"]) == (None, None, None)
    assert found["scheduledFunctionId"] == job
    assert found["requestId"]
