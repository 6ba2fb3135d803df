"""The published clients with tokens of a provider: signing in, refreshing, swapping, being refused.

The server is a process of its own, and fetches the keys from the provider over HTTP.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..identity_provider import IdentityProvider
from .conftest import ServerProcess

if TYPE_CHECKING:
    from .conftest import StartDriver

USERS = """
from typing import Any

class Note(Table, name="notes"):
    author: str | None

@query
def identity(ctx: QueryCtx) -> Any:
    return ctx.auth.get_user_identity()

@query
def name(ctx: QueryCtx) -> str | None:
    who = ctx.auth.get_user_identity()
    return who and who["subject"]

@query
def count(ctx: QueryCtx) -> int:
    return len(ctx.db.query(Note).collect())

@mutation
def add(ctx: MutationCtx) -> str | None:
    ctx.db.insert(Note(author=name(ctx)))
    return name(ctx)
"""

AUTH_CONFIG = """
import os
from cupola.auth import OidcProvider

providers = [OidcProvider("{issuer}", application_id="web-client")]
"""


@pytest.fixture
def server(
    write_app: Callable[..., Path], identity_provider: IdentityProvider, tmp_path: Path
) -> Iterator[ServerProcess]:
    """A server that trusts the provider."""
    auth_config = AUTH_CONFIG.format(issuer=identity_provider.issuer)
    process = ServerProcess(write_app(users=USERS, auth_config=auth_config), tmp_path)
    process.start()
    yield process
    process.stop()


@pytest.mark.node
def test_the_javascript_client_signs_in_and_refreshes_and_swaps_users(
    node: str,
    server: ServerProcess,
    identity_provider: IdentityProvider,
    start_driver: StartDriver,
) -> None:
    known = (identity_provider.issuer, server.admin_key())
    facts = start_driver(server, node, "auth.mjs", *known).facts()

    refreshed = facts["refreshes"]
    assert refreshed["names"] == ["ada"]
    assert refreshed["counts"] == [0, 1]
    assert refreshed["called"] == "ada"
    assert refreshed["asked"][:4] == [False, True, True, True]
    assert set(refreshed["changes"]) == {True}

    assert facts["swaps"] == {"names": ["ada", "bob", None], "counts": [1]}

    assert facts["refused"]["changes"] == [False]
    assert facts["refused"]["names"] == [None]
    assert len(facts["refused"]["asked"]) >= 2

    assert facts["acts"] == "eve"

    assert facts["http"]["identity"] == {
        "tokenIdentifier": f"{identity_provider.issuer}|ada",
        "issuer": identity_provider.issuer,
        "subject": "ada",
        "email": "ada@example.com",
    }
    assert "NoAuthProvider" in facts["http"]["refused"]["error"]
    assert facts["http"]["anonymous"] is None


def test_the_python_client_signs_in_and_swaps_users(
    server: ServerProcess, identity_provider: IdentityProvider, start_driver: StartDriver
) -> None:
    facts = start_driver(server, sys.executable, "auth.py", identity_provider.issuer).facts()

    assert facts["seen"] == [None, "ada", "bob", None]
    assert facts["called"] == "bob"
    assert facts["http"] == "ada"


@pytest.mark.node
def test_users_with_passwords_sign_up_and_in_with_the_published_client(
    node: str,
    write_app: Callable[..., Path],
    tmp_path: Path,
    start_driver: StartDriver,
) -> None:
    """Through action workers and workers' sockets; and no secret of theirs is on disk."""
    auth = "from cupola.users import PasswordUsers\n\nusers = PasswordUsers()\n"
    server = ServerProcess(write_app(auth=auth), tmp_path)
    server.start()
    facts = start_driver(server, node, "password_users.mjs").facts()
    server.stop()

    assert facts["seen"][0] is None and facts["seen"][-1] is None
    assert ["ada@example.org", "Ada"] in facts["seen"]
    assert facts["asked"] >= 1
    assert facts["byKey"] == ["ada@example.org"] * 2
    assert "revoked" in facts["revoked"]
    assert facts["wrong"]["code"] == "InvalidCredentials"
    assert facts["ended"]["code"] == "SignedOut"

    stored = b"".join(file.read_bytes() for file in server.data.rglob("*") if file.is_file())
    assert b"argon2id" in stored
    for secret in facts["secrets"]:
        assert secret.encode() not in stored
