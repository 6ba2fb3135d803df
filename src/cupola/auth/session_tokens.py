"""Tokens that the deployment itself signs, for apps that keep their users themselves.

HMAC with a key that follows from the deployment's secret: whoever verifies them is the one who
issued them, so there is nothing to publish and nothing to rotate but the secret.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import orjson

from cupola.auth.claims import oidc_attributes
from cupola.auth.identity import Identity
from cupola.errors import BadRequestError, UnauthenticatedError

ISSUER = "cupola"
"""The `iss` of such tokens, and so the `issuer` of their users' identities."""

API_KEY_PREFIX = "cupola_key_"
"""What the API keys of such users begin with."""

_ALGORITHM = "HS256"
_LABEL = b"session tokens"
_LIFETIME_S_MAX = 366 * 24 * 3600.0
_RESERVED = frozenset({"iss", "sub", "aud", "exp", "iat", "nbf", "jti"})


class SessionTokens:
    """Signs and verifies the tokens of one deployment. Pure: the same input, the same token."""

    def __init__(self, secret: bytes) -> None:
        self._secret = hmac.digest(secret, b"\x00\x00\x00\x01" + _LABEL, hashlib.sha256)

    @staticmethod
    def issued(issuer: str) -> bool:
        return issuer == ISSUER

    def issue(self, subject: str, claims: Mapping[str, Any], lifetime_s: float, now_ns: int) -> str:
        """A token that proves `subject` until `lifetime_s` from now.

        `claims`: more of OpenID Connect's (`name`, `email`, ...) or the app's own, as plain JSON.

        Raises:
            BadRequestError (InvalidToken): There can be no such token.
        """
        if not subject or not isinstance(subject, str):
            raise _bad("its subject is no text, or empty")
        if not 0 < lifetime_s <= _LIFETIME_S_MAX:
            raise _bad(f"it lives {lifetime_s} s, which is not between 0 and {_LIFETIME_S_MAX:.0f}")
        if taken := _RESERVED & claims.keys():
            raise _bad(f"the claim `{min(taken)}` is the deployment's to make")
        now_s = now_ns // 10**9
        payload = {
            **{name: claim for name, claim in claims.items() if claim is not None},
            "iss": ISSUER,
            "sub": subject,
            "iat": now_s,
            "exp": now_s + int(lifetime_s),
        }
        from joserfc import jws

        try:
            data = orjson.dumps(payload)
        except orjson.JSONEncodeError as error:
            raise _bad(f"its claims are no JSON: {error}") from None
        header = {"alg": _ALGORITHM, "typ": "JWT"}
        return jws.serialize_compact(header, data, self._key(), algorithms=[_ALGORITHM])

    def verify(self, text: str, now_ns: int) -> Identity:
        """Whose a token is.

        Raises:
            UnauthenticatedError (InvalidAuthHeader, Unauthenticated): It is not ours, or expired.
        """
        from joserfc import jws
        from joserfc.errors import JoseError

        try:
            token = jws.deserialize_compact(text, self._key(), algorithms=[_ALGORITHM])
        except (JoseError, ValueError, TypeError, KeyError, AttributeError):  # anybody's header
            raise UnauthenticatedError(
                "This deployment has not signed this token.", code="InvalidAuthHeader"
            ) from None
        claims = orjson.loads(token.payload)
        expires_ns = int(claims["exp"]) * 10**9
        if now_ns >= expires_ns:
            raise UnauthenticatedError("The token has expired.", code="Unauthenticated")
        return Identity("user", oidc_attributes(claims), expires_ns=expires_ns)

    def _key(self) -> Any:
        from joserfc.jwk import OctKey

        return OctKey.import_key(self._secret)


def _bad(why: str) -> BadRequestError:
    return BadRequestError(f"There can be no such token: {why}.", code="InvalidToken")
