"""What an app sees of a token's claims (the HTTP API, section 8.4)."""

import orjson

from cupola.auth.claims import jwt_attributes, oidc_attributes

WHO = {"iss": "https://i.example/", "sub": "ada"}


def test_every_standard_claim_has_the_name_of_the_reference():
    claims = {
        **WHO,
        "name": "Ada Lovelace",
        "given_name": "Ada",
        "family_name": "Lovelace",
        "nickname": "A",
        "preferred_username": "ada",
        "profile": "https://p",
        "picture": "https://i",
        "website": "https://w",
        "email": "ada@example.com",
        "email_verified": True,
        "gender": "female",
        "birthdate": "1815-12-10",
        "zoneinfo": "Europe/London",
        "locale": "en-GB",
        "phone_number": "+44",
        "phone_number_verified": False,
        "address": {"formatted": "London"},
        "updated_at": 1_700_000_000,
    }
    assert oidc_attributes(claims) == {
        "tokenIdentifier": "https://i.example/|ada",
        "issuer": "https://i.example/",
        "subject": "ada",
        "name": "Ada Lovelace",
        "givenName": "Ada",
        "familyName": "Lovelace",
        "nickname": "A",
        "preferredUsername": "ada",
        "profileUrl": "https://p",
        "pictureUrl": "https://i",
        "websiteUrl": "https://w",
        "email": "ada@example.com",
        "emailVerified": True,
        "gender": "female",
        "birthday": "1815-12-10",
        "timezone": "Europe/London",
        "language": "en-GB",
        "phoneNumber": "+44",
        "phoneNumberVerified": False,
        "address": "London",
        "updatedAt": "2023-11-14T22:13:20Z",
    }


def test_other_claims_keep_their_names_and_their_shapes():
    claims = {**WHO, "roles": ["a", 1], "org": {"id": 7, "tags": [None]}, "https://x/y": True}
    attributes = oidc_attributes(claims)
    assert attributes["roles"] == ["a", 1.0]
    assert attributes["org"] == {"id": 7.0, "tags": [None]}
    assert attributes["https://x/y"] is True


def test_volatile_claims_are_not_shown():
    volatile = {"exp": 1, "iat": 1, "nbf": 1, "jti": "x", "fva": [1], "aud": "a"}
    assert oidc_attributes({**WHO, **volatile}).keys() == {"tokenIdentifier", "issuer", "subject"}
    assert jwt_attributes({**WHO, **volatile}).keys() == {"tokenIdentifier", "issuer", "subject"}


def test_a_claim_cannot_pretend_to_be_somebody_else():
    """`tokenIdentifier` as a custom claim does not replace the real one."""
    lie = {"tokenIdentifier": "https://i.example/|root", "subject": "root"}
    for attributes in (oidc_attributes({**WHO, **lie}), jwt_attributes({**WHO, **lie})):
        assert attributes["tokenIdentifier"] == "https://i.example/|ada"
        assert attributes["subject"] == "ada"


def test_claims_that_are_no_values_are_left_out():
    """One odd claim of a provider must not lock everybody out."""
    odd = {"$set": 1, "fine": "x", "large": list(range(10_000)), "email": 7, "address": "street"}
    for attributes in (oidc_attributes({**WHO, **odd}), jwt_attributes({**WHO, **odd})):
        assert attributes["fine"] == "x"
        assert "$set" not in attributes and "large" not in attributes
    assert "email" not in oidc_attributes({**WHO, **odd})


def test_a_claim_that_is_nested_deeper_than_any_value_is_left_out():
    nested = orjson.loads(b"[" * 900 + b"]" * 900)
    for attributes_of in (oidc_attributes, jwt_attributes):
        assert attributes_of({**WHO, "nested": nested}).keys() == attributes_of(WHO).keys()
