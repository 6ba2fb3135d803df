"""What is stored of users. Of secrets only hashes are, and apart from what apps show of a user."""

from __future__ import annotations

from typing import Literal

from cupola.auth.session_tokens import ISSUER
from cupola.functions.context import MutationCtx, QueryCtx
from cupola.schema import Id, Table


class User(Table, name="users", indexes={"by_email": ["email"]}):
    """Somebody who has signed up. Other facts of theirs belong into tables of the app."""

    email: str
    name: str | None


class Password(Table, name="auth_passwords", indexes={"by_user": ["user"]}):
    """`hash`: by argon2, with its parameters and salt. `attempts`: how many sign-ins were tried
    since `attempts_since` (s since the Unix epoch), the last success or the start of a period.
    """

    user: Id[User]
    hash: str
    attempts: int
    attempts_since: float


class Session(
    Table,
    name="auth_sessions",
    indexes={"by_secret_hash": ["secret_hash"], "by_user": ["user"]},
):
    """What a refresh token or an API key stands for, until `expires` (s since the Unix epoch)."""

    user: Id[User]
    secret_hash: str
    kind: Literal["session", "api_key"]
    name: str | None
    expires: float | None


def current_user(ctx: QueryCtx | MutationCtx) -> User | None:
    """The user who calls, if they have signed in with `PasswordUsers` and still exist."""
    identity = ctx.auth.get_user_identity()
    if identity is None or identity["issuer"] != ISSUER:
        return None
    user = ctx.db.normalize_id(User, str(identity["subject"]))
    return ctx.db.get(user) if user is not None else None
