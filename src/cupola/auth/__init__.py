"""Who is calling: identities, admin keys, users' tokens, `Authorization` headers, a deployment's
credentials.
"""

from cupola.auth.admin_keys import AdminKeys
from cupola.auth.authorization import UserToken, admin_of, authenticate, parse_authorization
from cupola.auth.credentials import (
    DEFAULT_INSTANCE_NAME,
    Credentials,
    load_or_create_credentials,
)
from cupola.auth.identity import ANONYMOUS, NOWHERE, Identity, Origin, acting_as
from cupola.auth.providers import JwtProvider, OidcProvider, Provider
from cupola.auth.session_tokens import SessionTokens
from cupola.auth.tokens import TokenVerifier

__all__ = [
    "ANONYMOUS",
    "DEFAULT_INSTANCE_NAME",
    "NOWHERE",
    "AdminKeys",
    "Credentials",
    "Identity",
    "JwtProvider",
    "OidcProvider",
    "Origin",
    "Provider",
    "SessionTokens",
    "TokenVerifier",
    "UserToken",
    "acting_as",
    "admin_of",
    "authenticate",
    "load_or_create_credentials",
    "parse_authorization",
]
