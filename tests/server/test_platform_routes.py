"""What dashboards ask of the platform around a deployment, of which there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .test_deploy_routes import Client, Story, tell_of

LISTS = {
    "list_usage_limits": {"usageLimits": []},
    "get_current_usage": {"metrics": {}, "seedStatus": "complete"},
    "list_log_streams": [],
}
CREATED = {
    "create_usage_limit": ("UsageLimitsNotSupported", "no usage limits"),
    "create_log_stream": ("LogStreamsNotSupported", "no log streams"),
}


@pytest.fixture
def tell(write_app: Callable[..., Path]) -> Callable[[Story], None]:
    return lambda story: tell_of(write_app(notes=""), story)


def test_what_does_not_exist_here_is_listed_as_nothing(tell: Callable[[Story], None]) -> None:
    async def story(client: Client) -> None:
        for name, expected in LISTS.items():
            url = f"/api/v1/{name}"
            assert (await client.http.get(url, headers=client.headers)).json() == expected
            assert (await client.http.get(url)).status_code == 403

    tell(story)


def test_what_does_not_exist_here_cannot_be_created(tell: Callable[[Story], None]) -> None:
    async def story(client: Client) -> None:
        for name, (code, words) in CREATED.items():
            answer = await client.post(f"/api/v1/{name}", {"name": "mine"})
            assert (answer.status_code, answer.json()["code"]) == (400, code)
            assert words in answer.json()["message"]
            assert (await client.http.post(f"/api/v1/{name}", json={})).status_code == 403

    tell(story)
