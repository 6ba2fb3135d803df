"""The sync protocol's WebSocket: frames in, frames out, and nothing of what they mean.

uvicorn parses the head of an upgrade request and hands the connection to `SyncProtocol`, a picows
protocol; picows parses and unmasks frames in C and calls `Connection`, which is the `Channel` of
one session of the backend. What picows leaves to us is here: joining fragments, answering pings and
close handshakes, bounding what a peer may make us hold, and pausing a peer that does not read.

Receiving. The read buffer of picows grows with the largest frame and never shrinks. So a
connection that received one is given a fresh protocol object at its next heartbeat, and frames
and fragments that are still incomplete count against one budget of all connections.

Reserved: permessage-deflate is not negotiated. It costs 2 to 50 times the CPU of a send.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from struct import Struct

from picows import WSAutoPingStrategy, WSFrame, WSListener, WSMsgType, WSTransport
from picows.common import WSUpgradeRequest, WSUpgradeResponse, WSUpgradeResponseWithListener
from picows.picows import WSProtocol  # type: ignore[attr-defined]  # public, but not in the stub

from cupola.backend import Backend, SessionHost
from cupola.errors import CupolaError, OverloadedError
from cupola.server.clients import UNKNOWN_CLIENT, Client, client_of_sync_version, parse_client
from cupola.server.errors import NotFoundError, error_body
from cupola.server.heartbeat import Heartbeat
from cupola.server.metrics import ServerMetrics
from cupola.server.origins import Origins
from cupola.sync.frames import Frame, SharedFrame

logger = logging.getLogger("cupola.server")

# Every broken peer makes picows log an error; ours are caught and logged before it sees them.
_picows_logger = logging.getLogger("cupola.server.picows")
_picows_logger.setLevel(logging.CRITICAL + 1)

KiB, MiB = 2**10, 2**20
PING_INTERVAL_S = 5.0
CLOSE_TIME_S = 2.0

PROTOCOL_BROKEN = 1002
TOO_BIG = 1009
INTERNAL = 1011
RESTARTING = 1012
OVERLOADED = 1013
RESTART_REASON = "InternalServerError"  # the published client comes back soonest with this one

_HEAD_BYTES_MAX = 15 * KiB
_READ_BUFFER_BYTES = 2 * KiB
_LARGE_BYTES = 64 * KiB
_RECEIVING_BYTES_MAX = 256 * MiB
_SENDING_BYTES_MAX = 64 * MiB
_FRAME_BYTES_MAX = 8 * MiB  # the Rust client refuses more than 16 MiB in one frame
_COPIED_BYTES_MAX = 64 * KiB
# Above this, picows passes the header to the event loop in a buffer that it uses again at once. If
# the socket is full, uvloop writes it later, and the header of another message goes out instead.
_PICOWS_BYTES_MAX = 8192
_CLOSE_REASON_BYTES_MAX = 123

_TEXT, _CONTINUATION = WSMsgType.TEXT, WSMsgType.CONTINUATION
_PING_FRAME = b"\x89\x00"
_pack_middle_header, _pack_long_header = Struct(">BBH").pack, Struct(">BBQ").pack
_buffer_updated = WSProtocol.buffer_updated


class Connections:
    """All sync connections of a server, and what they share."""

    def __init__(
        self,
        backend: Backend,
        metrics: ServerMetrics,
        ping_interval_s: float = PING_INTERVAL_S,
        origins: Origins | None = None,
    ) -> None:
        self.backend = backend
        self.limits = backend.limits
        self.metrics = metrics
        self.origins = origins or Origins()
        self.heartbeat = Heartbeat(ping_interval_s)
        self.receiving_bytes = 0
        self._open: set[Connection] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    def protocol(self, config: object, server_state: object, app_state: object) -> "SyncProtocol":
        """What uvicorn calls as its `ws` class, with the arguments it passes."""
        return SyncProtocol(self)

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: "Connection") -> None:
        self._open.add(connection)
        self._empty.clear()
        self.heartbeat.join(connection)
        self.metrics.connections += 1
        self.metrics.connections_total += 1

    def remove(self, connection: "Connection") -> None:
        self._open.discard(connection)
        self.heartbeat.leave(connection)
        self.metrics.connections -= 1
        if not self._open:
            self._empty.set()

    async def close_all(self, code: int, reason: str, wait_s: float = CLOSE_TIME_S) -> None:
        """Say goodbye to everyone, and hang up on who does not answer in time."""
        for connection in tuple(self._open):
            connection.close(code, reason)
        try:
            async with asyncio.timeout(wait_s):
                await self._empty.wait()
        except TimeoutError:
            for connection in tuple(self._open):
                connection.abort("shutdown")
            await asyncio.sleep(0)
        self.heartbeat.stop()


class SyncProtocol(WSProtocol):  # type: ignore[misc]  # picows is compiled and has no types here
    """picows under uvicorn: decides about the upgrade, and counts what is read.

    The constructor's arguments are those of picows 2.3, which is pinned for that reason.
    """

    def __init__(self, connections: Connections, connection: "Connection | None" = None) -> None:
        self._connections = connections
        self._metrics = connections.metrics
        self.connection = connection
        super().__init__(
            None,  # host and port: a server has none to ask for
            None,  # path, likewise
            False,  # is_client_side
            self._greet if connection is None else lambda request: connection,
            _picows_logger,
            True,  # disconnect_on_exception
            None,  # handshake timeout: uvicorn hands over a head that is complete
            False,  # its own pings, which are one task per connection; see `Connection.beat`
            20,
            20,
            WSAutoPingStrategy.PING_WHEN_IDLE,
            False,  # answers pings by itself; `Connection` must see them, to know who is alive
            connections.limits.frame_size_bytes_max,
            None,  # extra headers, of clients
            _READ_BUFFER_BYTES,
        )

    def data_received(self, data: bytes) -> None:
        """The head of the request, as uvicorn repeats it; everything else comes to the buffer."""
        if len(data) > _HEAD_BYTES_MAX:
            transport = self.transport.underlying_transport
            transport.write(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
            transport.write(b"connection: close\r\ncontent-length: 0\r\n\r\n")
            transport.close()
            return
        while data:
            space = self.get_buffer(-1)
            part = data[: len(space)]
            space[: len(part)] = part
            data = data[len(part) :]
            _buffer_updated(self, len(part))

    def buffer_updated(self, nbytes: int) -> None:
        self._metrics.bytes_received += nbytes
        if self.connection is not None:
            self.connection.count_unread(nbytes)
        _buffer_updated(self, nbytes)

    def _greet(self, request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener:
        """A connection, or the answer that refuses it."""
        # uvicorn saw the token `upgrade`; picows wants it alone, but Firefox sends two.
        request.headers["Connection"] = "Upgrade"
        try:
            client = _client_of(request)
            self._require_capacity()
        except CupolaError as error:
            response = WSUpgradeResponse.create_error_response(
                error.http_status, error_body(error), {"Content-Type": "application/json"}
            )
            return WSUpgradeResponseWithListener(response, None)
        self.connection = Connection(self._connections, client, _hints(request))
        return self.connection

    def _require_capacity(self) -> None:
        state = self._connections.backend.state
        if state != "ready":
            raise OverloadedError(f"The deployment is not ready: it is {state}.", code="NotReady")
        sessions_max = self._connections.limits.sessions_max
        if len(self._connections) >= sessions_max:
            raise OverloadedError(
                f"{sessions_max} sync connections are open; that is the bound (sessions_max).",
                code="TooManyConcurrentRequests",
            )


def _client_of(request: WSUpgradeRequest) -> Client:
    """Who connects to `/api/sync` or `/api/<version>/sync`: the header says so, or else the path.

    Raises:
        NotFoundError: Another path.
        BadRequestError (InvalidClientVersion): No version in the one that counts.
    """
    path = request.path.partition(b"?")[0].decode("latin-1")
    pieces = path.lstrip("/").split("/")
    if not path.startswith("/") or pieces[0] != "api" or pieces[-1] != "sync" or len(pieces) > 3:
        raise NotFoundError(f"There is no WebSocket at {path[:200]}; connect to /api/sync.")
    header = request.headers.get("Convex-Client")
    if header is not None:
        return parse_client(header)
    return client_of_sync_version(pieces[1]) if len(pieces) == 3 else UNKNOWN_CLIENT


def _hints(request: WSUpgradeRequest) -> tuple[str | None, str | None]:
    """What the head of the request says about where it comes from, as `Origins.of` takes it."""
    forwarded = request.headers.getall("X-Forwarded-For", None)
    return request.headers.get("User-Agent"), None if forwarded is None else ",".join(forwarded)


class Connection(WSListener):
    """One client: the `Channel` that the backend's session writes to, and who reads for it."""

    __slots__ = (
        "_buffered_bytes",
        "_client",
        "_closing",
        "_connections",
        "_fragments",
        "_fragments_bytes",
        "_grown",
        "_hang_up",
        "_heard",
        "_held_bytes",
        "_hints",
        "_host",
        "_metrics",
        "_paused",
        "_send_frame",
        "_silent_beats",
        "_stalled_beats",
        "_underlying",
        "_unread_bytes",
        "slot",
    )

    def __init__(
        self, connections: Connections, client: Client, hints: tuple[str | None, str | None]
    ) -> None:
        self.slot = 0
        self._hints = hints
        self._connections = connections
        self._metrics = connections.metrics
        self._client = client
        self._host: SessionHost | None = None
        self._closing = False
        self._hang_up: asyncio.TimerHandle | None = None
        self._fragments: list[bytes] | None = None
        self._fragments_bytes = 0
        self._unread_bytes = 0
        self._held_bytes = 0
        self._grown = False
        self._heard = True
        self._silent_beats = 0
        self._paused = False
        self._stalled_beats = 0
        self._buffered_bytes = 0

    # ------------------------------------------------------------------------ called by picows

    def on_ws_connected(self, transport: WSTransport) -> None:
        if self._host is not None:
            return  # a fresh protocol object for an old connection
        self._send_frame: Callable[[WSMsgType, bytes], None] = transport.send
        self._underlying = transport.underlying_transport
        high = self._connections.limits.send_buffer_bytes_max
        self._underlying.set_write_buffer_limits(high=high, low=high // 4)
        self._connections.add(self)
        peer = self._underlying.get_extra_info("peername")
        origin = self._connections.origins.of(peer[0] if peer else None, *self._hints)
        try:
            self._host = self._connections.backend.open_session(
                self, chunked=self._client.understands_chunks, origin=origin
            )
        except CupolaError as error:
            self.close(OVERLOADED, error.code)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self._unread_bytes = frame.tail_size
        if self._held_bytes:
            self._count_held()
        kind = frame.msg_type
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            self.close(PROTOCOL_BROKEN, "reserved bits without an extension")
        elif kind == _TEXT and frame.fin and self._fragments is None:
            self._receive(frame.get_payload_as_bytes())
        else:
            self._receive_other(kind, frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._closing = True
        self._fragments, self._fragments_bytes, self._unread_bytes = None, 0, 0
        self._count_held()
        if self._hang_up is not None:
            self._hang_up.cancel()
        self._connections.remove(self)
        if self._host is not None:
            self._host.disconnected()

    def pause_writing(self) -> None:
        self._paused, self._stalled_beats = True, 0
        if self._host is not None and not self._closing:
            self._host.writable(False)

    def resume_writing(self) -> None:
        self._paused = False
        if self._host is not None and not self._closing:
            self._host.writable(True)

    # ------------------------------------------------------------------------------- receiving

    def _receive(self, message: bytes) -> None:
        if self._closing or self._host is None:
            return
        self._metrics.messages_received += 1
        try:
            self._host.receive(message)
        except Exception:  # a bug of ours: one client may lose its connection, nobody else anything
            logger.exception("A session failed")
            self.close(INTERNAL, "InternalServerError")

    def _receive_other(self, kind: WSMsgType, frame: WSFrame) -> None:
        """All but a text message in one frame, the usual (RFC 6455, sections 5.4 and 5.5)."""
        match kind:
            case WSMsgType.PING:
                if not self._paused:
                    self._write(_header(0x8A, frame.payload_size) + frame.get_payload_as_bytes())
            case WSMsgType.PONG:
                pass
            case WSMsgType.CLOSE:
                self._answer_close(int(frame.get_close_code()))  # type: ignore[call-overload]
            case WSMsgType.BINARY:
                self.close(INTERNAL, "InternalServerError")
            case _ if (kind == _CONTINUATION) == (self._fragments is None):
                self.close(PROTOCOL_BROKEN, "a continuation without a beginning, or the reverse")
            case _:
                self._join(frame)

    def _join(self, frame: WSFrame) -> None:
        fragments = self._fragments = self._fragments or []
        fragments.append(frame.get_payload_as_bytes())
        self._fragments_bytes += frame.payload_size
        if self._fragments_bytes > self._connections.limits.frame_size_bytes_max:
            self._forget_fragments()
            self.close(TOO_BIG, "MessageTooLarge")
        elif frame.fin:
            self._forget_fragments()
            self._receive(b"".join(fragments))
        else:
            self._count_held()

    def _forget_fragments(self) -> None:
        self._fragments, self._fragments_bytes = None, 0
        self._count_held()

    def count_unread(self, nbytes: int) -> None:
        """Bytes were read, of a frame that may not be complete: a sign of life all the same."""
        self._heard = True
        self._unread_bytes += nbytes
        if self._unread_bytes > _LARGE_BYTES:
            self._count_held()

    def _count_held(self) -> None:
        """Bring the common budget up to date with what this connection holds unfinished."""
        size = self._unread_bytes + self._fragments_bytes
        held = size if size > _LARGE_BYTES else 0
        self._connections.receiving_bytes += held - self._held_bytes
        grows = held > self._held_bytes
        self._held_bytes = held
        if grows:
            self._grown = True
            if self._connections.receiving_bytes > _RECEIVING_BYTES_MAX:
                self.close(OVERLOADED, "TooManyConcurrentRequests")

    # --------------------------------------------------------------------------------- sending

    def send(self, *messages: Frame) -> None:
        """Send text messages: those of one call leave in one system call.

        That is worth the trouble of collecting them: a system call costs nine times what all else
        about a small message does, and each wakes the client once.
        """
        if self._closing:
            return
        was_paused = self._paused  # one message alone may be larger than the bound
        first = messages[0]
        if len(messages) > 1:
            self._write_messages(messages)
        elif isinstance(first, SharedFrame):
            shared, own = first.shared, first.own
            size = len(shared) + len(own)
            if size > _FRAME_BYTES_MAX:
                self._write_messages(messages)
            elif not self._underlying.is_closing():
                self._metrics.messages_sent += 1
                self._metrics.bytes_sent += size
                self._underlying.writelines((_header(0x81, size), shared, own))
        elif len(first) <= _PICOWS_BYTES_MAX:
            self._metrics.messages_sent += 1
            self._metrics.bytes_sent += len(first)
            self._send_frame(_TEXT, first)
        else:
            self._write_messages(messages)
        if was_paused and self._underlying.get_write_buffer_size() > _SENDING_BYTES_MAX:
            self.abort("send buffer full")  # a paused client gets no transitions, but all else

    def _write_messages(self, messages: Sequence[Frame]) -> None:
        pieces: list[bytes | memoryview] = []
        is_copied = True
        for message in messages:
            _frame_into(pieces, message)
            is_copied = is_copied and type(message) is bytes
        size = sum(map(len, pieces))
        self._metrics.messages_sent += len(messages)
        self._metrics.bytes_sent += size
        if is_copied and size <= _COPIED_BYTES_MAX:
            self._write(b"".join(pieces))
        elif not self._underlying.is_closing():
            self._underlying.writelines(pieces)

    def _write(self, data: bytes) -> None:
        if not self._underlying.is_closing():
            self._underlying.write(data)

    # --------------------------------------------------------------------------------- closing

    def close(self, code: int | None, reason: str) -> None:
        """Close after everything sent before; hang up if the peer does not answer soon."""
        if self._closing:
            return
        self._closing = True
        self._metrics.count_close(str(code))
        self._write(_close_frame(code, reason))
        self._hang_up = asyncio.get_running_loop().call_later(CLOSE_TIME_S, self._underlying.abort)

    def abort(self, reason: str) -> None:
        """Hang up at once, on a peer that does not listen anyway."""
        self._closing = True
        self._metrics.count_close(reason)
        self._underlying.abort()

    def _answer_close(self, code: int) -> None:
        """The peer closes, or answers our closing: either way, this was the last frame."""
        if not self._closing:
            self._closing = True
            self._write(_close_frame(code if _may_be_sent(code) else None, ""))
        self._underlying.close()

    # ------------------------------------------------------------------------------- heartbeat

    def beat(self) -> None:
        """Ping a client that was silent since the last beat; drop one that is silent or stuck."""
        interval_s = self._connections.heartbeat.interval_s
        limits = self._connections.limits
        if self._paused:
            buffered = self._underlying.get_write_buffer_size()
            if buffered < self._buffered_bytes:  # it reads: it need not say anything, too
                self._stalled_beats = self._silent_beats = 0
            else:
                self._stalled_beats += 1
            self._buffered_bytes = buffered
        if self._heard:
            self._heard, self._silent_beats = False, 0
            if self._grown and not self._unread_bytes and not self._closing:
                self._renew_protocol()
        else:
            self._silent_beats += 1
            if self._silent_beats * interval_s > limits.client_silence_s:
                self.abort("silent")
                return
            if not (self._paused or self._closing):
                self._write(_PING_FRAME)
        if self._paused and self._stalled_beats * interval_s > limits.stalled_session_s:
            self.abort("stalled")

    def _renew_protocol(self) -> None:
        """Replace the protocol object, whose read buffer has grown and holds nothing now."""
        self._grown = False
        muted = _MutedTransport(self._underlying)
        fresh = SyncProtocol(self._connections, self)
        fresh.connection_made(muted)
        fresh.data_received(_SOME_HEAD)  # picows reads no frames before a handshake
        muted.is_muted = False
        self._underlying.set_protocol(fresh)


class _MutedTransport:
    """Swallows the answer to a second handshake, which the peer did not ask for."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.is_muted = True
        self._transport = transport
        self.get_extra_info = transport.get_extra_info
        self.close = transport.close
        self.abort = transport.abort

    def get_write_buffer_size(self) -> int:
        return 1  # as if something waited: so picows writes here, and not to the socket itself

    def write(self, data: bytes) -> None:
        if not self.is_muted:
            self._transport.write(data)


_SOME_HEAD = (
    b"GET / HTTP/1.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


# ------------------------------------------------------------------------------------ frame layout


def _frame_into(pieces: list[bytes | memoryview], message: Frame) -> None:
    """A text message as frames of at most `_FRAME_BYTES_MAX` (RFC 6455, section 5.4)."""
    if len(message) <= _FRAME_BYTES_MAX:
        pieces.append(_header(0x81, len(message)))
        if isinstance(message, SharedFrame):
            pieces += (message.shared, message.own)
        else:
            pieces.append(message)
        return
    view = memoryview(bytes(message))
    for start in range(0, len(message), _FRAME_BYTES_MAX):
        part = view[start : start + _FRAME_BYTES_MAX]
        opcode = 0x01 if start == 0 else 0x00
        final = 0x80 if start + _FRAME_BYTES_MAX >= len(message) else 0x00
        pieces += (_header(opcode | final, len(part)), part)


@lru_cache(maxsize=64)
def _header(first_byte: int, size: int) -> bytes:
    """Cached, since what many clients are sent at one moment is of one size."""
    if size < 126:
        return bytes((first_byte, size))
    if size < 1 << 16:
        return _pack_middle_header(first_byte, 126, size)
    return _pack_long_header(first_byte, 127, size)


def _close_frame(code: int | None, reason: str) -> bytes:
    if code is None:
        return b"\x88\x00"
    text = reason.encode()[:_CLOSE_REASON_BYTES_MAX].decode(errors="ignore").encode()
    return _header(0x88, 2 + len(text)) + code.to_bytes(2, "big") + text


def _may_be_sent(code: int) -> bool:
    """Some codes only stand for what happened, and never travel (RFC 6455, section 7.4)."""
    return 1000 <= code < 5000 and code not in (1004, 1005, 1006, 1015)
