"""The history of a deployment over HTTP, and what requests leave in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cupola.limits import DEFAULT_LIMITS, Limits

from .test_deploy_routes import NOTES, Client, Story, tell_of

URL = "/api/v1/list_audit_log_events"
ROOT = {"component": None, "component_id": None}


@pytest.fixture
def tell(write_app: Callable[..., Path]) -> Callable[..., None]:
    """Runs a story against a server of an app that schedules and writes."""

    def run(story: Story, limits: Limits = DEFAULT_LIMITS) -> None:
        tell_of(write_app(notes=NOTES), story, limits)

    return run


async def listed(client: Client, **query: Any) -> Any:
    answer = await client.http.get(URL, params={"from": 0, **query}, headers=client.headers)
    return answer.json()


async def told(client: Client) -> list[tuple[str, Any]]:
    """All but the push of the app's own code."""
    items = (await listed(client, limit=100))["items"]
    return [(item["action"], item["metadata"]) for item in items[1:]]


def test_events_come_in_pages_from_the_oldest(tell: Callable[..., None]) -> None:
    async def story(client: Client) -> None:
        for number in range(4):
            assert (await client.set(**{f"N{number}": "a secret"})).status_code == 200
        first = await listed(client, limit=3)
        second = await listed(client, limit=3, cursor=first["pagination"]["nextCursor"])
        items = [*first["items"], *second["items"]]
        assert [item["action"] for item in items] == [
            "push_config_with_components",
            *["create_environment_variable"] * 4,
        ]
        names = [item["metadata"]["variable_name"] for item in items[1:]]
        assert names == ["N0", "N1", "N2", "N3"]
        assert first["pagination"]["hasMore"] and not second["pagination"]["hasMore"]
        assert second["pagination"]["nextCursor"] is None
        newest = items[-1]
        assert newest["actor"] == {"kind": "system"}
        assert isinstance(newest["createTime"], int)
        assert (await listed(client, **{"from": newest["createTime"] + 10**6}))["items"] == []
        assert (await listed(client, **{"from": items[1]["createTime"]}))["items"] == items[1:]
        assert "secret" not in str(items)

    tell(story)


def test_only_administrators_read_them_and_ask_with_sense(
    tell: Callable[..., None],
) -> None:
    async def story(client: Client) -> None:
        assert (await client.http.get(URL, params={"from": 0})).status_code == 403
        reader = {"authorization": f"Convex {client.backend.admin_keys.issue(read_only=True)}"}
        answer = await client.http.get(URL, params={"from": 0}, headers=reader)
        assert answer.status_code == 200
        for query in ({}, {"from": "yesterday"}, {"from": 0, "limit": "-1"}):
            answer = await client.http.get(URL, params=query, headers=reader)
            assert (answer.status_code, answer.json()["code"]) == (400, "BadQueryArgs")
        query = {"from": 0, "cursor": "nonsense"}
        answer = await client.http.get(URL, params=query, headers=reader)
        assert (answer.status_code, answer.json()["code"]) == (400, "InvalidCursor")
        assert len((await listed(client, limit=0))["items"]) == 1

    tell(story)


def test_canceled_jobs_are_told_of_when_an_administrator_cancels(
    tell: Callable[..., None],
) -> None:
    async def story(client: Client) -> None:
        jobs = [(await client.call("notes:later", delay=3600))["value"] for _ in range(3)]
        for _ in range(2):  # the second time there is nothing to cancel
            await client.post("/api/cancel_job", {"id": jobs[0]})
            await client.post("/api/cancel_all_jobs", {"udfPath": "notes:say"})
            await client.post("/api/cancel_all_jobs", {})
        await client.post("/api/cancel_job", {"id": "nonsense"})
        for _ in range(2):
            await client.post("/api/delete_scheduled_functions_table", {})
        one = {"scheduled_function_id": jobs[0], "function_path": "notes:say"}
        assert await told(client) == [
            ("cancel_scheduled_function", {**ROOT, **one}),
            ("cancel_all_scheduled_functions", {**ROOT, "function_path": "notes:say"}),
            ("delete_scheduled_jobs_table", ROOT),
        ]

    tell(story)


def test_many_jobs_are_one_event(tell: Callable[..., None]) -> None:
    """They are canceled in several transactions, of which the last one tells."""

    async def story(client: Client) -> None:
        for _ in range(100):
            await client.call("notes:later", delay=3600)
        await client.post("/api/cancel_all_jobs", {})
        for _ in range(150):
            await client.call("notes:later", delay=3600)
        await client.post("/api/cancel_all_jobs", {})
        page = await client.call("_system/frontend/paginatedScheduledJobs:default")
        assert page["value"]["page"] == []
        await client.post("/api/delete_scheduled_functions_table", {})
        assert [action for action, _ in await told(client)] == [
            "cancel_all_scheduled_functions",
            "cancel_all_scheduled_functions",
            "delete_scheduled_jobs_table",
        ]

    tell(story)


def test_pausing_and_deleting_tables_are_told_of(tell: Callable[..., None]) -> None:
    async def story(client: Client) -> None:
        await client.call("notes:note", text="one")
        await client.post("/api/v1/pause_deployment", {})
        await client.post("/api/v1/unpause_deployment", {})
        assert (await client.post("/api/v1/unpause_deployment", {})).status_code == 400
        await client.post("/api/change_deployment_state", {"newState": "paused"})
        await client.post("/api/delete_tables", {"tableNames": ["notes"], "componentId": None})
        assert await told(client) == [
            ("pause_deployment", {}),
            ("unpause_deployment", {}),
            ("pause_deployment", {}),
            ("delete_tables", {**ROOT, "table_names": ["notes"]}),
        ]

    tell(story)


def test_tools_that_mirror_the_database_do_not_see_the_history(
    tell: Callable[..., None],
) -> None:
    async def story(client: Client) -> None:
        await client.call("notes:note", text="one")
        await client.set(A="1")
        answer = await client.http.get("/api/list_snapshot", headers=client.headers)
        assert {row["_table"] for row in answer.json()["values"]} == {"notes"}
        deltas = await client.http.get("/api/document_deltas?cursor=0", headers=client.headers)
        assert {row["_table"] for row in deltas.json()["values"]} == {"notes"}

    tell(story, Limits(deployment_events_max=1))  # what goes is no change either
