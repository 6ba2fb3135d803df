"""What `auth.config.ts` may say: who issues the tokens of an app's users."""

from __future__ import annotations

import json
from typing import Any

from cupola.auth.providers import provider_of
from cupola.errors import AuthConfigError, BadRequestError

_ALGORITHMS = ("RS256", "ES256")


def providers_of(text: str) -> list[dict[str, Any]]:
    """The providers, each in one of two shapes: `{domain, applicationID}` or a customJwt.

    Raises:
        BadRequestError (InvalidAuthConfig): Something else.
    """
    exported = json.loads(text)
    providers = exported.get("providers") if isinstance(exported, dict) else None
    if not isinstance(providers, list):
        raise _bad("its default export must be an object with a list of `providers`")
    return [_provider(provider) for provider in providers]


def _provider(provider: Any) -> dict[str, Any]:
    if not isinstance(provider, dict):
        raise _bad("each provider is an object")
    if "applicationId" in provider:
        raise _bad("`applicationId` is spelled `applicationID`")
    match provider.get("type"):
        case None | "oidc":
            return _checked(
                {
                    "applicationID": _text(provider, "applicationID"),
                    "domain": _text(provider, "domain"),
                }
            )
        case "customJwt":
            if provider.get("algorithm") not in _ALGORITHMS:
                raise _bad(f"`algorithm` is one of {', '.join(_ALGORITHMS)}")
            application = provider.get("applicationID")
            if application is not None and not isinstance(application, str):
                raise _bad("`applicationID` must be a text")
            return _checked(
                {
                    "type": "customJwt",
                    "applicationID": application,
                    "issuer": _text(provider, "issuer"),
                    "jwks": _text(provider, "jwks"),
                    "algorithm": provider["algorithm"],
                }
            )
        case other:
            raise _bad(f"there is no provider type {other!r}; leave it out or write customJwt")


def _checked(provider: dict[str, Any]) -> dict[str, Any]:
    """Raises: BadRequestError (InvalidProviderDomainUrl, InvalidAuthConfig): A URL is none."""
    try:
        provider_of(provider)
    except AuthConfigError as error:
        raise BadRequestError(error.message, code=error.code) from None
    return provider


def _text(provider: dict[str, Any], name: str) -> str:
    value = provider.get(name)
    if not isinstance(value, str) or not value:
        raise _bad(f"a provider lacks `{name}`, or it is no text")
    return value


def _bad(reason: str) -> BadRequestError:
    return BadRequestError(f"auth.config.ts makes no sense: {reason}.", code="InvalidAuthConfig")
