"""Users of an app: tokens of a real provider, over HTTP and the socket, with the real engine."""

from __future__ import annotations

import json
import textwrap
import uuid
from typing import Any

import httpx
import pytest

from cupola.backend import Backend
from cupola.clock import ManualClock
from cupola.functions.app import load_app

AUTH_CONFIG = """
from cupola.auth import OidcProvider

providers = [OidcProvider("{issuer}", application_id="web-client")]
"""

FUNCTIONS = """
from typing import Any
from cupola import ActionCtx, MutationCtx, QueryCtx, Table, action, mutation, query

class Note(Table, name="notes"):
    text: str

@query
def who(ctx: QueryCtx) -> Any:
    return ctx.auth.get_user_identity()

@query
def name(ctx: QueryCtx) -> str | None:
    identity = ctx.auth.get_user_identity()
    return identity and identity["subject"]

@query
def count(ctx: QueryCtx) -> int:
    return len(ctx.db.query(Note).collect())

@mutation
def add(ctx: MutationCtx) -> str | None:
    ctx.db.insert(Note(text="note"))
    return name(ctx)

@mutation
def token(ctx: MutationCtx) -> str | None:
    return ctx.request.auth_token

@action
async def act(ctx: ActionCtx) -> str | None:
    identity = ctx.auth.get_user_identity()
    assert await ctx.run_query("notes:name") == (identity and identity["subject"])
    return identity and identity["subject"]
"""


@pytest.fixture
def server(start_server, tmp_path, identity_provider):
    """An app that trusts the provider, with a clock that stands still."""
    folder = tmp_path / "functions"
    folder.mkdir()
    (folder / "notes.py").write_text(textwrap.dedent(FUNCTIONS))
    (folder / "auth_config.py").write_text(AUTH_CONFIG.format(issuer=identity_provider.issuer))

    def make_backend() -> Backend:
        backend = Backend(clock=ManualClock())
        backend.deploy_now(load_app(tmp_path))
        return backend

    return start_server(make_backend=make_backend)


@pytest.fixture
def token(server, identity_provider):
    """`token(subject, **claims)`, good at the time of the server's clock."""

    def make(subject: str = "ada", **claims: Any) -> str:
        now_s = server.backend.clock.now_ns() / 1e9
        return identity_provider.token(subject, now_s, **claims)

    return make


def call(http: httpx.Client, kind: str, path: str, token: str | None = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    return http.post(f"/api/{kind}", json={"path": path, "args": {}}, headers=headers)


class Peer:
    """A client that writes the sync protocol by hand."""

    def __init__(self, server) -> None:
        self._socket = server.websocket()
        self._identity = 0
        self._query_set = 0
        self.send(
            type="Connect",
            sessionId=str(uuid.uuid4()),
            connectionCount=0,
            lastCloseReason="InitialConnect",
        )

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.__exit__(*exception)

    def send(self, **message: Any) -> None:
        self._socket.send(json.dumps(message).encode())

    def authenticate(self, token: str | None) -> None:
        kind = {"tokenType": "None"} if token is None else {"tokenType": "User", "value": token}
        self.send(type="Authenticate", baseVersion=self._identity, **kind)
        self._identity += 1

    def subscribe(self, *paths: str) -> None:
        """The ids of the queries are 0, 1, ..."""
        adds = [
            {"type": "Add", "queryId": number, "udfPath": path, "args": [{}]}
            for number, path in enumerate(paths)
        ]
        self.send(
            type="ModifyQuerySet",
            baseVersion=self._query_set,
            newVersion=self._query_set + 1,
            modifications=adds,
        )
        self._query_set += 1

    def mutate(self, request: int, path: str = "notes:add") -> None:
        self.send(type="Mutation", requestId=request, udfPath=path, args=[{}])

    def act(self, request: int) -> None:
        self.send(type="Action", requestId=request, udfPath="notes:act", args=[{}])

    def receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._socket.receive_text())
        return message

    def values(self) -> dict[int, Any]:
        """Of the next Transition: what it changes."""
        message = self.receive()
        assert message["type"] == "Transition", message
        return {each["queryId"]: each["value"] for each in message["modifications"]}

    def closed(self) -> tuple[int | None, str]:
        frame = self._socket.receive_close()
        return frame.close_code, frame.close_reason


