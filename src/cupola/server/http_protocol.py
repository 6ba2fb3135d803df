"""uvicorn's HTTP protocol, with bounds it lacks and one system call less per answer.

uvicorn parses with llhttp, which bounds nothing by itself: a head may grow for ever, or never end.
And it writes the head and the body of an answer apart, which costs a second system call and wakes
the client twice; with uvloop each is as dear as everything this server does for a cached query.
"""

import asyncio
import http
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from cupola.server.messages import Disconnected

HEAD_BYTES_MAX = 64 * 2**10
HEAD_TIME_S = 30.0

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    for status in http.HTTPStatus
}


class HttpProtocol(HttpToolsProtocol):
    """One connection. A head must be whole within `HEAD_TIME_S` and `HEAD_BYTES_MAX`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_bytes = 0  # read since the parser last finished something
        self._head_timer: asyncio.TimerHandle | None = None
        self._is_in_body = False  # whose time handlers bound; its chunks have heads of their own

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_TIME_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes:
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse_head()
            elif self._head_timer is None and not self._is_in_body:
                self._head_timer = self.loop.call_later(HEAD_TIME_S, self.transport.abort)

    def handle_websocket_upgrade(self) -> None:
        self._stop_head_timer()
        super().handle_websocket_upgrade()

    def on_headers_complete(self) -> None:
        self._head_bytes = 0
        self._is_in_body = True
        self._stop_head_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        self._is_in_body = False
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.__class__ = _Cycle  # the class is named in the middle of a long method of uvicorn's
        super()._start_asgi_task(cycle, app)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse_head(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
                b"connection: close\r\ncontent-length: 0\r\n\r\n"
            )
            self.transport.close()


class _Cycle(RequestResponseCycle):
    """One request and its answer, whose head waits for the first part of the body.

    It serves our own app alone, so it trusts what that sends: names in lower case, no line breaks,
    and a body as long as announced.
    """

    _head: list[bytes]
    _announced_bytes = 0
    _streamed_bytes = 0

    async def send(self, message: Any) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            raise Disconnected  # so that a long answer ends too
        if not self.response_started:
            self._start(message)
        elif not self.response_complete:
            self._continue(message)

    def _start(self, message: Any) -> None:
        self.response_started = True
        self.waiting_for_100_continue = False
        status: int = message["status"]
        line = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status  # any, from HTTP actions
        self._head = head = [line]
        has_length = status in (204, 304)
        for name, value in (*self.default_headers, *message["headers"]):
            if name == b"content-length":
                has_length = True
                self._announced_bytes = int(value)
            elif name == b"connection":
                self.keep_alive = False  # nobody sends another value; the line is written below
                continue
            head += (name, b": ", value, b"\r\n")
        self.chunked_encoding = not has_length and self.scope["method"] != "HEAD"
        if self.chunked_encoding and self.scope["http_version"] == "1.0":  # it knows no chunks
            self.chunked_encoding = self.keep_alive = False
        if self.chunked_encoding:
            head.append(b"transfer-encoding: chunked\r\n")
        if not self.keep_alive:
            head.append(b"connection: close\r\n")
        head.append(b"\r\n")

    def _continue(self, message: Any) -> None:
        more_body: bool = message.get("more_body", False)
        body: bytes = b"" if self.scope["method"] == "HEAD" else message["body"]
        pieces, self._head = self._head, []
        if not self.chunked_encoding:
            pieces.append(body)
            if more_body or self._streamed_bytes:
                self._streamed_bytes += len(body)
                if not more_body and self._streamed_bytes != self._announced_bytes:
                    self.keep_alive = False  # a file that shrank: ending here says that it is cut
        else:
            if body:
                pieces += (b"%x\r\n" % len(body), body, b"\r\n")
            if not more_body:
                pieces.append(b"0\r\n\r\n")
        self.transport.write(b"".join(pieces))
        if not more_body:
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()
