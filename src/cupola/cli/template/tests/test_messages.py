"""The fixture `cupola` is this app on an empty database of its own: no server, no waiting."""

import pytest

from cupola import ApplicationError
from cupola.testing import Deployment


def test_a_message_reaches_whoever_listens(cupola: Deployment) -> None:
    general = cupola.connect().subscribe("messages:list", channel="general")

    cupola.mutation("messages:send", channel="general", author="Ada", body="hi")

    assert [message.body for message in general.next()] == ["hi"]


def test_an_empty_message_is_refused(cupola: Deployment) -> None:
    with pytest.raises(ApplicationError, match="needs some text"):
        cupola.mutation("messages:send", channel="general", author="Ada", body=" ")

    assert cupola.query("messages:list", channel="general") == []
