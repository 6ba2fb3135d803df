"""PyPI `convex` 0.8.1, unmodified, against a real server: its WebSocket client and its HTTP one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from convex import ConvexError, ConvexInt64
from convex.http_client import ConvexExecutionError, ConvexHttpClient

if TYPE_CHECKING:
    from conftest import ServerProcess, StartDriver

DATA = {"code": "RoomFull", "limit": 20.0, "who": ["ada", None]}


def test_the_websocket_client_subscribes_mutates_and_acts(
    server: ServerProcess, start_driver: StartDriver
) -> None:
    """Each write reaches the subscription; values and errors arrive whole, large results too."""
    facts = start_driver(server, sys.executable, "client.py").facts()

    assert facts["live"]["seen"] == [[], ["one"], ["two", "one"]]
    assert facts["live"]["query"] == ["two", "one"]
    assert facts["action"] == 2.0
    assert facts["changed"] == []
    assert facts["application"]["data"] == DATA
    assert facts["mutation"]["data"] == DATA
    assert facts["application_action"]["data"] == "just text"
    for name in ("plain", "plain_mutation"):
        assert "data" not in facts[name]
        assert "boom" in facts[name]["error"]
    assert "Could not find public function" in facts["missing"]["error"]
    assert facts["large"] == 14


def test_the_websocket_client_goes_on_after_the_server_was_killed(
    server_to_kill: ServerProcess, start_driver: StartDriver
) -> None:
    """A subscription lives on, and what was acknowledged is there."""
    driver = start_driver(server_to_kill, sys.executable, "reconnect.py")
    assert driver.facts() == {"restart": True}
    server_to_kill.kill()
    server_to_kill.start()
    driver.go_on()

    facts = driver.facts()
    assert facts["before"] == [1.0, 2.0, 3.0]
    assert facts["after"] == 4.0
    assert facts["seen"] == sorted(facts["seen"])
    assert facts["seen"][-1] == 4.0


def test_the_http_client_queries_mutates_and_acts(server: ServerProcess) -> None:
    client = ConvexHttpClient(server.url)
    args = {"channel": "python http"}
    client.mutation("messages:send", {**args, "author": "p", "body": "one"})

    (message,) = client.query("messages:list", args)
    assert message["body"] == "one"
    assert client.action("messages:announce", {**args, "body": "hear"}) == 3.0
    value = {"a": [ConvexInt64(-(2**63)), b"\0", 1.0, None, "é"]}
    assert client.query("values:echo", {"value": value}) == value


def test_the_http_client_raises_what_the_app_raised(server: ServerProcess) -> None:
    client = ConvexHttpClient(server.url)
    with pytest.raises(ConvexError) as application:
        client.query("errors:application")
    assert application.value.data == DATA
    with pytest.raises(ConvexExecutionError, match="boom"):
        client.mutation("errors:plain_mutation")
    with pytest.raises(ConvexExecutionError, match="Could not find public function"):
        client.query("private:secret")


def test_the_http_client_calls_internal_functions_as_an_administrator(
    server: ServerProcess,
) -> None:
    client = ConvexHttpClient(server.url)
    client.set_admin_auth(server.admin_key())
    assert client.query("private:secret") == "hidden"

    client.set_admin_auth("conformance|0123")
    with pytest.raises(Exception, match="401 BadAdminKey"):
        client.query("private:secret")
