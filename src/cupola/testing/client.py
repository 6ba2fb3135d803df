"""A client of a test deployment: the sync protocol as over a WebSocket, but over two lists.

Both halves of the conversation are the real ones; only the wire between them is a pair of queues.
Frames cross it when the deployment settles, so a test sees each effect of a call when the call
returns, and can cut the wire in between.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from cupola.errors import ApplicationError, CupolaError, DeveloperError, FunctionNotFoundError
from cupola.functions.definitions import Function, path_of
from cupola.functions.execution import decode_result, encode_arguments
from cupola.sync.client_session import (
    Authenticated,
    AuthenticationFailed,
    ClientEffect,
    ClientSession,
    Completed,
    Reconnect,
    Result,
    ResultsChanged,
    Terminated,
    Token,
)
from cupola.sync.effects import Send
from cupola.sync.frames import Frame
from cupola.values import decode

if TYPE_CHECKING:
    from cupola.backend import Backend
    from cupola.testing.deployment import Deployment


class Connection:
    """One connection's wire: frames under way in both directions; to the server, a `Channel`."""

    def __init__(self, backend: Backend) -> None:
        self.to_server: collections.deque[bytes] = collections.deque()
        self.to_client: collections.deque[bytes] = collections.deque()
        self.close_reason: str | None = None
        """Why the server has closed; None while it has not."""
        self.host = backend.open_session(self)

    def send(self, *frames: Frame) -> None:
        self.to_client.extend(map(bytes, frames))

    def close(self, code: int | None, reason: str) -> None:
        self.close_reason = reason


class Subscription:
    """A live query of one client."""

    def __init__(self, client: Client, path: str, query_id: int) -> None:
        self.path = path
        self.query_id = query_id
        self._client = client
        self._results: list[Result] = []
        self._read = 0

    def __repr__(self) -> str:
        return f"<subscription to {self.path}, {len(self._results)} updates>"

    @property
    def value(self) -> Any:
        """The newest result.

        Raises: what the query failed with; AssertionError if the server has not answered yet.
        """
        return self._client.value_or_raise(self.path, self._newest())

    @property
    def error(self) -> CupolaError | None:
        """What the query fails with now; None if it has a value."""
        result = self._newest()
        return None if result.ok else error_of(result)

    @property
    def updates(self) -> list[Any]:
        """Every result that was sent, oldest first; failures as exceptions.

        After a reconnect the server sends the present one again.
        """
        return [self._value_or_error(result) for result in self._results]

    @property
    def log_lines(self) -> list[str]:
        """What the newest run that was sent has logged."""
        return list(self._newest().log_lines)

    def next(self) -> Any:
        """The next update not seen yet by `next`. The one that `subscribe` brought counts as seen.

        Raises: what the query failed with; AssertionError if there is none.
        """
        if self.is_quiet:
            raise AssertionError(f"{self.path} has sent nothing since it was looked at last")
        self._read += 1
        return self._client.value_or_raise(self.path, self._results[self._read - 1])

    @property
    def is_quiet(self) -> bool:
        """Whether nothing has arrived since the last `next`, or else since `subscribe`."""
        return self._read == len(self._results)

    def unsubscribe(self) -> None:
        """Stop listening."""
        self._client.unsubscribe(self)

    def _newest(self) -> Result:
        assert self._results, f"{self.path} has no result yet; is the client connected?"
        return self._results[-1]

    def _value_or_error(self, result: Result) -> Any:
        return self._client.value_or_raise(self.path, result) if result.ok else error_of(result)

    def receive(self, result: Result) -> None:
        self._results.append(result)

    def mark_read(self) -> None:
        self._read = len(self._results)


class PendingCall:
    """A mutation or action that is on its way."""

    def __init__(self, client: Client, path: str) -> None:
        self.path = path
        self._client = client
        self._result: Result | None = None

    @property
    def is_done(self) -> bool:
        """Whether it is answered and, for a mutation, the client's queries show what it wrote."""
        return self._result is not None

    @property
    def log_lines(self) -> list[str]:
        assert self._result is not None, f"{self.path} is not done"
        return list(self._result.log_lines)

    def result(self) -> Any:
        """What it returned.

        Raises: what it failed with; AssertionError if it is not done.
        """
        assert self._result is not None, f"{self.path} is not done"
        return self._client.value_or_raise(self.path, self._result)

    def complete(self, result: Result) -> None:
        self._result = result