# -------------------------------------------------------------------------------------- over HTTP


def test_a_bearer_token_shows_every_function_who_calls(http, identity_provider, token):
    text = token(name="Ada", roles=["admin"])
    assert call(http, "query", "notes:who", text).json()["value"] == {
        "tokenIdentifier": f"{identity_provider.issuer}|ada",
        "issuer": identity_provider.issuer,
        "subject": "ada",
        "name": "Ada",
        "roles": ["admin"],
    }
    for kind, path in (("query", "name"), ("mutation", "add"), ("action", "act")):
        assert call(http, kind, f"notes:{path}", text).json()["value"] == "ada"
        assert call(http, kind, f"notes:{path}").json()["value"] is None
    assert len(identity_provider.requests) == 2


def test_a_bad_token_is_no_anonymous_call(http, token):
    """A client that believes to be somebody must hear that it is not."""
    for text in (token(exp=1), token(aud="other"), token()[:-9] + "AAAAAAAAA", "nonsense"):
        response = call(http, "query", "notes:name", text)
        assert response.status_code == 401
        assert response.json()["code"] in ("Unauthenticated", "NoAuthProvider", "InvalidAuthHeader")
    assert call(http, "query", "notes:count").json()["value"] == 0


def test_a_user_is_no_admin(http, token):
    head = {"Authorization": f"Bearer {token()}"}
    assert http.get("/api/check_admin_key", headers=head).status_code == 403
    body = {"path": "notes:name", "args": {}}
    assert http.post("/api/function", json=body, headers=head).json()["code"] == "BadDeployKey"


def test_nobody_waits_while_a_token_waits_for_keys(server, http, identity_provider, token):
    """The provider takes its time; the event loop goes on, and many tokens wait for one fetch."""
    identity_provider.gate.clear()
    with Peer(server) as peer:
        peer.authenticate(token())
        peer.subscribe("notes:name")
        server.eventually(lambda: identity_provider.requests)
        for _ in range(3):
            assert call(http, "mutation", "notes:add").json()["value"] is None
        identity_provider.gate.set()
        assert peer.values() == {0: "ada"}
    assert call(http, "query", "notes:name", token("bob")).json()["value"] == "bob"
    assert len(identity_provider.requests) == 2


# ---------------------------------------------------------------------------------- on the socket


def test_functions_see_the_token_itself(http, server, token):
    """Of a request, and of whoever a session says it is."""
    text = token()
    assert call(http, "mutation", "notes:token", text).json()["value"] == text
    assert call(http, "mutation", "notes:token").json()["value"] is None
    with Peer(server) as peer:
        peer.authenticate(text)
        peer.mutate(0, "notes:token")
        peer.authenticate(None)
        peer.mutate(1, "notes:token")
        answers = {}
        while len(answers) < 2:
            message = peer.receive()
            if message["type"] == "MutationResponse":
                answers[message["requestId"]] = message["result"]
        assert answers == {0: text, 1: None}


def test_a_token_on_the_socket_is_confirmed_by_a_transition(server, token):
    with Peer(server) as peer:
        peer.authenticate(token())
        confirmed = peer.receive()
        assert confirmed["startVersion"]["identity"] == 0
        assert confirmed["endVersion"]["identity"] == 1
        peer.subscribe("notes:name")
        assert peer.values() == {0: "ada"}
        peer.mutate(0)
        assert peer.receive()["result"] == "ada"
        peer.receive()
        peer.act(1)
        assert peer.receive()["result"] == "ada"


def test_another_user_changes_only_what_depends_on_the_user(server, token):
    """Queries that never asked who calls are shared, and not sent again."""
    with Peer(server) as peer:
        peer.subscribe("notes:name", "notes:count")
        assert peer.values() == {0: None, 1: 0}
        peer.authenticate(token("ada"))
        assert peer.values() == {0: "ada"}
        runs = server.backend.node.counters["query_runs"]
        peer.authenticate(token("bob"))
        assert peer.values() == {0: "bob"}
        peer.authenticate(None)
        assert peer.values() == {0: None}
        assert server.backend.node.counters["query_runs"] - runs <= 2


