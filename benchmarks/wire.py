"""The load generator's two connections: WebSocket (picows) and HTTP/1.1 with keep-alive.

Lean on purpose: the generator shares the machine with the server it measures.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import Self

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class WebSocket(WSListener):
    """Hands every whole text message to `on_text`."""

    transport: WSTransport

    def __init__(self, on_text: Callable[[bytes], None]) -> None:
        self._on_text = on_text
        self._parts: bytes | None = None
        self.received_bytes = 0
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def open(
        cls, url: str, on_text: Callable[[bytes], None], headers: Mapping[str, str] | None = None
    ) -> Self:
        _, listener = await ws_connect(
            lambda: cls(on_text),
            url,
            enable_auto_ping=False,
            websocket_handshake_timeout=30,
            extra_headers=headers,
        )
        assert isinstance(listener, cls)
        return listener

    def send(self, message: bytes) -> None:
        self.transport.send(WSMsgType.TEXT, message)

    async def close(self) -> None:
        self.transport.disconnect()
        await self.closed

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
            return
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
            return
        payload = frame.get_payload_as_bytes()
        self.received_bytes += len(payload)
        if self._parts is not None:
            payload = self._parts + payload
        self._parts = None if frame.fin else payload
        if frame.fin:
            self._on_text(payload)


class HttpConnection(asyncio.Protocol):
    """One keep-alive connection with one request at a time."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._buffer = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._lock = asyncio.Lock()
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        connection = cls(host, port)
        await connection._connect()
        return connection

    async def _connect(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self, self._host, self._port)

    async def request(
        self, method: str, path: str, body: bytes = b"", headers: str = ""
    ) -> tuple[int, bytes]:
        """Status and body of the answer. `headers`: whole lines, each with its CRLF."""
        async with self._lock:
            if self._transport is None:
                await self._connect()
            assert self._transport is not None
            self._answer = asyncio.get_running_loop().create_future()
            head = (
                f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
                f"Content-Type: application/json\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
            )
            self._transport.write(head.encode() + body)
            return await self._answer

    def close(self) -> None:
        if self._transport:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's has no common base

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._answer and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._answer is None or (parsed := _parse_answer(self._buffer)) is None:
            return
        status, body, length = parsed
        del self._buffer[:length]
        answer, self._answer = self._answer, None
        if not answer.done():
            answer.set_result((status, body))


def _parse_answer(buffer: bytearray) -> tuple[int, bytes, int] | None:
    """Status, body and total length of the answer at the buffer's start, once it is whole."""
    head_end = buffer.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    head = bytes(buffer[:head_end]).lower()
    status = int(head[9:12])
    start = head_end + 4
    field = head.find(b"content-length:")
    if field >= 0:
        end = start + int(head[field + 15 :].split(b"\r\n", 1)[0])
        return (status, bytes(buffer[start:end]), end) if len(buffer) >= end else None
    if b"transfer-encoding: chunked" in head:
        if not buffer.endswith(b"0\r\n\r\n"):
            return None
        return status, _join_chunks(bytes(buffer[start:])), len(buffer)
    return status, b"", start


def _join_chunks(raw: bytes) -> bytes:
    body, position = b"", 0
    while True:
        line_end = raw.index(b"\r\n", position)
        size = int(raw[position:line_end], 16)
        if size == 0:
            return body
        body += raw[line_end + 2 : line_end + 2 + size]
        position = line_end + 4 + size
