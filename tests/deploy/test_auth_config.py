"""Providers of `auth.config.ts`: two shapes, and clear words about all others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cupola.deploy.auth_config import providers_of
from cupola.errors import BadRequestError

OIDC = {"domain": "https://issuer.example", "applicationID": "app"}
JWT = {
    "type": "customJwt",
    "issuer": "https://issuer.example",
    "jwks": "https://issuer.example/keys",
    "algorithm": "ES256",
}


def test_both_shapes_are_taken() -> None:
    found = providers_of(json.dumps({"providers": [OIDC, JWT, {**OIDC, "type": "oidc"}]}))
    assert found == [OIDC, {**JWT, "applicationID": None}, OIDC]


@pytest.mark.parametrize(
    ("exported", "words"),
    [
        ([], "list of `providers`"),
        ({"providers": ["x"]}, "is an object"),
        ({"providers": [{"domain": "d", "applicationId": "a"}]}, "applicationID"),
        ({"providers": [{"applicationID": "a"}]}, "`domain`"),
        ({"providers": [{**JWT, "algorithm": "none"}]}, "RS256"),
        ({"providers": [{**JWT, "issuer": 7}]}, "`issuer`"),
        ({"providers": [{"type": "magic"}]}, "'magic'"),
        ({"providers": [{**JWT, "jwks": "/keys"}]}, "data: URI"),
    ],
)
def test_what_makes_no_sense_is_refused(exported: Any, words: str) -> None:
    with pytest.raises(BadRequestError, match=words) as caught:
        providers_of(json.dumps(exported))
    assert caught.value.code == "InvalidAuthConfig"


def test_a_domain_that_is_no_url_has_a_code_of_its_own() -> None:
    with pytest.raises(BadRequestError, match="intranet") as caught:
        providers_of(json.dumps({"providers": [{"domain": "intranet", "applicationID": "a"}]}))
    assert caught.value.code == "InvalidProviderDomainUrl"
