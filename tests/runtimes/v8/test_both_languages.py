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


def test_typescript_calls_python_that_calls_typescript(bilingual):
    bilingual.mutation("messages:clear")
    bilingual.mutation("messages:send", channel="general", body="hi")
    assert bilingual.query("messages:hop", hops=3) == [1, 1, 1, 1]


def test_what_fails_there_is_undone_and_caught_between(bilingual):
    bilingual.mutation("messages:clear")
    found = bilingual.mutation("messages:hopAndCatch", path="messages:failWithData")
    assert found == "ApplicationError"
    assert bilingual.query("messages:all") == ["kept"]


def test_python_between_cannot_catch_the_end_of_the_call(bilingual):
    """The process that ran out of time would answer for what it was asked before."""
    text = bilingual.failure("mutation", "messages:hopAndCatch", path="messages:loopsForEver")
    assert "Function execution timed out" in text
    assert bilingual.query("messages:hop", hops=1) == [1, 1], "nothing was written"
