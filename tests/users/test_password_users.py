"""Users that an app keeps itself, from signing up to API keys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cupola.errors import ApplicationError, BadRequestError, UnauthenticatedError
from cupola.testing import Deployment
from cupola.users import password_users, secrets

AUTH = """
from cupola.users import PasswordUsers, User, current_user

def only_friends(ctx: MutationCtx, user: User) -> None:
    if user.email.endswith("@stranger.example"):
        raise ApplicationError({"code": "Strangers", "message": "Friends only."})
    ctx.db.insert(Profile(user=user._id, color="green"))

class Profile(Table, name="profiles", indexes={"by_user": ["user"]}):
    user: Id[User]
    color: str

users = PasswordUsers(on_sign_up=only_friends)

@query
def color(ctx: QueryCtx) -> str | None:
    user = current_user(ctx)
    if user is None:
        return None
    profile = ctx.db.query(Profile).with_index("by_user", user=user._id).unique()
    return profile and profile.color

@mutation
def issue(ctx: MutationCtx, subject: str, lifetime: float, claims: dict[str, str]) -> str:
    return ctx.auth.issue_token(subject, lifetime_s=lifetime, claims=claims)

@query
def stored(ctx: QueryCtx) -> list[str]:
    tables = ("users", "auth_passwords", "auth_sessions")
    return [str(document) for table in tables for document in ctx.db.query(table)]
"""
ADA = {"email": "ada@example.org", "password": "correct horse"}


@pytest.fixture
def app(write_app: Callable[..., Path]) -> Iterator[Deployment]:
    with Deployment(write_app(auth=AUTH)) as deployment:
        yield deployment


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real algorithm with its weakest parameters: these tests hash a lot."""
    hasher = secrets.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(secrets, "_HASHER", hasher)


def code_of(call: Callable[[], Any]) -> str:
    with pytest.raises(ApplicationError) as refused:
        call()
    return str(refused.value.data["code"])


def sign_in(app: Deployment, **more: str) -> Any:
    return app.action("auth:sign_in", **{**ADA, **more})


def test_who_signs_up_is_signed_in_and_known_to_every_function(app: Deployment) -> None:
    signed_up = app.action("auth:sign_up", **ADA, name="Ada")
    ada = app.with_token(signed_up["token"])

    me = ada.query("auth:me")
    assert (me._id, me.email, me.name) == (signed_up["user"], "ada@example.org", "Ada")
    assert ada.query("auth:color") == "green"
    assert app.query("auth:me") is None
    assert app.query("auth:color") is None


def test_a_password_signs_in_and_another_does_not(app: Deployment) -> None:
    signed_up = app.action("auth:sign_up", **ADA)
    assert sign_in(app, email=" ADA@Example.org ")["user"] == signed_up["user"]
    for wrong in (
        {"password": "wrong horse"},
        {"email": "bob@example.org"},
        {"password": "x" * 9999},
    ):
        assert code_of(lambda more=wrong: sign_in(app, **more)) == "InvalidCredentials"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"email": "nobody"}, "BadEmail"),
        ({"email": "a@b." + "c" * 300}, "BadEmail"),
        ({"password": "short"}, "BadPassword"),
        ({"password": "x" * 1025}, "BadPassword"),
        ({"name": "x" * 201}, "BadName"),
        ({"email": "eve@stranger.example"}, "Strangers"),
        ({"email": "ADA@example.org"}, "EmailTaken"),
    ],
)
def test_a_sign_up_that_is_refused_leaves_nothing(
    app: Deployment, changed: dict[str, str], code: str
) -> None:
    app.action("auth:sign_up", **ADA)
    before = app.query("auth:stored")
    other = {"email": "bob@example.org", "password": "correct horse"}
    assert code_of(lambda: app.action("auth:sign_up", **{**other, **changed})) == code
    assert app.query("auth:stored") == before


def test_nothing_that_is_stored_signs_anybody_in(app: Deployment) -> None:
    """Passwords, refresh tokens and API keys are not in the tables."""
    signed_up = app.action("auth:sign_up", **ADA)
    app.action("auth:refresh", refresh_token=signed_up["refresh_token"])
    key = app.with_token(signed_up["token"]).action("auth:create_api_key", name="backup")
    stored = " ".join(app.query("auth:stored"))
    assert "argon2id" in stored
    for secret in (ADA["password"], signed_up["refresh_token"], key):
        assert secret not in stored


