"""Admin keys: what the reference's tools make verifies here, and nothing else does."""

import nacl.secret
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cupola.auth import AdminKeys
from cupola.clock import ManualClock
from cupola.errors import ConfigurationError, UnauthenticatedError

SECRET = bytes(range(32))

# The example that the reference publishes, of the older generation.
PUBLISHED_SECRET = "4361726e697461732c206c69746572616c6c79206d65616e696e6720226c6974"
PUBLISHED_KEY = (
    "0135d8598650f8f5cb0f30c34ec2e2bb62793bc28717c8eb6fb577996d50be5f"
    "4281b59181095065c5d0f86a2c31ddbe9b597ec62b47ded69782cd"
)

FROZEN_KEY = (
    "cupola-self-hosted|01cd072cd8be6f9f62ac4c09c2dc633b9999e9ce313c370335c3255e607b117339"
    "ceb8c3bef977f29dbfac6861b861ccb41b60a5f9154e3abf"
)


@pytest.fixture
def keys() -> AdminKeys:
    return AdminKeys("cupola-self-hosted", SECRET, ManualClock())


def test_the_published_key_verifies():
    identity = AdminKeys("carnitas", bytes.fromhex(PUBLISHED_SECRET)).verify(PUBLISHED_KEY)
    assert identity.kind == "admin"
    assert identity.may_call_internal
    assert not identity.read_only


def test_the_published_key_is_no_key_of_another_deployment():
    with pytest.raises(UnauthenticatedError):
        AdminKeys("tacos", bytes.fromhex(PUBLISHED_SECRET)).verify(PUBLISHED_KEY)


def test_an_issued_key_verifies_and_says_whose_it_is(keys):
    key = keys.issue()
    assert key.startswith("cupola-self-hosted|01")
    assert keys.verify(key).key == key


def test_the_format_of_an_issued_key_stays(keys):
    """Frozen bytes: a change of the derivation or the message would lock every operator out."""
    assert keys.issue() == FROZEN_KEY


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "cupola-self-hosted|",
        "prod:cupola-self-hosted|",
        "dev:cupola-self-hosted|",
        "preview:team:project|",
        "project:team:project|",
    ],
)
def test_type_prefixes_are_ignored(keys, prefix):
    secret_part = keys.issue().partition("|")[2]
    assert keys.verify(prefix + secret_part).kind == "admin"


@pytest.mark.parametrize("prefix", ["another|", "prod:another|", "dev:|", "|"])
def test_a_key_that_names_another_deployment_is_refused(keys, prefix):
    secret_part = keys.issue().partition("|")[2]
    with pytest.raises(UnauthenticatedError, match="admin key was invalid"):
        keys.verify(prefix + secret_part)


def test_a_key_sealed_for_another_name_is_refused_even_when_it_claims_ours(keys):
    other = AdminKeys("another", SECRET).issue().partition("|")[2]
    with pytest.raises(UnauthenticatedError) as caught:
        keys.verify("cupola-self-hosted|" + other)
    assert caught.value.code == "BadAdminKey"


def test_a_read_only_key_says_so(keys):
    assert keys.verify(keys.issue(read_only=True)).read_only
    assert not keys.verify(keys.issue()).read_only


def test_a_key_of_the_older_generation_with_our_secret_verifies(keys):
    message = b"\x0a\x12cupola-self-hosted\x10\x81\x86\xba\x8d\x06\x18\x00\x28\x01"
    sealed = b"\x01" + bytes(nacl.secret.SecretBox(SECRET).encrypt(message, b"n" * 24))
    assert keys.verify("cupola-self-hosted|" + sealed.hex()).read_only


@pytest.mark.parametrize(
    "message",
    [b"", b"\x0a\x12cupola-self-hosted", b"\x0a\xff", b"\x0b", b"\x10\x80", b"\x10" + b"\xff" * 11],
    ids=["empty", "never issued", "cut name", "wire type", "cut number", "endless number"],
)
def test_a_sealed_message_that_makes_no_sense_is_refused(keys, message):
    sealed = b"\x01" + bytes(nacl.secret.SecretBox(SECRET).encrypt(message, b"n" * 24))
    with pytest.raises(UnauthenticatedError):
        keys.verify(sealed.hex())


@pytest.mark.parametrize("text", ["", "|", "x", "cupola-self-hosted|", "01", "é" * 40, "0 " * 40])
def test_what_is_no_key_at_all_is_refused(keys, text):
    with pytest.raises(UnauthenticatedError):
        keys.verify(text)


@settings(max_examples=50)
@given(st.data())
def test_no_changed_digit_goes_unnoticed(data):
    keys = AdminKeys("cupola-self-hosted", SECRET, ManualClock())
    digits = list(keys.issue().partition("|")[2])
    place = data.draw(st.integers(0, len(digits) - 1))
    digits[place] = data.draw(st.sampled_from("0123456789abcdef").filter(digits[place].__ne__))
    with pytest.raises(UnauthenticatedError):
        keys.verify("".join(digits))


@pytest.mark.parametrize("name, secret", [("", SECRET), ("a|b", SECRET), ("a", SECRET[1:])])
def test_a_deployment_that_could_have_no_keys_is_refused(name, secret):
    with pytest.raises(ConfigurationError):
        AdminKeys(name, secret)
