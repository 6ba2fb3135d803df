"""`cupola admin-key`: keys that the deployment accepts, without a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cupola.auth import AdminKeys

SECRET = "4361726e697461732c206c69746572616c6c79206d65616e696e6720226c6974"
KEYS = AdminKeys("carnitas", bytes.fromhex(SECRET))
GIVEN = ["--instance-name", "carnitas", "--instance-secret", SECRET]


def test_a_key_for_a_name_and_a_secret(cupola: Any, tmp_path: Path) -> None:
    printed = cupola("admin-key", *GIVEN)

    assert KEYS.verify(printed.stdout.strip()).may_call_internal
    assert list(tmp_path.iterdir()) == []


def test_a_read_only_key_as_json(cupola: Any) -> None:
    facts = json.loads(cupola("admin-key", *GIVEN, "--read-only", "--json").stdout)

    assert KEYS.verify(facts.pop("adminKey")).read_only
    assert facts == {"instanceName": "carnitas", "readOnly": True}


def test_a_key_of_the_data_folder(start: Any, cupola: Any) -> None:
    """Whatever is asked for, what the server stored stays as it is."""
    server = start("serve", *GIVEN)

    for words in (["--data", server.data], [server.app], [server.app, *GIVEN[2:]]):
        assert KEYS.verify(cupola("admin-key", *words).stdout.strip())
    other = cupola("admin-key", server.app, "--instance-name", "other").stdout
    assert other.startswith("other|")
    assert (server.data / "credentials" / "instance_name").read_text() == "carnitas\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "holds no credentials yet"),
        (["--instance-name", "a", "--instance-secret", "xyz"], "64 hexadecimal digits"),
        (["--instance-name", "a|b", "--instance-secret", SECRET], "cannot name a deployment"),
    ],
)
def test_no_key_without_a_secret(cupola: Any, tmp_path: Path, words: list[str], said: str) -> None:
    ended = cupola("admin-key", *words)

    assert (ended.returncode, ended.stdout) == (3, "")
    assert said in ended.stderr
    assert list(tmp_path.iterdir()) == []