def test_a_session_renews_its_token_until_it_is_signed_out(app: Deployment) -> None:
    session = app.action("auth:sign_up", **ADA)["refresh_token"]
    app.clock.advance(20 * 60)
    renewed = app.action("auth:refresh", refresh_token=session)
    assert app.with_token(renewed["token"]).query("auth:me").email == "ada@example.org"
    app.action("auth:sign_out", refresh_token=session)
    assert code_of(lambda: app.action("auth:refresh", refresh_token=session)) == "SignedOut"
    app.action("auth:sign_out", refresh_token="nonsense")


def test_a_token_is_short_lived_and_a_session_ends_if_unused(app: Deployment) -> None:
    signed_up = app.action("auth:sign_up", **ADA)
    app.clock.advance(15 * 60)
    with pytest.raises(UnauthenticatedError, match="expired"):
        app.with_token(signed_up["token"])
    session = {"refresh_token": signed_up["refresh_token"]}
    for _ in range(4):  # each use counts
        app.clock.advance(20 * 86400)
        app.action("auth:refresh", **session)
    app.clock.advance(30 * 86400)
    assert code_of(lambda: app.action("auth:refresh", **session)) == "SignedOut"


def test_guesses_are_counted_even_all_at_once(app: Deployment) -> None:
    """Ten attempts a quarter of an hour; afterwards even the right password has to wait."""
    app.action("auth:sign_up", **ADA)

    async def guess() -> list[Any]:
        guesses = [
            app.call("auth:sign_in", email=ADA["email"], password=f"guess {number}")
            for number in range(20)
        ]
        return await asyncio.gather(*guesses, return_exceptions=True)

    refusals = [error.data["code"] for error in asyncio.run(guess())]
    assert sorted(refusals) == ["InvalidCredentials"] * 10 + ["TooManyAttempts"] * 10
    assert code_of(lambda: sign_in(app)) == "TooManyAttempts"
    app.clock.advance(15 * 60)
    assert sign_in(app)["token"]


def test_a_clock_that_was_ahead_locks_nobody_out(app: Deployment) -> None:
    app.clock.advance(366 * 24 * 3600)
    app.action("auth:sign_up", **ADA)
    for _ in range(10):
        assert code_of(lambda: sign_in(app, password="a guess")) == "InvalidCredentials"
    assert code_of(lambda: sign_in(app)) == "TooManyAttempts"
    app.clock.set(app.clock.now_ns() - 366 * 24 * 3600 * 10**9)
    assert sign_in(app)["token"]


def test_successes_do_not_count_as_guesses(app: Deployment) -> None:
    app.action("auth:sign_up", **ADA)
    for _ in range(25):
        assert sign_in(app)["token"]


def test_another_password_ends_all_sessions_but_the_new_one(app: Deployment) -> None:
    first = app.action("auth:sign_up", **ADA)
    second = sign_in(app)
    ada = app.with_token(second["token"])
    words = {"old_password": ADA["password"], "new_password": "another horse"}
    assert code_of(lambda: app.action("auth:change_password", **words)) == "SignedOut"
    wrong = {**words, "old_password": "wrong horse"}
    assert code_of(lambda: ada.action("auth:change_password", **wrong)) == "InvalidCredentials"
    third = ada.action("auth:change_password", **words)

    for ended in (first, second):
        session = {"refresh_token": ended["refresh_token"]}
        assert code_of(lambda more=session: app.action("auth:refresh", **more)) == "SignedOut"
    app.action("auth:refresh", refresh_token=third["refresh_token"])
    assert code_of(lambda: sign_in(app)) == "InvalidCredentials"
    assert sign_in(app, password="another horse")["user"] == first["user"]


@pytest.mark.parametrize("outdated", [False, True])
def test_a_password_that_is_changed_while_it_is_looked_at_signs_nobody_in(
    app: Deployment, monkeypatch: pytest.MonkeyPatch, outdated: bool
) -> None:
    token = app.action("auth:sign_up", **ADA)["token"]
    verify, make_secret, changed = password_users.is_password, password_users.new_secret, []

    async def looked_at(password: str, stored: str | None) -> bool:
        if not changed:  # the sign-in is first
            changed.append(asyncio.Event())
            right = await verify(password, stored)
            await changed[0].wait()
            return right
        return await verify(password, stored)

    def new_secret(prefix: str) -> str:
        changed[0].set()  # the session of who has changed the password
        return make_secret(prefix)

    monkeypatch.setattr(password_users, "is_password", looked_at)
    monkeypatch.setattr(password_users, "new_secret", new_secret)
    monkeypatch.setattr(password_users, "is_outdated", lambda stored: outdated)
    ada = app.with_token(token)
    passwords = {"old_password": ADA["password"], "new_password": "another horse"}

    async def story() -> list[Any]:
        return await asyncio.gather(
            app.call("auth:sign_in", **ADA),
            ada.call("auth:change_password", **passwords),
            return_exceptions=True,
        )

    refused, signed_in = asyncio.run(story())
    assert signed_in["token"]
    assert refused.data["code"] == "InvalidCredentials"
    assert sign_in(app, password="another horse")["token"]


