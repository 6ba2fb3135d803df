"""From a header, or an Authenticate message, to an identity."""

import base64

import pytest

from cupola.auth import (
    ANONYMOUS,
    AdminKeys,
    UserToken,
    acting_as,
    admin_of,
    authenticate,
    parse_authorization,
)
from cupola.errors import BadRequestError, CupolaError

ADA = b'{"issuer":"https://issuer.test","subject":"ada","name":"Ada","age":36,"tags":["a",1]}'


@pytest.fixture(scope="module")
def keys() -> AdminKeys:
    return AdminKeys("cupola-self-hosted", bytes(32))


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_nobody_is_anonymous(keys):
    assert parse_authorization(None, keys) is ANONYMOUS
    assert ANONYMOUS.cache_key == b""
    assert not ANONYMOUS.may_call_internal


@pytest.mark.parametrize("scheme", ["Convex", "convex", "CONVEX"])
def test_an_admin_key_makes_an_admin(keys, scheme):
    identity = parse_authorization(f"{scheme} {keys.issue()}", keys)
    assert identity.kind == "admin"
    assert identity.attributes is None


def test_an_admin_may_act_as_a_user(keys):
    identity = parse_authorization(f"Convex {keys.issue()}:{b64(ADA)}", keys)
    assert identity.may_call_internal
    assert identity.attributes == {
        "tokenIdentifier": "https://issuer.test|ada",
        "issuer": "https://issuer.test",
        "subject": "ada",
        "name": "Ada",
        "age": 36.0,
        "tags": ["a", 1.0],
    }


def test_a_type_prefix_and_an_acting_part_go_together(keys):
    identity = parse_authorization(f"Convex prod:{keys.issue()}:{b64(ADA)}", keys)
    assert identity.attributes is not None


@pytest.mark.parametrize(
    "header, code",
    [
        ("Bearer", "InvalidHeaderFailure"),
        ("x", "InvalidHeaderFailure"),
        ("Basic dXNlcjpwYXNz", "InvalidAdminKey"),
        ("Convex nonsense", "BadAdminKey"),
        ("Convex ", "BadAdminKey"),
    ],
)
def test_a_bad_header_has_a_typed_error(keys, header, code):
    with pytest.raises(CupolaError) as caught:
        parse_authorization(header, keys)
    assert caught.value.code == code
    assert caught.value.http_status in (400, 401)


@pytest.mark.parametrize(
    "attributes",
    [
        b"",
        b"[]",
        b"{",
        b'{"name":"Ada"}',
        b'{"issuer":"i"}',
        b'{"tokenIdentifier":1}',
        b'{"tokenIdentifier":"t","emailVerified":"yes"}',
        b'{"tokenIdentifier":"t","$x":1}',
        b'{"tokenIdentifier":"t","x":' + b"[" * 900 + b"]" * 900 + b"}",
    ],
)
def test_attributes_that_make_no_sense_are_refused(keys, attributes):
    admin = keys.verify(keys.issue())
    with pytest.raises(BadRequestError) as caught:
        acting_as(admin, attributes)
    assert caught.value.code == "InvalidUserIdentity"


def test_attributes_that_are_no_base64_are_refused(keys):
    with pytest.raises(BadRequestError, match="base64"):
        parse_authorization(f"Convex {keys.issue()}:%%%", keys)


def test_only_an_admin_acts_as_somebody():
    with pytest.raises(BadRequestError):
        acting_as(ANONYMOUS, ADA)


def test_equal_users_have_equal_cache_keys_whatever_key_proved_them(keys):
    """The query cache shares results between equal identities, and only between those."""
    one = acting_as(keys.verify(keys.issue()), b'{"tokenIdentifier":"t","a":1,"b":2}')
    two = acting_as(keys.verify(keys.issue()), b'{"b":2.0,"a":1,"tokenIdentifier":"t"}')
    other = acting_as(keys.verify(keys.issue()), b'{"tokenIdentifier":"u","a":1,"b":2}')
    assert one == two and one.cache_key == two.cache_key
    assert other.cache_key not in (one.cache_key, keys.verify(keys.issue()).cache_key, b"")
    read_only = keys.verify(keys.issue(read_only=True))
    assert read_only.cache_key != keys.verify(keys.issue()).cache_key


def test_authenticate_knows_the_three_token_types(keys):
    assert authenticate("None", "", None, keys) is ANONYMOUS
    assert authenticate("Admin", keys.issue(), None, keys).kind == "admin"
    assert authenticate("Admin", keys.issue(), ADA, keys).attributes is not None
    assert authenticate("User", "a.b.c", None, keys) == UserToken("a.b.c")


def test_a_bearer_token_is_still_to_be_verified_and_nobody_where_only_admins_count(keys):
    who = parse_authorization("Bearer a.b.c", keys)
    assert who == UserToken("a.b.c")
    assert admin_of(who) is ANONYMOUS
    assert "a.b.c" not in repr(who)
