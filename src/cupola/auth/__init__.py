"""Who is calling: identities, admin keys, `Authorization` headers, a deployment's credentials."""

from cupola.auth.admin_keys import AdminKeys
from cupola.auth.authorization import authenticate, parse_authorization
from cupola.auth.credentials import (
    DEFAULT_INSTANCE_NAME,
    Credentials,
    load_or_create_credentials,
)
from cupola.auth.identity import ANONYMOUS, Identity, acting_as

__all__ = [
    "ANONYMOUS",
    "DEFAULT_INSTANCE_NAME",
    "AdminKeys",
    "Credentials",
    "Identity",
    "acting_as",
    "authenticate",
    "load_or_create_credentials",
    "parse_authorization",
]
