"""A deployment's name and secret: made once, kept private, replaced only on purpose."""

import stat

import pytest

from cupola.auth import load_or_create_credentials
from cupola.backend import Backend
from cupola.errors import ConfigurationError


def test_credentials_are_made_once_and_found_again(tmp_path):
    first = load_or_create_credentials(tmp_path)
    assert first.instance_name == "convex-self-hosted"
    assert load_or_create_credentials(tmp_path) == first
    key = first.admin_keys().issue()
    assert load_or_create_credentials(tmp_path).admin_keys().verify(key).kind == "admin"


def test_each_deployment_gets_its_own_secret(tmp_path):
    one = load_or_create_credentials(tmp_path / "one")
    assert load_or_create_credentials(tmp_path / "two").instance_secret != one.instance_secret


def test_only_the_owner_may_read_the_secret(tmp_path):
    load_or_create_credentials(tmp_path)
    mode = (tmp_path / "credentials" / "instance_secret").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_explicit_values_are_kept_for_the_other_commands(tmp_path):
    given = load_or_create_credentials(tmp_path, "carnitas", "ab" * 32)
    assert given.instance_secret == b"\xab" * 32
    assert load_or_create_credentials(tmp_path) == given


@pytest.mark.parametrize("secret", ["abcd", "zz" * 32, "ab" * 33])
def test_a_bad_secret_is_refused_and_leaves_the_stored_one(tmp_path, secret):
    kept = load_or_create_credentials(tmp_path)
    with pytest.raises(ConfigurationError, match="64 hexadecimal digits"):
        load_or_create_credentials(tmp_path, secret=secret)
    assert load_or_create_credentials(tmp_path) == kept


def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="file"):
        load_or_create_credentials(tmp_path / "file")


def test_a_deployment_has_the_same_name_wherever_nobody_gives_one(tmp_path):
    """A key made for the one must not be refused by the other."""
    assert Backend().instance_name == load_or_create_credentials(tmp_path).instance_name
