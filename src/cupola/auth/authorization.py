"""From a credential to an identity: HTTP's `Authorization`, the sync protocol's `Authenticate`."""

import base64
import binascii
import dataclasses
from typing import Literal

from cupola.auth.admin_keys import AdminKeys
from cupola.auth.identity import ANONYMOUS, Identity, acting_as
from cupola.errors import BadRequestError

TokenType = Literal["User", "Admin", "None"]
_HEADER_LENGTH_MIN = 7  # as the reference: shorter than its shortest scheme and a space


@dataclasses.dataclass(frozen=True, slots=True)
class UserToken:
    """A user's token, which `TokenVerifier` is still to verify."""

    text: str = dataclasses.field(repr=False)


def admin_of(who: Identity | UserToken) -> Identity:
    """The same, where only admins count: users are nobody there, whatever their token proves."""
    return ANONYMOUS if isinstance(who, UserToken) else who


def parse_authorization(header: str | None, admin_keys: AdminKeys) -> Identity | UserToken:
    """The identity an `Authorization` header proves (the HTTP API, section 2.1).

    Raises:
        BadRequestError (InvalidHeaderFailure, InvalidAdminKey): No header of a known form.
        UnauthenticatedError (BadAdminKey): An admin key that does not hold.
    """
    if not header:
        return ANONYMOUS
    if len(header) < _HEADER_LENGTH_MIN:
        raise BadRequestError(
            "The Authorization header is too short; "
            "write `Bearer <token>` or `Convex <admin key>`.",
            code="InvalidHeaderFailure",
        )
    scheme, _, credential = header.partition(" ")
    match scheme.lower():
        case "bearer":
            return UserToken(credential.strip())
        case "convex":
            return _identity_of_admin(credential.strip(), admin_keys)
        case _:
            raise BadRequestError(
                "The Authorization header has an unknown scheme; "
                "write `Bearer <token>` or `Convex <admin key>`.",
                code="InvalidAdminKey",
            )


def authenticate(
    token_type: TokenType, value: str, impersonating: bytes | None, admin_keys: AdminKeys
) -> Identity | UserToken:
    """The identity behind an `Authenticate` message (the sync protocol, sections 3.4 and 7).

    Args:
        impersonating: JSON text of the attributes of the user to act as; admins only.

    Raises: as `parse_authorization`, and BadRequestError (InvalidUserIdentity).
    """
    match token_type:
        case "None":
            return ANONYMOUS
        case "User":
            return UserToken(value)
        case "Admin":
            admin = _identity_of_admin(value, admin_keys)
            return admin if impersonating is None else acting_as(admin, impersonating)


def _identity_of_admin(credential: str, admin_keys: AdminKeys) -> Identity:
    """`[name|]secret part[:base64 of attributes]`: the name may hold colons, the rest none."""
    name, separator, rest = credential.rpartition("|")
    secret_part, _, encoded = rest.partition(":")
    admin = admin_keys.verify(name + separator + secret_part)
    if not encoded:
        return admin
    try:
        attributes = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise BadRequestError(
            "What follows the `:` of the admin key is no base64 of a user's attributes.",
            code="InvalidUserIdentity",
        ) from None
    return acting_as(admin, attributes)