def test_a_refreshed_token_of_the_same_user_runs_nothing_again(server, token):
    with Peer(server) as peer:
        peer.authenticate(token("ada", jti="one"))
        peer.subscribe("notes:name")
        while peer.values() != {0: "ada"}:
            pass
        runs = server.backend.node.counters["query_runs"]
        peer.authenticate(token("ada", jti="two", exp=1_800_000_000))
        assert peer.values() == {}
        assert server.backend.node.counters["query_runs"] == runs


def test_a_refused_token_ends_the_session_with_an_auth_error(server, token):
    with Peer(server) as peer:
        peer.authenticate(token())
        assert peer.values() == {}
        peer.authenticate(token(aud="other"))
        peer.mutate(0)
        error = peer.receive()
        assert error.pop("error").startswith("No auth provider found matching the given token")
        assert error == {"type": "AuthError", "baseVersion": 1, "authUpdateAttempted": True}
        assert peer.closed() == (None, "")
    assert server.backend.newest_durable_ts() == server.backend.node.head_ts
    assert count(server) == 0


def count(server) -> Any:
    body = {"path": "notes:count", "args": {}}
    return httpx.post(f"{server.url}/api/query", json=body).json()["value"]


def test_a_provider_that_is_down_is_no_fault_of_the_token(server, identity_provider, token):
    """The client comes back with the same token instead of logging its user out."""
    identity_provider.status = 503
    with Peer(server) as peer:
        peer.authenticate(token())
        assert peer.closed() == (1013, "AuthProviderDiscoveryFailed")


EXPIRED = {
    "type": "AuthError",
    "error": "The token has expired.",
    "baseVersion": 1,
    "authUpdateAttempted": False,
}


@pytest.mark.parametrize("what", ["mutation", "action", "query", "change"])
def test_an_expired_token_ends_the_session_before_it_is_used_again(server, http, token, what):
    """Neither a call nor an update of somebody whose time is over."""
    with Peer(server) as peer:
        peer.authenticate(token(exp=1_700_000_060))
        peer.subscribe("notes:count")
        while peer.values() != {0: 0}:
            pass
        server.run(lambda: server.backend.clock.advance(60))
        match what:
            case "mutation":
                peer.mutate(0)
            case "action":
                peer.act(0)
            case "query":
                peer.send(type="ModifyQuerySet", baseVersion=1, newVersion=2, modifications=[])
            case _:
                call(http, "mutation", "notes:add")
        assert peer.receive() == EXPIRED
        assert peer.closed() == (None, "")
    assert count(server) == (1 if what == "change" else 0)


def test_an_expired_token_does_no_harm_while_the_next_is_being_verified(
    server, http, identity_provider, token
):
    """The client refreshed in time; that keys had to be fetched must not log its user out."""
    with Peer(server) as peer:
        peer.authenticate(token(exp=1_700_000_060))
        peer.subscribe("notes:name", "notes:count")
        while peer.values() != {0: "ada", 1: 0}:
            pass
        server.run(lambda: server.backend.clock.advance(59))
        identity_provider.rotate()
        identity_provider.gate.clear()
        peer.authenticate(token())
        server.eventually(lambda: len(identity_provider.requests) == 3)
        server.run(lambda: server.backend.clock.advance(1))
        call(http, "mutation", "notes:add")
        identity_provider.gate.set()
        assert peer.values() == {1: 1}


def test_a_client_that_leaves_while_its_token_is_verified_is_forgotten(
    server, identity_provider, token
):
    identity_provider.gate.clear()
    with Peer(server) as peer:
        peer.authenticate(token())
        server.eventually(lambda: identity_provider.requests)
    server.eventually(lambda: server.backend.session_count == 0)
    identity_provider.gate.set()
    server.eventually(lambda: len(identity_provider.requests) == 2)
    assert count(server) == 0


def test_users_share_what_does_not_depend_on_them(server, http, token):
    """The cache is keyed by identity only for a query that has looked at it."""
    for subject in ("ada", "bob", "eve"):
        call(http, "query", "notes:count", token(subject))
    cached = len(server.backend.node.cache)
    for subject in ("ada", "bob", "eve"):
        call(http, "query", "notes:name", token(subject))
    assert len(server.backend.node.cache) == cached + 3
    assert cached == 1
