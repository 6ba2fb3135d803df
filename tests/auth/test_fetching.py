"""Fetching beside the event loop: it is answered once, in time, whatever happens."""

from __future__ import annotations

import asyncio
import threading

import pytest

from cupola.auth.fetching import fetch, on_a_thread
from cupola.errors import BadRequestError, OperatorError


def test_a_document_comes_with_its_media_type(identity_provider):
    identity_provider.cache_control = "max-age=7"
    fetched = fetch(identity_provider.jwks_url, timeout_s=5, size_bytes_max=10_000)
    assert b'"keys"' in fetched.data
    assert (fetched.media_type, fetched.max_age_s) == ("application/json", 7.0)


@pytest.mark.parametrize("status, kind", [(404, BadRequestError), (429, OperatorError),
                                          (500, OperatorError), (503, OperatorError)])  # fmt: skip
def test_what_the_provider_answers_decides_who_must_act(identity_provider, status, kind):
    identity_provider.status = status
    with pytest.raises(kind, match=str(status)):
        fetch(identity_provider.jwks_url, timeout_s=5, size_bytes_max=10_000)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/", "http://nowhere.invalid/", "http://[bad/", "http://x:y/"]
)
def test_what_cannot_be_reached_is_an_outage(url):
    with pytest.raises(OperatorError, match="cannot be fetched"):
        fetch(url, timeout_s=5, size_bytes_max=10)


def test_work_that_does_not_end_is_given_up_and_answered_once():
    end = threading.Event()

    async def story() -> list[object]:
        answers: list[object] = []
        answered = asyncio.Event()

        def answer(result: object) -> None:
            answers.append(result)
            answered.set()

        on_a_thread(end.wait, answer, timeout_s=0.01)
        await answered.wait()
        end.set()
        for thread in threading.enumerate():
            if thread.name == "cupola-auth-keys":
                await asyncio.to_thread(thread.join)
        await asyncio.sleep(0)
        return answers

    (answer,) = asyncio.run(story())
    assert isinstance(answer, OperatorError)


def test_a_bug_in_the_work_is_an_answer_too():
    async def story() -> object:
        answer = asyncio.get_running_loop().create_future()
        on_a_thread(lambda: 1 // 0, answer.set_result, timeout_s=5)
        return await answer

    assert "ZeroDivisionError" in str(asyncio.run(story()))


def test_without_a_loop_nobody_else_waits():
    answers: list[object] = []
    on_a_thread(lambda: "done", answers.append, timeout_s=5)
    assert answers == ["done"]
