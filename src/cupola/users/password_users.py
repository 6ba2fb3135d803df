"""Users with email and password, as functions of the app that declares them.

What needs argon2 or randomness is an action; it hands hashes to internal mutations, so that no
secret is ever an argument or a result that the log keeps. A session is a random refresh token; it
buys short-lived tokens that the deployment signs, which every function sees as an identity.

    sign_up, sign_in ── refresh token + token      refresh ── token      sign_out ── the end

Attempts are counted before a password is looked at, in a transaction, so many at once are counted
like many in a row.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NoReturn, TypedDict

import joserfc.jws  # noqa: F401  so that it is loaded before a mutation needs it

from cupola.auth.session_tokens import API_KEY_PREFIX
from cupola.errors import ApplicationError
from cupola.functions.context import ActionCtx, MutationCtx, QueryCtx
from cupola.functions.definitions import (
    Function,
    FunctionGroup,
    action,
    internal_mutation,
    internal_query,
    mutation,
    query,
)
from cupola.schema import Id, Table
from cupola.users.secrets import (
    hash_of_password,
    hash_of_secret,
    is_outdated,
    is_password,
    new_secret,
)
from cupola.users.tables import Password, Session, User, current_user

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_EMAIL_LENGTH_MAX = 254
_NAME_LENGTH_MAX = 200
_PASSWORD_LENGTH_MAX = 1024
_ATTEMPTS_MAX = 10
_ATTEMPTS_PERIOD_S = 15 * 60.0
_SESSIONS_MAX = 100
_SESSION_PREFIX = "cupola_session_"


class SignedIn(TypedDict):
    """`token`: for `setAuth`, short-lived. `refresh_token`: buys the next ones; to be kept safe."""

    token: str
    refresh_token: str
    user: Id[User]


class Renewed(TypedDict):
    token: str
    user: Id[User]


class ApiKey(TypedDict):
    id: Id[Session]
    name: str | None
    created: float


class Known(TypedDict):
    user: Id[User]
    hash: str


class PasswordUsers(FunctionGroup):
    """Functions to sign up and in with, at the paths of the module that holds this object.

    Args:
        token_s: How long a token proves its user: so long one may act on after a sign-out.
        session_s: How long a session lasts after its last refresh.
        password_length_min: In characters.
        on_sign_up: Called in the transaction of a sign-up with the new user; raise
            `ApplicationError` to refuse it.
    """

    def __init__(
        self,
        *,
        token_s: float = 15 * 60.0,
        session_s: float = 30 * 24 * 3600.0,
        password_length_min: int = 8,
        on_sign_up: Callable[[MutationCtx, User], None] | None = None,
    ) -> None:
        self._token_s = token_s
        self._session_s = session_s
        self._password_length_min = password_length_min
        self._on_sign_up = on_sign_up
        self._create = internal_mutation(self.create)
        self._attempt = internal_mutation(self.attempt)
        self._open = internal_mutation(self.open)
        self._renew = internal_mutation(self.renew)
        self._renew.exchanges_api_keys = True
        self._end = internal_mutation(self.end)
        self._replace_password = internal_mutation(self.replace_password)
        self._add_api_key = internal_mutation(self.add_api_key)
        self._email_of_caller = internal_query(self.email_of_caller)

    tables: Sequence[type[Table]] = (User, Password, Session)

    @property
    def functions(self) -> Mapping[str, Function[Any, Any]]:
        return {
            "sign_up": action(self.sign_up),
            "sign_in": action(self.sign_in),
            "refresh": action(self.refresh),
            "sign_out": action(self.sign_out),
            "change_password": action(self.change_password),
            "create_api_key": action(self.create_api_key),
            "list_api_keys": query(self.list_api_keys),
            "revoke_api_key": mutation(self.revoke_api_key),
            "me": query(self.me),
            "internal_create": self._create,
            "internal_attempt": self._attempt,
            "internal_open": self._open,
            "internal_renew": self._renew,
            "internal_end": self._end,
            "internal_replace_password": self._replace_password,
            "internal_add_api_key": self._add_api_key,
            "internal_email_of_caller": self._email_of_caller,
        }

    # ---------------------------------------------------------------- what clients call

    async def sign_up(
        self, ctx: ActionCtx, email: str, password: str, name: str | None = None
    ) -> SignedIn:
        """A new user, signed in at once."""
        email = _checked_email(email)
        self._check_password(password)
        if name is not None and len(name) > _NAME_LENGTH_MAX:
            _refuse("BadName", f"A name has at most {_NAME_LENGTH_MAX} characters.")
        stored = await hash_of_password(password)
        user = await ctx.run_mutation(self._create, email=email, hash=stored, name=name)
        return await self._signed_in(ctx, user, stored)

    async def sign_in(self, ctx: ActionCtx, email: str, password: str) -> SignedIn:
        """A new session of a user who has signed up."""
        known = await self._verified(ctx, _normal(email), password)
        user, stored = known["user"], known["hash"]
        if is_outdated(stored):
            old, stored = stored, await hash_of_password(password)
            if not await ctx.run_mutation(self._replace_password, user=user, hash=stored, old=old):
                return await self.sign_in(ctx, email, password)  # it is another one meanwhile
        return await self._signed_in(ctx, user, stored)

    async def refresh(self, ctx: ActionCtx, refresh_token: str) -> Renewed:
        """A new token, for a session or for an API key."""
        secret_hash = hash_of_secret(refresh_token)
        renewed: Renewed | None = await ctx.run_mutation(self._renew, secret_hash=secret_hash)
        if renewed is None:
            _refuse("SignedOut", "This session has ended; sign in again.")
        return renewed

    async def sign_out(self, ctx: ActionCtx, refresh_token: str) -> None:
        """End a session. Its last token goes on until it expires."""
        await ctx.run_mutation(self._end, secret_hash=hash_of_secret(refresh_token))

    async def change_password(
        self, ctx: ActionCtx, old_password: str, new_password: str
    ) -> SignedIn:
        """Another password for the user who calls. All their sessions end; this is the new one."""
        email: str | None = await ctx.run_query(self._email_of_caller)
        if email is None:
            _refuse("SignedOut", "Sign in first.")
        self._check_password(new_password)
        known = await self._verified(ctx, email, old_password)
        user, old = known["user"], known["hash"]
        stored = await hash_of_password(new_password)
        if not await ctx.run_mutation(
            self._replace_password, user=user, hash=stored, old=old, sign_out=True
        ):
            return await self.change_password(ctx, old_password, new_password)
        return await self._signed_in(ctx, user, stored)

    async def create_api_key(self, ctx: ActionCtx, name: str) -> str:
        """A key for programs that act as the user who calls: a refresh token that lasts until it is
        revoked. It is shown this once.
        """
        secret = new_secret(API_KEY_PREFIX)
        secret_hash = hash_of_secret(secret)
        await ctx.run_mutation(self._add_api_key, name=name, secret_hash=secret_hash)
        return secret

    def list_api_keys(self, ctx: QueryCtx) -> list[ApiKey]:
        """The keys of the user who calls."""
        return [
            ApiKey(id=key._id, name=key.name, created=key._creationTime)
            for key in _sessions(ctx, _require_user(ctx)._id, "api_key")
        ]

    def revoke_api_key(self, ctx: MutationCtx, id: Id[Session]) -> None:
        """No more tokens for this key."""
        user = _require_user(ctx)
        key = ctx.db.get(id)
        if key is None or key.user != user._id or key.kind != "api_key":
            _refuse("NoApiKey", "You have no such API key.")
        ctx.db.delete(id)

    def me(self, ctx: QueryCtx) -> User | None:
        """The user who calls, or null."""
        return current_user(ctx)

    # ---------------------------------------------------------------- transactions

    def create(self, ctx: MutationCtx, email: str, hash: str, name: str | None) -> Id[User]:
        if ctx.db.query(User).with_index("by_email", email=email).first() is not None:
            _refuse("EmailTaken", "Somebody has signed up with this email address already.")
        user = ctx.db.insert(User(email=email, name=name))
        ctx.db.insert(Password(user=user, hash=hash, attempts=0, attempts_since=time.time()))
        if self._on_sign_up is not None:
            found = ctx.db.get(user)
            assert found is not None
            self._on_sign_up(ctx, found)
        return user

    def attempt(self, ctx: MutationCtx, email: str) -> Known | None:
        """What a password is compared with; counted as an attempt. None: there is no such user."""
        user = ctx.db.query(User).with_index("by_email", email=email).first()
        password = _password(ctx, user._id) if user is not None else None
        if user is None or password is None:
            return None
        now_s = time.time()
        attempts, since = password.attempts, password.attempts_since
        if not 0 <= now_s - since < _ATTEMPTS_PERIOD_S:  # over, or the clock was ahead
            attempts, since = 0, now_s
        if attempts >= _ATTEMPTS_MAX:
            _refuse("TooManyAttempts", "Too many attempts to sign in; try again in a while.")
        ctx.db.patch(password._id, attempts=attempts + 1, attempts_since=since)
        return Known(user=user._id, hash=password.hash)

    def open(self, ctx: MutationCtx, user: Id[User], secret_hash: str, hash: str) -> str | None:
        """A session, and its first token. The oldest ones and those that are over are forgotten.
        None: `hash`, of the password that was shown, is not that of the user's any more.
        """
        password = _password(ctx, user)
        if password is None or password.hash != hash:
            return None
        if password.attempts:
            ctx.db.patch(password._id, attempts=0)
        now_s = time.time()
        sessions = _sessions(ctx, user, "session")
        for number, session in enumerate(reversed(sessions), start=1):
            if number >= _SESSIONS_MAX or _is_over(session, now_s):
                ctx.db.delete(session._id)
        expires = now_s + self._session_s
        ctx.db.insert(
            Session(user=user, secret_hash=secret_hash, kind="session", name=None, expires=expires)
        )
        return self._token(ctx, user)

    def renew(self, ctx: MutationCtx, secret_hash: str) -> Renewed | None:
        session = _by_secret(ctx, secret_hash)
        now_s = time.time()
        if session is None or _is_over(session, now_s) or ctx.db.get(session.user) is None:
            return None
        if session.expires is not None and session.expires - now_s < self._session_s / 2:
            ctx.db.patch(session._id, expires=now_s + self._session_s)
        return Renewed(token=self._token(ctx, session.user), user=session.user)

    def end(self, ctx: MutationCtx, secret_hash: str) -> None:
        session = _by_secret(ctx, secret_hash)
        if session is not None:
            ctx.db.delete(session._id)

    def replace_password(
        self, ctx: MutationCtx, user: Id[User], hash: str, old: str, sign_out: bool = False
    ) -> bool:
        """Returns: whether the one before was `old`; else nothing is changed."""
        password = _password(ctx, user)
        if password is None or password.hash != old:
            return False
        ctx.db.patch(password._id, hash=hash)
        for session in _sessions(ctx, user, "session") if sign_out else []:
            ctx.db.delete(session._id)
        return True

    def add_api_key(self, ctx: MutationCtx, name: str, secret_hash: str) -> None:
        user = _require_user(ctx)
        if not name or len(name) > _NAME_LENGTH_MAX:
            _refuse("BadName", f"An API key has a name of 1 to {_NAME_LENGTH_MAX} characters.")
        if len(_sessions(ctx, user._id, "api_key")) >= _SESSIONS_MAX:
            _refuse("TooManyApiKeys", f"You have {_SESSIONS_MAX} API keys; revoke one first.")
        ctx.db.insert(
            Session(user=user._id, secret_hash=secret_hash, kind="api_key", name=name, expires=None)
        )

    def email_of_caller(self, ctx: QueryCtx) -> str | None:
        user = current_user(ctx)
        return user.email if user is not None else None

    # ---------------------------------------------------------------- inside

    async def _signed_in(self, ctx: ActionCtx, user: Id[User], hash: str) -> SignedIn:
        """`hash`: that of the password which the user has shown; it takes a while to look at one,
        and meanwhile it may have been changed.
        """
        secret = new_secret(_SESSION_PREFIX)
        token: str | None = await ctx.run_mutation(
            self._open, user=user, secret_hash=hash_of_secret(secret), hash=hash
        )
        if token is None:
            _refuse_credentials()
        return SignedIn(token=token, refresh_token=secret, user=user)

    async def _verified(self, ctx: ActionCtx, email: str, password: str) -> Known:
        if len(password) > _PASSWORD_LENGTH_MAX:
            _refuse_credentials()
        known: Known | None = await ctx.run_mutation(self._attempt, email=email)
        stored = known["hash"] if known is not None else None
        if not await is_password(password, stored) or known is None:
            _refuse_credentials()
        return known

    def _check_password(self, password: str) -> None:
        if not self._password_length_min <= len(password) <= _PASSWORD_LENGTH_MAX:
            _refuse(
                "BadPassword",
                f"A password has {self._password_length_min} to {_PASSWORD_LENGTH_MAX} characters.",
            )

    def _token(self, ctx: MutationCtx, user: Id[User]) -> str:
        found = ctx.db.get(user)
        assert found is not None
        claims = {"email": found.email, "name": found.name}
        return ctx.auth.issue_token(str(user), lifetime_s=self._token_s, claims=claims)


def _normal(email: str) -> str:
    return email.strip().casefold()


def _checked_email(email: str) -> str:
    email = _normal(email)
    if len(email) > _EMAIL_LENGTH_MAX or not _EMAIL.fullmatch(email):
        _refuse("BadEmail", "This is no email address.")
    return email


def _password(ctx: QueryCtx, user: Id[User]) -> Password | None:
    return ctx.db.query(Password).with_index("by_user", user=user).unique()


def _sessions(ctx: QueryCtx, user: Id[User], kind: Literal["session", "api_key"]) -> list[Session]:
    sessions = ctx.db.query(Session).with_index("by_user", user=user)
    return [session for session in sessions if session.kind == kind]


def _by_secret(ctx: QueryCtx, secret_hash: str) -> Session | None:
    return ctx.db.query(Session).with_index("by_secret_hash", secret_hash=secret_hash).unique()


def _is_over(session: Session, now_s: float) -> bool:
    return session.expires is not None and now_s >= session.expires


def _require_user(ctx: QueryCtx) -> User:
    user = current_user(ctx)
    if user is None:
        _refuse("SignedOut", "Sign in first.")
    return user


def _refuse(code: str, message: str) -> NoReturn:
    raise ApplicationError({"code": code, "message": message})


def _refuse_credentials() -> NoReturn:
    _refuse("InvalidCredentials", "There is no user with this email address and password.")
