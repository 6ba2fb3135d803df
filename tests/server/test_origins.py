"""Whose address functions are told: that of the client, and nobody's invention."""

import json

import pytest

from cupola.auth import Origin
from cupola.errors import ConfigurationError
from cupola.server.origins import Origins

PRIVATE = "10.0.0.0/8,::1"
CASES = [
    # what connects, what X-Forwarded-For says, and who it was
    ("203.0.113.7", None, "203.0.113.7"),
    ("203.0.113.7", "198.51.100.1", "203.0.113.7"),  # no proxy of ours wrote that
    ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
    ("10.0.0.1", "1.1.1.1, 198.51.100.1", "198.51.100.1"),  # the client made up the first
    ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),  # two proxies of ours
    ("10.0.0.1", "10.1.1.1, 10.0.0.2", "10.1.1.1"),  # a client inside
    ("::1", "2001:db8::1", "2001:db8::1"),
    ("::1", "[2001:db8::1]:443", "2001:db8::1"),
    ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
    ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
    ("10.0.0.1", "nonsense", "10.0.0.1"),
    ("10.0.0.1", "unknown, 10.0.0.2", "10.0.0.2"),
    ("10.0.0.1", "", "10.0.0.1"),
    ("10.0.0.1", "1.1.1.1" + ", 10.0.0.2" * 10_000, "10.0.0.2"),
    (None, "198.51.100.1", None),  # a socket without an address
]


@pytest.mark.parametrize(("peer", "forwarded", "client"), CASES)
def test_the_client_is_who_the_last_trusted_proxy_saw(peer, forwarded, client):
    assert Origins(PRIVATE).of(peer, None, forwarded).ip == client


def test_proxies_of_this_machine_are_trusted_by_default():
    assert Origins().of("127.0.0.1", None, "198.51.100.1").ip == "198.51.100.1"
    assert Origins().of("10.0.0.1", None, "198.51.100.1").ip == "10.0.0.1"
    assert Origins("").of("127.0.0.1", None, "198.51.100.1").ip == "127.0.0.1"
    assert Origins("*").of("203.0.113.7", None, "198.51.100.1").ip == "198.51.100.1"


def test_a_user_agent_is_kept_short():
    assert Origins().of(None, "a" * 100_000, None).user_agent == "a" * 1024


def test_what_is_no_network_is_refused_at_the_start():
    with pytest.raises(ConfigurationError, match=r"'10\.0\.0\.1/8'.*--trusted-proxies"):
        Origins("127.0.0.1,10.0.0.1/8")


def test_a_session_has_an_origin(start_server, tmp_path):
    """All that it asks for comes from where it has connected from."""
    server = start_server()
    head = {"User-Agent": "tester/1", "X-Forwarded-For": "198.51.100.1"}
    with server.websocket(**head) as socket:
        socket.send(json.dumps({"hello": 1}).encode())
        socket.receive_text()  # the echo: the session is open
        assert server.backend.hosts[-1].origin == Origin("198.51.100.1", "tester/1")
