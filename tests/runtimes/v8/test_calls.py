"""Queries and mutations in TypeScript, through workers, as serving runs them."""

import pytest

from cupola.auth import Identity

pytestmark = pytest.mark.node


def send(server, body="hi", channel="general"):
    return server.mutation("messages:send", channel=channel, body=body)


def test_a_document_goes_in_and_comes_out(server):
    document_id = send(server)
    (message,) = server.query("messages:list", channel="general")
    assert message["body"] == "hi"
    assert message["_id"] == document_id
    assert server.query("messages:get", id=document_id) == message
