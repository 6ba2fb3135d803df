"""Audit logs of both languages: who is told, of what, and what the variables stand for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from cupola.auth import ANONYMOUS, Identity, Origin
from cupola.backend import ExecutionLog

from .conftest import Server
from .live_client import Client

pytestmark = pytest.mark.node

ADA = ANONYMOUS.seen_from(Origin("203.0.113.1", "ada/1"))
BOB = ANONYMOUS.seen_from(Origin("203.0.113.2", "bob/1"))
NAMES = {"audits": "tooMuch", "snakes": "too_much"}
LANGUAGES = sorted(NAMES)


@pytest.fixture
def emitted(bilingual: Server) -> Iterator[list[ExecutionLog]]:
    """What auditors are told."""
    found: list[ExecutionLog] = []
    bilingual.backend.node.auditors.append(found.append)
    yield found
    bilingual.backend.node.auditors.remove(found.append)


def entries(emitted: list[ExecutionLog]) -> list[dict[str, Any]]:
    return [json.loads(entry) for log in emitted for entry in log.audits]


@pytest.mark.parametrize("module", LANGUAGES)
def test_a_mutation_is_recorded_whether_or_not_it_fails(
    bilingual: Server, emitted: list[ExecutionLog], module: str
) -> None:
    bilingual.value("mutation", f"{module}:changes", ADA, fails=False)
    bilingual.failure("mutation", f"{module}:changes", ADA, fails=True)
    done, refused = emitted
    for log in emitted:
        (entry,) = map(json.loads, log.audits)
        source = {"ip": "203.0.113.1", "agent": "ada/1", "request": log.request_id}
        assert (entry["action"], entry["source"], entry["admin"]) == ("changed", source, None)
        assert abs(entry["at"][0] - bilingual.backend.clock.now_ns() / 1e6) < 60_000
    assert done.error_message is None
    assert "refused" in str(refused.error_message)
    assert done.log_lines == []  # the caller is not told


@pytest.mark.parametrize("module", LANGUAGES)
def test_a_cached_query_is_recorded_for_each_who_asks(
    bilingual: Server, emitted: list[ExecutionLog], module: str
) -> None:
    """Its result is shared; the entries are not."""
    for who in (ADA, BOB, ADA):
        bilingual.value("query", f"{module}:views", who)
    assert [entry["source"]["ip"][-1] for entry in entries(emitted)] == ["1", "2", "1"]
    assert len({log.request_id for log in emitted}) == 3
    bilingual.value("query", f"{module}:views", Identity("admin"))
    assert entries(emitted)[-1]["admin"] == {"type": "admin", "isReadOnly": False}


@pytest.mark.parametrize("module", LANGUAGES)
def test_a_live_query_is_recorded_for_each_who_is_shown_it(
    bilingual: Server, emitted: list[ExecutionLog], module: str
) -> None:
    async def story() -> None:
        ada, bob = Client(bilingual), Client(bilingual)
        for client in (ada, bob):
            client.subscribe(f"{module}:views")
            await client.until(lambda client=client: client.values.get(0))
        assert len(entries(emitted)) == 2
        await bilingual.ask("mutation", "messages:send", {"channel": "c", "body": "b"})
        for client in (ada, bob):
            await client.until(lambda client=client: len(client.values[0]) == 2)
            client.leave()

    bilingual.run(story())
    assert [entry["action"] for entry in entries(emitted)] == ["viewed"] * 4


@pytest.mark.parametrize("module", LANGUAGES)
def test_an_action_is_recorded_with_those_whom_it_calls(
    bilingual: Server, emitted: list[ExecutionLog], module: str
) -> None:
    bilingual.value("action", f"{module}:acts", BOB)
    viewed, acted = entries(emitted)
    assert (viewed["action"], acted["action"]) == ("viewed", "acted")
    assert viewed["source"] == acted["source"]
    assert acted["source"]["agent"] == "bob/1"


@pytest.mark.parametrize("module", LANGUAGES)
def test_entries_are_bounded(bilingual: Server, emitted: list[ExecutionLog], module: str) -> None:
    failure = bilingual.failure("mutation", f"{module}:{NAMES[module]}")
    assert "at most 4,194,304 bytes in audit logs" in failure
    assert emitted == []


def test_a_body_is_checked(bilingual: Server) -> None:
    assert "do not begin with `$`" in bilingual.failure("mutation", "snakes:badly")
    args = json.dumps({"body": {"ip": {"$var": "shoeSize"}}})
    asked = {"op": "1.0/auditLog", "args": args, "isSync": False}
    assert "`$var` is one of" in bilingual.mutation("raw:inMutation", **asked)["error"]
