"""npm `convex` 1.48, unmodified, against a real server: what its users see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import ServerProcess, StartDriver

pytestmark = pytest.mark.node

DATA = {"code": "RoomFull", "limit": 20, "who": ["ada", None]}


def test_convex_client_subscribes_mutates_and_acts(
    node: str, server: ServerProcess, start_driver: StartDriver
) -> None:
    """Every result in order, none for other channels, none after unsubscribing."""
    facts = start_driver(server, node, "client.mjs").facts()

    live = facts["live"]
    assert live["results"] == [[], ["one"], ["two", "one"]]
    assert live["oneShot"] == ["three", "two", "one"]
    assert live["document"] == ["_creationTime", "_id", "author", "body", "channel"]
    assert live["returnedItsId"] and live["creationTimeIsNow"]

    ordered = facts["ordered"]
    assert ordered["final"] == [f"m{i}" for i in range(10)]
    assert ordered["everyResultInOrder"] and ordered["neverShrinks"]

    assert facts["action"] == 2
    assert facts["afterAction"] == ["hear 2", "hear 1"]
    assert_errors_name_the_thing(facts["errors"])
    assert facts["connected"]


def assert_errors_name_the_thing(errors: dict[str, Any]) -> None:
    """Data crosses whole; a failed mutation wrote nothing; the connection lives on."""
    assert errors["live"]["data"] == DATA
    assert errors["mutation"]["data"] == DATA
    assert errors["action"]["data"] == "just text"
    assert errors["wroteNothing"] == []
    for name in ("plain", "plainMutation"):
        assert "data" not in errors[name]
        assert "boom" in errors[name]["error"]
    assert "Could not find public function" in errors["missing"]["error"]
    assert "Could not find public function" in errors["internal"]["error"]
    for name in ("missingArgument", "wrongArgument", "extraArgument"):
        assert "ArgumentValidationError" in errors[name]["error"], name
    assert "name" in errors["missingArgument"]["error"]
    assert "extra" in errors["extraArgument"]["error"]
    assert "query" in errors["wrongKind"]["error"]
    assert "ReturnsValidationError" in errors["wrongResult"]["error"]
    assert errors["stillServes"] == 0


def test_convex_http_client_calls_and_reads_at_one_timestamp(
    node: str, server: ServerProcess, start_driver: StartDriver
) -> None:
    """Mutations keep their order; `consistentQuery` never mixes moments; administrators see all."""
    facts = start_driver(server, node, "http.mjs", server.admin_key()).facts()

    assert facts["list"] == ["four", "three", "two", "one"]
    assert facts["consistent"] == [["three", "two", "one"]] * 2
    assert "OutOfRetention" in facts["overtaken"]["error"]
    assert facts["action"] == 2
    assert facts["application"]["data"] == DATA
    assert "boom" in facts["plain"]["error"]

    assert "Could not find public function" in facts["internal"]["error"]
    assert facts["internalAsAdmin"] == {"value": "hidden"}
    assert facts["anyKind"] == {"query": 0, "mutation": 1, "action": 1.5, "internal": "hidden"}
    assert "BadDeployKey" in facts["anyKindAsAnybody"]["error"]
    assert facts["identity"] == [None, "Ada"]
    assert "BadAdminKey" in facts["stranger"]["error"]


def test_every_value_comes_back_as_it_went_in(
    node: str, server: ServerProcess, start_driver: StartDriver
) -> None:
    """Through both transports, an action and the database; what is no value is refused by name."""
    facts = start_driver(server, node, "values.mjs").facts()

    assert facts["passed"] == 35
    assert facts["changed"] == {}
    assert facts["withoutUndefined"] == {"a": 1}
    for name, error in facts["refused"].items():
        assert error != "accepted", name
    assert "8192" in facts["refused"]["array too long"]
    assert "1024" in facts["refused"]["too many fields"]
    assert "64" in facts["refused"]["nested too deep"]


def test_a_large_result_arrives_in_chunks_and_once(
    node: str, server: ServerProcess, start_driver: StartDriver
) -> None:
    """Twelve mebibytes are three chunks; a change beside them does not send them again."""
    facts = start_driver(server, node, "large.mjs").facts()

    assert facts["texts"] == 12
    assert facts["characters"] == 12 * 2**20
    assert facts["firstAndLast"] == ["00x", "11x"]
    assert facts["chunks"] == 3
    assert facts["sentOnce"] == 1


def test_react_hooks_render_what_the_server_holds(
    node: str, server: ServerProcess, start_driver: StartDriver
) -> None:
    """useQuery, useMutation, usePaginatedQuery, useAction and an error boundary, in a DOM."""
    facts = start_driver(server, node, "react.mjs").facts()

    assert facts["list"] == {"firstRender": "loading", "html": "<ul><li>hello</li></ul>"}

    optimistic = facts["optimistic"]
    assert optimistic["shownAtOnce"]
    assert optimistic["flickers"] == 0
    assert optimistic["outOfOrder"] == 0
    assert optimistic["final"] == [f"m{i}" for i in range(20)]

    pages = facts["paginated"]
    assert pages["first"] == ["old 19", "old 18", "old 17", "old 16"]
    assert pages["problems"] == []
    assert pages["status"] == "Exhausted"
    assert pages["joined"]

    assert facts["action"] == 2
    assert facts["boundary"]["application"]["data"] == DATA
    assert "boom" in facts["boundary"]["plain"]["message"]


def test_mutations_take_effect_exactly_once_though_the_server_is_killed(
    node: str, server_to_kill: ServerProcess, start_driver: StartDriver
) -> None:
    """Killed under load and started again on the same data: no mutation is lost, none runs twice.

    Each increment returns the counter's new value, so the results say which of them took effect.
    """
    driver = start_driver(server_to_kill, node, "reconnect.mjs")
    assert driver.facts() == {"kill": True}
    server_to_kill.kill()
    driver.go_on()
    assert driver.facts() == {"restart": True}
    server_to_kill.start()
    driver.go_on()

    facts = driver.facts()
    assert facts["results"] == list(range(1, 811))
    assert facts["final"] == 810
    assert facts["neverBackwards"]
    assert facts["pageLivesOn"] == ["after"]
    assert facts["connections"] >= 2
    assert 100 <= facts["acknowledgedBeforeKill"] < 800