class Client:
    """One connected client, with its own session, as the published clients are."""

    def __init__(self, deployment: Deployment, token: Token | None) -> None:
        self._deployment = deployment
        session_id = UUID(bytes=deployment.clock.random_bytes(16), version=4)
        self.session = ClientSession(session_id)
        self.session.authenticate(token)
        self.connection: Connection | None = None
        self.close_reason: str | None = None
        """Why the last connection ended."""
        self.authentication_error: str | None = None
        self.on_transition: Callable[[], None] | None = None
        """Called after each Transition, when all subscriptions are at its timestamp."""
        self._subscriptions: dict[int, Subscription] = {}
        self._calls: dict[int, PendingCall] = {}

    # ---------------------------------------------------------------- what an app does

    def subscribe(
        self,
        function: Function[Any, Any] | str,
        /,
        args: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Subscription:
        """Listen to a query: `subscribe("messages:list", channel="general")`."""
        path = path_of(function)
        query_id, effects = self.session.subscribe(path, encode_arguments({**(args or {}), **more}))
        subscription = self._subscriptions[query_id] = Subscription(self, path, query_id)
        self.carry_out(effects)
        self._deployment.settle()
        subscription.mark_read()
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        if self._subscriptions.pop(subscription.query_id, None) is not None:
            self.carry_out(self.session.unsubscribe(subscription.query_id))
            self._deployment.settle()

    def mutation(self, function: Function[Any, Any] | str, /, **args: Any) -> Any:
        """Call a mutation and wait until this client's queries show it."""
        call = self.send_mutation(function, **args)
        self._deployment.settle()
        return call.result()

    def action(self, function: Function[Any, Any] | str, /, **args: Any) -> Any:
        """Call an action and wait for it."""
        call = self.send_action(function, **args)
        self._deployment.settle()
        return call.result()

    def send_mutation(self, function: Function[Any, Any] | str, /, **args: Any) -> PendingCall:
        """Call a mutation without waiting: it crosses the wire at the next `settle`."""
        path = path_of(function)
        request_id, effects = self.session.mutation(path, encode_arguments(args))
        return self._sent(request_id, path, effects)

    def send_action(self, function: Function[Any, Any] | str, /, **args: Any) -> PendingCall:
        """Call an action without waiting."""
        path = path_of(function)
        request_id, effects = self.session.action(path, encode_arguments(args))
        return self._sent(request_id, path, effects)

    def _sent(self, request_id: int, path: str, effects: list[ClientEffect]) -> PendingCall:
        call = self._calls[request_id] = PendingCall(self, path)
        self.carry_out(effects)
        return call

    # ---------------------------------------------------------------- the connection

    @property
    def is_connected(self) -> bool:
        return self.connection is not None

    def disconnect(self, reason: str = "ClientDisconnect") -> None:
        """Lose the connection, and all that is under way on it, in both directions."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.host.disconnected()
            self.close_reason = reason
            self.carry_out(self.session.closed(reason))

    def reconnect(self) -> None:
        """Connect again: queries, identity and whatever is unanswered are sent again."""
        self.open_connection()
        self._deployment.settle()

    def open_connection(self) -> None:
        """`reconnect` without settling: nothing has crossed the wire yet."""
        self.disconnect()
        self.connection = Connection(self._deployment.backend)
        self.carry_out(self.session.opened(self._deployment.clock.now_ns() // 1_000_000))

    def move_frames(self) -> bool:
        """Carry everything that is on the wire. Returns whether there was anything."""
        moved = False
        while self.carry_to_server() or self.carry_to_client():
            moved = True
        return moved

    def carry_to_server(self) -> bool:
        """One frame, if there is one."""
        connection = self.connection
        if connection is None or not connection.to_server:
            return False
        connection.host.receive(connection.to_server.popleft())
        return True

    def carry_to_client(self) -> bool:
        """One frame, or else the news that the server has closed."""
        connection = self.connection
        if connection is None:
            return False
        if connection.to_client:
            self.carry_out(self.session.receive(connection.to_client.popleft()))
            return True
        if connection.close_reason is not None:
            self.disconnect(connection.close_reason)
            return True
        return False

    # ---------------------------------------------------------------- what the session says

    def carry_out(self, effects: list[ClientEffect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    if self.connection is not None:
                        self.connection.to_server.append(effect.frame)
                case ResultsChanged():
                    self._show(effect.query_ids)
                case Completed():
                    self._calls.pop(effect.request_id).complete(effect.result)
                case Authenticated():
                    self.authentication_error = None
                case AuthenticationFailed():
                    self.authentication_error = effect.error
                case Reconnect():
                    self.disconnect(effect.reason)
                case Terminated():
                    self.disconnect(effect.error)

    def _show(self, query_ids: list[int]) -> None:
        for query_id in query_ids:
            self._subscriptions[query_id].receive(self.session.results[query_id])
        if self.on_transition is not None:
            self.on_transition()

    def value_or_raise(self, path: str, result: Result) -> Any:
        if result.value is None:
            raise error_of(result)
        try:
            function = self._deployment.backend.app.find(path)
        except FunctionNotFoundError:
            return decode(result.value)
        return decode_result(function, result.value)


def error_of(result: Result) -> CupolaError:
    """A failure as clients hear of it: an application error keeps its data, others are a text."""
    if result.error_data is not None:
        return ApplicationError(decode(result.error_data))
    return DeveloperError(result.error_message or "The function failed.", code="FunctionFailed")