def test_an_api_key_acts_for_its_user_until_it_is_revoked(app: Deployment) -> None:
    ada = app.with_token(app.action("auth:sign_up", **ADA)["token"])
    eve = app.with_token(
        app.action("auth:sign_up", email="eve@example.org", password="12345678")["token"]
    )
    key = ada.action("auth:create_api_key", name="backup")
    app.clock.advance(400 * 86400)
    renewed = app.action("auth:refresh", refresh_token=key)
    ada = app.with_token(renewed["token"])
    (listed,) = ada.query("auth:list_api_keys")
    assert listed["name"] == "backup"

    assert eve.query("auth:list_api_keys") == []
    assert code_of(lambda: eve.mutation("auth:revoke_api_key", id=listed["id"])) == "NoApiKey"
    ada.mutation("auth:revoke_api_key", id=listed["id"])
    assert code_of(lambda: app.action("auth:refresh", refresh_token=key)) == "SignedOut"
    for call in (
        lambda: app.action("auth:create_api_key", name="x"),
        lambda: app.query("auth:list_api_keys"),
    ):
        assert code_of(call) == "SignedOut"
    assert code_of(lambda: ada.action("auth:create_api_key", name="")) == "BadName"


def test_an_api_key_is_a_token_too_and_revoked_at_once(app: Deployment) -> None:
    """`Authorization: Bearer cupola_key_...`, for programs that want no further step."""
    ada = app.with_token(app.action("auth:sign_up", **ADA)["token"])
    key = ada.action("auth:create_api_key", name="backup")
    app.clock.advance(86400)
    script = app.with_token(key)
    assert script.query("auth:me").email == "ada@example.org"
    script.mutation("auth:revoke_api_key", id=script.query("auth:list_api_keys")[0]["id"])
    for unknown in (key, "cupola_key_", "cupola_key_\ud800"):
        with pytest.raises(UnauthenticatedError, match="unknown, or was revoked"):
            app.with_token(unknown)


def test_an_app_without_api_keys_knows_none(write_app: Callable[..., Path]) -> None:
    with Deployment(write_app(main="")) as app, pytest.raises(UnauthenticatedError, match="has no"):
        app.with_token("cupola_key_x")


def test_sessions_of_a_user_are_bounded(app: Deployment) -> None:
    first = app.action("auth:sign_up", **ADA)
    for _ in range(100):
        sign_in(app)
    session = {"refresh_token": first["refresh_token"]}
    assert code_of(lambda: app.action("auth:refresh", **session)) == "SignedOut"
    assert len([text for text in app.query("auth:stored") if "'session'" in text]) == 100


def test_stronger_parameters_reach_old_hashes_at_the_next_sign_in(
    app: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.action("auth:sign_up", **ADA)
    stronger = secrets.PasswordHasher(time_cost=2, memory_cost=16, parallelism=1)
    monkeypatch.setattr(secrets, "_HASHER", stronger)
    assert sign_in(app)["token"]
    assert "m=16,t=2" in " ".join(app.query("auth:stored"))
    assert sign_in(app)["token"]


def test_inside_functions_are_not_for_clients(app: Deployment) -> None:
    for name in app.app.functions:
        if name.startswith("auth:internal_"):
            with pytest.raises(Exception, match="Could not find public function"):
                app.call_now("mutation", name, {}, app._identity)


def test_a_mutation_issues_tokens_of_its_own(app: Deployment) -> None:
    """For a login of another kind: what the app says about somebody is what functions see."""
    args: dict[str, Any] = {"subject": "guest 7", "lifetime": 60, "claims": {"name": "Guest"}}
    guest = app.with_token(app.mutation("auth:issue", **args))
    assert guest._identity.attributes == {
        "tokenIdentifier": "cupola|guest 7",
        "issuer": "cupola",
        "subject": "guest 7",
        "name": "Guest",
    }
    assert guest.query("auth:me") is None
    for bad in ({"subject": ""}, {"lifetime": 0}, {"lifetime": 1e12}, {"claims": {"exp": "x"}}):
        with pytest.raises(BadRequestError, match="no such token"):
            app.mutation("auth:issue", **{**args, **bad})
