"""From the claims of a verified token to the attributes an app sees (the HTTP API, section 8.4).

Two tokens of one user that differ in volatile claims only (`exp`, `iat`, `jti`, ...) give equal
attributes, so that the results cached for the one serve the other.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from typing import Any

from cupola.auth.identity import with_floats
from cupola.errors import InvalidValueError
from cupola.values import Value, encode

Claims = Mapping[str, Any]

_TEXTS = {
    "name": "name",
    "given_name": "givenName",
    "family_name": "familyName",
    "nickname": "nickname",
    "preferred_username": "preferredUsername",
    "profile": "profileUrl",
    "picture": "pictureUrl",
    "website": "websiteUrl",
    "email": "email",
    "gender": "gender",
    "birthdate": "birthday",
    "zoneinfo": "timezone",
    "locale": "language",
    "phone_number": "phoneNumber",
}
_FLAGS = {"email_verified": "emailVerified", "phone_number_verified": "phoneNumberVerified"}
_REGISTERED = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "fva"})
_OIDC_TAKEN = frozenset({*_TEXTS, *_FLAGS, *_REGISTERED, "address", "updated_at"})
_NESTING_MAX = 16


def oidc_attributes(claims: Claims) -> dict[str, Value]:
    """Standard claims under the names of the reference, all others as they are."""
    attributes = _who(claims)
    for claim, name in _TEXTS.items():
        if isinstance(text := claims.get(claim), str):
            attributes[name] = text
    for claim, name in _FLAGS.items():
        if isinstance(flag := claims.get(claim), bool):
            attributes[name] = flag
    match claims.get("address"):
        case {"formatted": str(address)}:
            attributes["address"] = address
    if (updated_at := _rfc_3339(claims.get("updated_at"))) is not None:
        attributes["updatedAt"] = updated_at
    custom = ((name, claim) for name, claim in claims.items() if name not in _OIDC_TAKEN)
    return _with_custom(attributes, custom)


def jwt_attributes(claims: Claims) -> dict[str, Value]:
    """All but the registered claims under their own names; nested ones as `outer.inner`."""
    custom = ((name, claim) for name, claim in claims.items() if name not in _REGISTERED)
    return _with_custom(_who(claims), _flat(custom))


def _who(claims: Claims) -> dict[str, Value]:
    issuer, subject = claims["iss"], claims["sub"]
    return {"tokenIdentifier": f"{issuer}|{subject}", "issuer": issuer, "subject": subject}


def _with_custom(
    attributes: dict[str, Value], custom: Iterator[tuple[str, Any]]
) -> dict[str, Value]:
    """Claims never replace attributes; one that is no value (a name with `$`) is left out."""
    for name, claim in custom:
        if claim is None or name in attributes:
            continue
        try:
            value = with_floats(claim)
            encode({name: value})
        except InvalidValueError:
            continue
        attributes[name] = value
    return attributes


def _flat(
    claims: Iterator[tuple[str, Any]], prefix: str = "", depth: int = 0
) -> Iterator[tuple[str, Any]]:
    for name, claim in claims:
        if isinstance(claim, dict) and depth < _NESTING_MAX:
            yield from _flat(iter(claim.items()), f"{prefix}{name}.", depth + 1)
        else:
            yield prefix + name, claim


def _rfc_3339(claim: Any) -> str | None:
    """`updated_at`: seconds since 1970 by the standard, text by some providers."""
    if isinstance(claim, str):
        return claim
    if isinstance(claim, bool) or not isinstance(claim, int | float):
        return None
    try:
        moment = datetime.datetime.fromtimestamp(claim, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return moment.isoformat().replace("+00:00", "Z")
