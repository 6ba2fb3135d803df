"""npm `@convex-dev/auth` 0.0.95, unmodified: users with passwords in an app written in TypeScript.

The library signs tokens in an action with a key of the app's own, and publishes the public half by
the app's HTTP router; so the deployment fetches keys from itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from joserfc.jwk import RSAKey

from .conftest import HERE
from .project import Project

if TYPE_CHECKING:
    from .conftest import StartDriver

pytestmark = [pytest.mark.node, pytest.mark.slow]


@pytest.fixture
def project(tmp_path: Path, node: str) -> Iterator[Project]:
    """The pushed app, with the two variables that the library's set-up makes."""
    key = RSAKey.generate_key(2048)
    public = {"use": "sig", **key.as_dict(private=False)}
    project = Project(tmp_path / "app", node, HERE / "convex_auth")
    project.start()
    pem = key.as_pem(private=True).decode().strip().replace("\n", " ")
    project.convex("env", "set", "JWT_PRIVATE_KEY", "--", pem)
    project.convex("env", "set", "JWKS", "--", json.dumps({"keys": [public]}))
    project.convex("deploy", "--yes")
    yield project
    project.stop()


def test_the_password_flow_of_the_auth_library(
    project: Project, node: str, start_driver: StartDriver
) -> None:
    facts = start_driver(project.server, node, "convex_auth.mjs").facts()

    assert facts["seen"][0] is None and facts["seen"][-1] == "ada@example.org"
    assert facts["refreshed"] >= 1
    assert facts["isAuthenticated"] is True
    assert "InvalidSecret" in facts["wrong"]["error"]
    assert "already exists" in facts["twice"]["error"]
    assert facts["byHttp"] == "ada@example.org"
    assert facts["ended"]["tokens"] is None
