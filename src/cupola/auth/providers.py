"""Who issues the tokens of an app's users (the HTTP API, section 8.1).

    OidcProvider   publishes its issuer and keys at `<domain>/.well-known/openid-configuration`
    JwtProvider    signs JWTs with keys found at a URL, or written down in a `data:` URI

Both are declared by `auth.config.ts` of a pushed app, or by `providers` in
`functions/auth_config.py`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

from cupola.errors import AuthConfigError

Algorithm = Literal["RS256", "ES256"]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HOST_WITHOUT_SCHEME = re.compile(r"localhost|(?:[A-Za-z0-9_-]+\.)+[A-Za-z][A-Za-z0-9-]+")


@dataclasses.dataclass(frozen=True, slots=True)
class OidcProvider:
    """An OpenID Connect provider: Auth0, Clerk, Keycloak, Google and so on.

    `domain`: its issuer URL. `application_id`: the audience (`aud`) of the tokens meant for this
    app; tokens of that provider for other apps are refused.

    Raises:
        AuthConfigError: The domain is no such URL.
    """

    domain: str
    application_id: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "domain", checked_issuer(self.domain))
        if not isinstance(self.application_id, str) or not self.application_id:
            raise AuthConfigError(f"The provider {self.domain} lacks an application id.")

    @property
    def issuer(self) -> str:
        return self.domain

    @property
    def audience(self) -> str | None:
        return self.application_id


@dataclasses.dataclass(frozen=True, slots=True)
class JwtProvider:
    """Whoever signs JWTs, without OpenID Connect's discovery.

    `jwks`: where its key set is: a URL, or a `data:` URI that holds it. Every token needs a `kid`
    and an `exp`. Without `application_id`, tokens for any audience are accepted.

    Raises:
        AuthConfigError: A part of it makes no sense.
    """

    issuer: str
    jwks: str
    algorithm: Algorithm
    application_id: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "issuer", checked_issuer(self.issuer))
        if self.algorithm not in get_args(Algorithm):
            raise AuthConfigError(
                f"The provider {self.issuer} has the algorithm {self.algorithm!r}; "
                f"it is one of {', '.join(get_args(Algorithm))}."
            )
        if not self.jwks.startswith(("data:", "http://", "https://")):
            raise AuthConfigError(
                f"The provider {self.issuer} has its keys at {self.jwks!r}; "
                "give an http(s) URL or a data: URI."
            )

    @property
    def audience(self) -> str | None:
        return self.application_id


Provider: TypeAlias = OidcProvider | JwtProvider


def provider_of(pushed: Mapping[str, Any]) -> Provider:
    """A provider as pushes say it, its shape already checked (deploy.auth_config).

    Raises:
        AuthConfigError: A URL makes no sense.
    """
    if pushed.get("type") == "customJwt":
        return JwtProvider(
            pushed["issuer"], pushed["jwks"], pushed["algorithm"], pushed.get("applicationID")
        )
    return OidcProvider(pushed["domain"], pushed["applicationID"])


def checked_issuer(text: str) -> str:
    """An issuer as it is configured, with a scheme.

    Raises:
        AuthConfigError (InvalidProviderDomainUrl): No http(s) URL, or no host that could be one's.
    """
    if not isinstance(text, str) or not text or text.startswith('"'):
        raise _bad_domain(text, "it is empty or begins with a quotation mark")
    if not _SCHEME.match(text):
        host = text.partition("/")[0].partition(":")[0]
        if not _HOST_WITHOUT_SCHEME.fullmatch(host):
            raise _bad_domain(text, "its host has no top-level domain; or write `http://` before")
        text = f"https://{text}"
    try:
        parts = urlsplit(text)
    except ValueError:
        raise _bad_domain(text, "it is no URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _bad_domain(text, "it must be an http or https URL")
    return text


def is_same_issuer(one: str, other: str) -> bool:
    """Whether a token's issuer is the configured one, but for scheme-less and trailing `/`."""
    return _normal(one) == _normal(other)


def _normal(issuer: str) -> str:
    return (issuer if _SCHEME.match(issuer) else f"https://{issuer}").rstrip("/")


def _bad_domain(text: object, why: str) -> AuthConfigError:
    return AuthConfigError(
        f"{text!r} cannot be the domain of an auth provider: {why}.",
        code="InvalidProviderDomainUrl",
    )
