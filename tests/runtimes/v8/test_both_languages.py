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


def test_typescript_catches_what_python_raises(bilingual):
    """Any exception: it ends neither the worker nor, if it is caught, the call."""
    message, place = bilingual.query("messages:callsPythonThatFails", isCaught=True)
    assert message == "Uncaught ValueError: bad"
    assert "at fail (functions/snakes.py:" in place
    text = bilingual.failure("query", "messages:callsPythonThatFails", isCaught=False)
    assert text.startswith("Uncaught Error: Uncaught ValueError: bad\n")
