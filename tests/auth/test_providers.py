"""Declaring who issues tokens: what is refused while an app is loaded or pushed."""

import pytest

from cupola.auth import JwtProvider, OidcProvider
from cupola.auth.providers import is_same_issuer, provider_of
from cupola.errors import AuthConfigError

JWKS = "https://auth.example.com/jwks.json"


def test_a_domain_without_a_scheme_is_https():
    assert OidcProvider("tenant.example.com", "web").domain == "https://tenant.example.com"
    assert OidcProvider("localhost:8080/realm", "web").domain == "https://localhost:8080/realm"
    assert OidcProvider("http://127.0.0.1:9/", "web").domain == "http://127.0.0.1:9/"


@pytest.mark.parametrize(
    "domain", ["", '"https://x.com"', "ftp://x.com", "intranet", "https://", 7]
)
def test_what_is_no_domain_has_the_code_that_the_command_line_knows(domain):
    with pytest.raises(AuthConfigError) as caught:
        OidcProvider(domain, "web")
    assert caught.value.code == "InvalidProviderDomainUrl"


def test_a_jwt_provider_names_one_of_two_algorithms_and_a_place_for_its_keys():
    with pytest.raises(AuthConfigError, match="RS256, ES256"):
        JwtProvider("https://x.com", JWKS, "HS256")  # type: ignore[arg-type]
    with pytest.raises(AuthConfigError, match="data: URI"):
        JwtProvider("https://x.com", "/etc/passwd", "RS256")
    with pytest.raises(AuthConfigError, match="application id"):
        OidcProvider("https://x.com", "")


def test_pushed_providers_have_the_same_shapes():
    pushed = {"applicationID": "web", "domain": "https://x.com"}
    assert provider_of(pushed) == OidcProvider("https://x.com", "web")
    custom = {"type": "customJwt", "issuer": "x.com", "jwks": JWKS, "algorithm": "ES256"}
    assert provider_of(custom) == JwtProvider("https://x.com", JWKS, "ES256")


@pytest.mark.parametrize(
    "token, configured, same",
    [
        ("https://x.com", "https://x.com", True),
        ("https://x.com/", "https://x.com", True),
        ("x.com", "https://x.com/", True),
        ("http://x.com", "https://x.com", False),
        ("https://x.com/realm", "https://x.com", False),
        ("https://x.com.evil.com", "https://x.com", False),
    ],
)
def test_issuers_are_compared_without_the_slash_at_the_end(token, configured, same):
    assert is_same_issuer(token, configured) is same
