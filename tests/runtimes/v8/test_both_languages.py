"""Functions of both languages call each other inside one transaction."""

import pytest

pytestmark = pytest.mark.node


def test_typescript_calls_python(bilingual):
    assert bilingual.query("messages:callsPython", n=21) == 42


def test_python_calls_typescript(bilingual):
    bilingual.mutation("messages:clear")
    bilingual.mutation("messages:send", channel="general", body="hi")
    assert bilingual.query("snakes:bodies") == ["hi"]


def test_python_catches_what_typescript_throws_and_keeps_its_own_writes(bilingual):
    bilingual.mutation("messages:clear")
    assert bilingual.mutation("snakes:send_and_fail") == "ApplicationError: bad"
    assert bilingual.query("messages:all") == ["kept"]
