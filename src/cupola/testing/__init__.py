"""Testing apps: a whole deployment in process, without a network, on a clock that stands still.

    from cupola.testing import Deployment

    def test_a_message_reaches_who_listens():
        app = Deployment("path/to/app")
        ada = app.connect()
        general = ada.subscribe("messages:list", channel="general")
        app.mutation("messages:send", channel="general", author="bob", body="hi")
        assert [message.body for message in general.next()] == ["hi"]

With pytest, the fixture `cupola` is a fresh deployment per test; see `cupola.testing.plugin`.
"""

from cupola.clock import ManualClock
from cupola.testing.client import Client, PendingCall, Subscription
from cupola.testing.deployment import Caller, Deployment

__all__ = ["Caller", "Client", "Deployment", "ManualClock", "PendingCall", "Subscription"]
