"""Which client calls: names and versions as they come."""

import pytest

from cupola.errors import BadRequestError
from cupola.server.clients import client_of_sync_version, parse_client


@pytest.mark.parametrize(
    ("header", "name", "version", "release"),
    [
        ("npm-1.48.0", "npm", "1.48.0", (1, 48, 0, True)),
        ("npm-cli-1.48.0", "npm-cli", "1.48.0", (1, 48, 0, True)),
        ("python-0.8.1-a0", "python", "0.8.1-a0", (0, 8, 1, False)),
        ("npm-1.49.0-alpha.1+build.5", "npm", "1.49.0-alpha.1+build.5", (1, 49, 0, False)),
        ("dashboard-4f5a", "dashboard", "4f5a", None),
        ("my-own-tool-v1", "my-own-tool", "v1", None),
        ("npm-01.2.3", "npm", "01.2.3", None),
        ("-1.0.0", "", "1.0.0", (1, 0, 0, True)),
    ],
)
def test_the_name_ends_before_the_longest_version(header, name, version, release):
    client = parse_client(header)
    assert (client.name, client.version, client.release) == (name, version, release)


@pytest.mark.parametrize("header", ["", "npm", "npm1.48.0", "x-" + "1" * 300])
def test_a_header_without_a_version_is_refused(header):
    with pytest.raises(BadRequestError) as caught:
        parse_client(header)
    assert caught.value.code == "InvalidClientVersion"


@pytest.mark.parametrize("version", ["", "1", "1.2", "x", "1.2.3 ", "١.٢.٣", "1.2.3-", "9" * 300])
def test_a_sync_version_must_be_semantic(version):
    with pytest.raises(BadRequestError):
        client_of_sync_version(version)


@pytest.mark.parametrize(
    ("header", "chunks", "encoded"),
    [
        ("npm-1.28.0", True, False),
        ("npm-1.28.0-alpha.0", False, False),
        ("npm-2.0.0", True, False),
        ("npm-1.4.0", False, True),
        ("npm-1.4.1", False, False),
        ("npm-cli-1.3.0", False, True),
        ("python-0.4.9", False, True),
        ("python-0.8.1", False, False),
        ("rust-0.10.4", False, False),
        ("swift-0.1.0", False, False),
    ],
)
def test_what_a_client_understands_follows_from_its_version(header, chunks, encoded):
    client = parse_client(header)
    assert (client.understands_chunks, client.expects_encoded) == (chunks, encoded)
