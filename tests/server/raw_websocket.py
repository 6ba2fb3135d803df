"""A WebSocket client that can misbehave: it sends exactly the bytes it is told to."""

import base64
import os
import socket
import struct
from typing import NamedTuple

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA


class Frame(NamedTuple):
    opcode: int
    fin: bool
    payload: bytes

    @property
    def close_code(self) -> int | None:
        return struct.unpack("!H", self.payload[:2])[0] if self.payload else None

    @property
    def close_reason(self) -> str:
        return self.payload[2:].decode()


class RawWebSocket:
    """Connects and upgrades at once; `status` and `body` tell how that went."""

    def __init__(self, host: str, port: int, path: str, headers: dict[str, str]) -> None:
        self.socket = socket.create_connection((host, port), timeout=10)
        self._buffer = b""
        lines = {
            "Host": f"{host}:{port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.socket.sendall(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
        self.head = self._read_until(b"\r\n\r\n").decode().lower()
        self.status = int(self.head.split(" ")[1])
        self.body = b"" if self.status == 101 else self._rest()

    def __enter__(self) -> "RawWebSocket":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(
        self,
        payload: bytes,
        opcode: int = TEXT,
        *,
        fin: bool = True,
        masked: bool = True,
        rsv: int = 0,
    ) -> None:
        self.socket.sendall(frame_bytes(payload, opcode, fin=fin, masked=masked, rsv=rsv))

    def receive(self) -> Frame:
        """The next frame of any kind; EOFError when the server hung up."""
        first, second = self._read(2)
        assert not second & 0x80, "a server must not mask"
        size = second & 0x7F
        if size == 126:
            size = int.from_bytes(self._read(2), "big")
        elif size == 127:
            size = int.from_bytes(self._read(8), "big")
        return Frame(first & 0x0F, bool(first & 0x80), self._read(size))

    def receive_text(self) -> bytes:
        """The next message, whole; pings are answered on the way."""
        parts = []
        while True:
            frame = self.receive()
            if frame.opcode == PING:
                self.send(frame.payload, PONG)
                continue
            assert frame.opcode in (TEXT, CONTINUATION), frame
            parts.append(frame.payload)
            if frame.fin:
                return b"".join(parts)

    def receive_close(self) -> Frame:
        frame = self.receive()
        assert frame.opcode == CLOSE, frame
        return frame

    def is_closed(self) -> bool:
        """Whether the server hung up, once everything it sent was read."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        return True

    def _read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._receive_more()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def _read_until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            self._receive_more()
        data, _, self._buffer = self._buffer.partition(end)
        return data

    def _receive_more(self) -> None:
        data = self.socket.recv(1 << 20)
        if not data:
            raise EOFError("the server hung up")
        self._buffer += data

    def _rest(self) -> bytes:
        while data := self.socket.recv(65536):
            self._buffer += data
        return self._buffer


def frame_bytes(
    payload: bytes, opcode: int = TEXT, *, fin: bool = True, masked: bool = True, rsv: int = 0
) -> bytes:
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    flag = 0x80 if masked else 0
    size = len(payload)
    if size < 126:
        head = bytes((first, flag | size))
    elif size < 65536:
        head = bytes((first, flag | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, flag | 127)) + size.to_bytes(8, "big")
    if not masked:
        return head + payload
    # The mask 00000000 is as good as any other, and leaves the payload readable.
    return head + bytes(4) + payload
