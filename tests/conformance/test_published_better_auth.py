"""npm `better-auth` with `@convex-dev/better-auth`, unmodified: a component that keeps users with
passwords, sessions and signing keys, and answers below `/api/auth/` of the site.

As with the other auth library, the deployment fetches the public keys from itself.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import HERE, ServerProcess, free_port
from .project import Project

if TYPE_CHECKING:
    from .conftest import StartDriver

pytestmark = [pytest.mark.node, pytest.mark.slow]

FOLDER = HERE / "better_auth"
PAGE = "https://app.example.org"
EMAIL = "ada@example.org"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, node: str) -> Iterator[Project]:
    """The pushed app, with the two variables that the component's guide asks for."""
    folder = tmp_path_factory.mktemp("better_auth") / "app"
    project = Project(folder, node, FOLDER, FOLDER / "node_modules")
    site_port = ("--site-port", str(free_port()))  # who issues tokens is the same after a kill
    project.server = ServerProcess(folder, folder.parent, *site_port)
    project.start()
    try:
        project.convex("env", "set", "SITE_URL", PAGE)
        project.convex("env", "set", "BETTER_AUTH_SECRET", "for tests: a secret, long enough")
        project.convex("deploy", "--yes")
        yield project
    finally:
        project.stop()


@pytest.fixture
def site(project: Project) -> str:
    facts = json.loads((project.server.data / "server.json").read_text())
    return f"http://127.0.0.1:{facts['sitePort']}"


@pytest.fixture
def drive(project: Project, site: str, node: str, start_driver: StartDriver) -> Any:
    """`drive("script.mjs", ...)`: the facts of a driver that plays a page of `PAGE`."""

    def drive(script: str, *arguments: str) -> Any:
        words = (f"../better_auth/{script}", site, PAGE, *arguments)
        return start_driver(project.server, node, *words).facts()

    return drive


def test_email_and_password(project: Project, site: str, drive: Any) -> None:
    """Sign up, live queries as that user, sign out, sign in again."""
    facts = drive("email_and_password.mjs")

    assert facts["early"] == 401 and facts["signedUp"] == EMAIL
    assert facts["seen"] == [None, EMAIL, None], "signing out reaches live queries"
    assert facts["identity"] == {"email": EMAIL, "issuer": site, "subject": facts["user"]}
    assert facts["renamed"] == facts["session"] == "Countess", "its own API in a mutation"
    assert facts["profiles"] == ["Countess"], "triggers write in the app's tables"
    assert facts["signedOut"] is True and facts["after"] == 401
    assert facts["wrong"] == "INVALID_EMAIL_OR_PASSWORD"
    assert facts["twice"] == "USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL"
    assert facts["byHttp"] == EMAIL
    assert "InvalidAuthHeader" in facts["forged"]["error"]


def test_sessions_and_keys_outlive_a_kill(project: Project, site: str, drive: Any) -> None:
    """A token of before is good after it, and so is the session that fetches the next one."""
    facts = drive("signed_in.mjs", "grace@example.org")
    project.server.kill()
    project.server.start()
    again = drive("still_signed_in.mjs", json.dumps(facts))
    assert again == {"byOldToken": "grace@example.org", "byNewToken": "grace@example.org"}


def test_other_pages_are_not_let_in(site: str) -> None:
    """A browser asks first; only the origins that the app trusts may read answers."""
    assert allowed_origin(site, PAGE) == PAGE
    assert allowed_origin(site, "https://evil.example") is None


def allowed_origin(site: str, origin: str) -> str | None:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "better-auth-cookie,content-type",
    }
    url = f"{site}/api/auth/sign-in/email"
    with urllib.request.urlopen(urllib.request.Request(url, None, headers, method="OPTIONS")) as it:
        found: str | None = it.headers["access-control-allow-origin"]
        return found


@pytest.mark.timeout(300)  # five commands of the published CLI, one after the other
def test_keys_may_be_in_a_variable(project: Project, drive: Any) -> None:
    """A static key set, as larger deployments have it; then fetched and rotated keys again."""
    old = drive("signed_in.mjs", "joan@example.org")
    keys = project.answer("auth:latestKeys")
    project.convex("env", "set", "JWKS", "--", keys)
    static = ("getAuthConfigProvider()", "getAuthConfigProvider({ jwks: process.env.JWKS })")
    project.change("convex/auth.config.ts", *static)
    project.convex("deploy", "--yes")
    again = drive("still_signed_in.mjs", json.dumps(old))
    assert again["byOldToken"] == again["byNewToken"] == "joan@example.org"

    project.change("convex/auth.config.ts", *reversed(static))
    project.convex("deploy", "--yes")
    project.convex("env", "remove", "JWKS")
    rotated = project.answer("auth:rotateKeys")
    assert json.loads(rotated)[0]["id"] != json.loads(keys)[0]["id"]
    assert drive("still_signed_in.mjs", json.dumps(old))["byNewToken"] == "joan@example.org"
