"""The WebSocket as a peer sees it who knows RFC 6455 well, and does not always follow it."""

import socket

import pytest

from cupola.limits import Limits

from .fake_backend import FakeBackend
from .raw_websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame_bytes

MiB = 2**20


@pytest.fixture
def peer(server):
    with server.websocket() as peer:
        yield peer


# ------------------------------------------------------------------------------------- upgrading


@pytest.mark.parametrize(
    ("path", "client", "chunked"),
    [
        ("/api/1.48.0/sync", None, True),
        ("/api/1.28.0/sync", None, True),
        ("/api/1.27.9/sync", None, False),
        ("/api/1.28.0-alpha.1/sync", None, False),
        ("/api/1.49.0-alpha.1/sync", None, True),
        ("//api/1.48.0/sync", None, True),
        ("/api/1.48.0/sync?query=ignored", None, True),
        ("/api/sync", None, False),
        ("/api/sync", "python-0.8.1", False),
        ("/api/sync", "rust-0.10.4", False),
        ("/api/sync", "npm-1.48.0", True),
        ("/api/1.48.0/sync", "python-0.8.1", False),
        ("/api/nonsense/sync", "npm-1.30.1", True),
    ],
)
def test_the_path_or_the_header_says_who_connects(server, path, client, chunked):
    """The header wins. Chunks are for npm 1.28 and newer alone: others break on them."""
    headers = {} if client is None else {"Convex_Client": client}
    with server.websocket(path, **headers) as peer:
        assert peer.status == 101
        peer.send(b"hello")
        assert peer.receive_text() == b"hello"
        assert server.backend.hosts[0].chunked is chunked


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/api/nonsense/sync", {}, 400, "InvalidClientVersion"),
        ("/api/1.48/sync", {}, 400, "InvalidClientVersion"),
        ("/api/sync", {"Convex_Client": "curl"}, 400, "InvalidClientVersion"),
        ("/api/query", {}, 404, "NotFound"),
        ("/sync", {}, 404, "NotFound"),
        ("/api/a/b/sync", {}, 404, "NotFound"),
        ("/", {}, 404, "NotFound"),
    ],
)
def test_other_upgrades_are_refused_with_json(server, path, headers, status, code):
    with server.websocket(path, **headers) as peer:
        assert peer.status == status
        assert "content-type: application/json" in peer.head
        assert f'"code":"{code}"'.encode() in peer.body


@pytest.mark.parametrize("headers", [{"Sec_WebSocket_Version": "12"}, {"Sec_WebSocket_Key": "x"}])
def test_a_handshake_of_another_kind_is_refused(server, headers):
    with server.websocket(**headers) as peer:
        assert peer.status == 400


def test_firefox_names_two_connection_options(server):
    with server.websocket(Connection="keep-alive, Upgrade") as peer:
        assert peer.status == 101


def test_a_long_head_passes_and_a_huge_one_is_refused(server):
    with server.websocket(Cookie="c" * 8000) as peer:
        assert peer.status == 101
    with server.websocket(Cookie="c" * 40_000) as peer:
        assert peer.status == 431


def test_a_connection_may_serve_http_first(server):
    with socket.create_connection(("127.0.0.1", server.server.port), timeout=10) as peer:
        peer.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
        assert peer.recv(65536).startswith(b"HTTP/1.1 200")
        peer.sendall(
            b"GET /api/sync HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert peer.recv(65536).startswith(b"HTTP/1.1 101")


def test_no_session_is_opened_beyond_the_bound_or_while_draining(start_server):
    running = start_server(FakeBackend(Limits(sessions_max=1)))
    with running.websocket() as first, running.websocket() as second:
        assert first.status == 101
        assert second.status == 503
        assert b"sessions_max" in second.body
    running.eventually(lambda: running.backend.hosts[0].is_disconnected)
    with running.websocket() as third:
        assert third.status == 101
    running.backend.state = "starting"
    with running.websocket() as fourth:
        assert fourth.status == 503


# -------------------------------------------------------------------------------------- receiving


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 1_000_000])
def test_messages_of_all_sizes_arrive(peer, size):
    peer.send(b"m" * size)
    assert peer.receive_text() == b"m" * size


def test_messages_may_arrive_in_any_pieces(peer):
    for byte in frame_bytes(b"hello"):
        peer.socket.sendall(bytes((byte,)))
    peer.socket.sendall(frame_bytes(b"one") + frame_bytes(b"two") + frame_bytes(b"three")[:4])
    peer.socket.sendall(frame_bytes(b"three")[4:])
    assert [peer.receive_text() for _ in range(4)] == [b"hello", b"one", b"two", b"three"]


def test_fragments_are_joined_with_pings_between_them(peer):
    peer.send(b"one ", fin=False)
    peer.send(b"ping", PING)
    peer.send(b"", CONTINUATION, fin=False)
    peer.send(b"two", CONTINUATION)
    assert peer.receive() == (PONG, True, b"ping")
    assert peer.receive_text() == b"one two"


def test_a_ping_is_answered_with_what_it_says(peer):
    peer.send(b"x" * 125, PING)
    assert peer.receive() == (PONG, True, b"x" * 125)


def test_a_pong_that_nobody_asked_for_is_no_matter(peer):
    peer.send(b"", PONG)
    peer.send(b"still here")
    assert peer.receive_text() == b"still here"


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([frame_bytes(b"data", BINARY)], 1011),
        ([frame_bytes(b"data", CONTINUATION)], 1002),
        ([frame_bytes(b"one", fin=False), frame_bytes(b"two")], 1002),
        ([frame_bytes(b"data", rsv=4)], 1002),
        ([frame_bytes(b"data", masked=False)], 1002),
        ([frame_bytes(b"data", 0x3)], 1002),
        ([frame_bytes(b"data", PING, fin=False)], 1002),
        ([b"\x89\xfe\x00\x7e" + bytes(4 + 126)], 1002),
        ([b"\x81\xff\x80" + bytes(11)], 1002),
        ([frame_bytes(b"\x03", CLOSE)], 1002),
        ([frame_bytes(b"\x03\xe7", CLOSE)], 1002),
    ],
    ids=[
        "binary", "continuation without beginning", "text amid fragments", "reserved bit",
        "no mask", "unknown opcode", "fragmented ping", "long ping", "negative length",
        "half a code", "bad code",
    ],
)  # fmt: skip
def test_a_broken_conversation_ends_with_a_code(server, frames, code, monkeypatch):
    monkeypatch.setattr("cupola.server.websocket.CLOSE_TIME_S", 0.02)
    with server.websocket() as peer:
        peer.socket.sendall(b"".join(frames))
        assert peer.receive_close().close_code == code
        assert peer.is_closed()
        server.eventually(lambda: server.backend.hosts[0].is_disconnected)
        assert server.backend.hosts[0].received == []


@pytest.fixture
def narrow(start_server):
    return start_server(FakeBackend(Limits(frame_size_bytes_max=100_000)))


def test_a_frame_above_the_bound_ends_the_connection(narrow):
    with narrow.websocket() as peer:
        peer.send(b"m" * 100_000)
        assert len(peer.receive_text()) == 100_000
        peer.socket.sendall(frame_bytes(b"m" * 100_001)[:20])
        assert peer.receive_close().close_code == 1009


def test_fragments_above_the_bound_end_the_connection(narrow):
    with narrow.websocket() as peer:
        peer.send(b"m" * 60_000, fin=False)
        peer.send(b"m" * 60_000, CONTINUATION, fin=False)
        assert peer.receive_close().close_code == 1009
        narrow.eventually(lambda: narrow.server._connections.receiving_bytes == 0)


def test_what_is_unfinished_counts_against_one_budget(server, monkeypatch):
    """A thousand peers that never finish a large message must not take all memory."""
    monkeypatch.setattr("cupola.server.websocket._RECEIVING_BYTES_MAX", 3 * MiB)
    with server.websocket() as one, server.websocket() as two:
        one.socket.sendall(frame_bytes(b"m" * 4 * MiB)[: 2 * MiB])
        server.eventually(lambda: server.server._connections.receiving_bytes > 2 * MiB - 65536)
        two.send(b"m" * MiB, fin=False)
        two.socket.sendall(frame_bytes(b"m" * MiB, CONTINUATION)[: MiB // 2])
        close = two.receive_close()
        assert (close.close_code, close.close_reason) == (1013, "TooManyConcurrentRequests")


def test_memory_of_a_large_message_is_given_back(start_server):
    """The read buffer grows with the largest frame; a quiet moment later it is small again."""
    running = start_server(ping_interval_s=0.1)
    with running.websocket() as peer:
        peer.send(b"m" * 3 * MiB)
        assert len(peer.receive_text()) == 3 * MiB
        (connection,) = running.server._connections._open
        assert connection._grown
        running.eventually(lambda: not connection._grown)
        for size in (5, 200_000, 7):
            peer.send(b"n" * size)
            assert peer.receive_text() == b"n" * size
        peer.send(b"data", BINARY)
        assert peer.receive_close().close_code == 1011
    running.eventually(lambda: running.backend.hosts[0].is_disconnected)


# ---------------------------------------------------------------------------------------- sending


def test_messages_sent_together_arrive_in_order(peer):
    peer.send(b"many 500")
    assert [peer.receive_text() for _ in range(500)] == [b"%d" % number for number in range(500)]


def test_messages_sent_together_leave_together(server):
    """One system call, whatever their number; the published clients also wake up just once."""
    with server.websocket() as peer:
        peer.send(b"many 3")
        data = b""
        parts = 0
        while len(data) < 9:
            data += peer.socket.recv(65536)
            parts += 1
        assert (data, parts) == (b"\x81\x010\x81\x011\x81\x012", 1)


@pytest.mark.parametrize("sizes", [(0,), (2000,), (100_000,), (9 * MiB,), (2000, 70_000, 1, 0)])
def test_a_message_in_two_pieces_arrives_as_one(peer, sizes):
    """Many clients share the first piece; see `SharedFrame`."""
    peer.send(b"shared " + b" ".join(b"%d" % size for size in sizes))
    for size in sizes:
        assert peer.receive_text() == b"s" * size + b"own"


def test_a_slow_reader_gets_every_message_whole(peer):
    """picows hands uvloop the header of a large message in a buffer that it uses again at once."""
    sizes = [12 * MiB, 100_000, 9_000, 70_000, 126, 20_000, 5]
    for _ in range(2):
        peer.send(b"sizes %b" % " ".join(map(str, sizes)).encode())
    for number, size in [*enumerate(sizes)] * 2:
        assert peer.receive_text() == b"%d" % number * size


@pytest.mark.parametrize("size", [8 * MiB, 8 * MiB + 1, 20 * MiB])
def test_large_messages_leave_in_frames_that_the_rust_client_takes(peer, size):
    peer.send(b"large %d" % size)
    frames = [peer.receive()]
    while not frames[-1].fin:
        frames.append(peer.receive())
    assert sum(len(frame.payload) for frame in frames) == size
    assert max(len(frame.payload) for frame in frames) <= 8 * MiB
    assert [frame.opcode for frame in frames] == [TEXT] + [CONTINUATION] * (len(frames) - 1)


def test_a_client_that_does_not_read_is_told_of_and_catches_up(server):
    """While its buffer is full the backend computes nothing for it, and goes on when it drains."""
    with server.websocket() as peer:
        peer.send(b"large %d" % (12 * MiB))
        server.eventually(lambda: server.backend.hosts[0].writable_calls == [False])
        assert len(peer.receive_text()) == 12 * MiB
        server.eventually(lambda: server.backend.hosts[0].writable_calls == [False, True])


def test_a_client_that_never_reads_again_is_dropped(start_server):
    limits = Limits(stalled_session_s=0.2)
    running = start_server(FakeBackend(limits), ping_interval_s=0.05)
    with running.websocket() as peer:
        peer.send(b"large %d" % (30 * MiB))
        running.eventually(lambda: running.backend.hosts[0].is_disconnected)
        assert running.server.metrics.closed == {"stalled": 1}


def test_the_send_buffer_is_bounded_even_for_who_ignores_the_signal(server, monkeypatch):
    monkeypatch.setattr("cupola.server.websocket._SENDING_BYTES_MAX", 20 * MiB)
    with server.websocket() as peer:
        # In one write: the server may hang up from the second answer on.
        peer.socket.sendall(frame_bytes(b"large %d" % (12 * MiB), TEXT) * 4)
        server.eventually(lambda: server.backend.hosts[0].is_disconnected)
        assert server.server.metrics.closed == {"send buffer full": 1}


# ---------------------------------------------------------------------------------------- closing


def test_a_close_is_answered_with_its_code(server, peer):
    peer.send(b"\x03\xe9going away", CLOSE)
    assert peer.receive() == (CLOSE, True, b"\x03\xe9")
    assert peer.is_closed()
    server.eventually(lambda: server.backend.hosts[0].is_disconnected)


def test_a_close_without_a_code_is_answered_without_one(peer):
    peer.send(b"", CLOSE)
    assert peer.receive() == (CLOSE, True, b"")


@pytest.mark.parametrize(
    ("command", "payload"),
    [
        (b"close 1012 InternalServerError", b"\x03\xf4InternalServerError"),
        (b"close none", b""),
        (b"close 1013 " + b"r" * 200, b"\x03\xf5" + b"r" * 123),
        (b"close 1011 " + "é".encode() * 100, b"\x03\xf3" + "é".encode() * 61),
    ],
    ids=["code and reason", "no code", "long reason", "long reason in UTF-8"],
)
def test_the_backend_closes_with_code_and_reason(server, peer, command, payload):
    peer.send(command)
    assert peer.receive() == (CLOSE, True, payload)
    peer.send(b"too late")
    peer.send(payload[:2], CLOSE)
    assert peer.is_closed()
    assert server.backend.hosts[0].received == [command]


def test_a_peer_that_does_not_answer_a_close_is_hung_up_on(server, peer, monkeypatch):
    monkeypatch.setattr("cupola.server.websocket.CLOSE_TIME_S", 0.1)
    peer.send(b"close 1000 done")
    assert peer.receive_close().close_code == 1000
    assert peer.is_closed()


def test_last_words_come_before_the_close_and_nothing_after(peer):
    peer.send(b"last")
    assert peer.receive_text() == b"words"
    assert peer.receive_close().close_reason == "done"


def test_a_bug_in_one_session_ends_that_connection_alone(server, peer, caplog):
    with server.websocket() as other:
        peer.send(b"fail")
        close = peer.receive_close()
        assert (close.close_code, close.close_reason) == (1011, "InternalServerError")
        assert "a bug in the session" in caplog.text
        other.send(b"still here")
        assert other.receive_text() == b"still here"


def test_a_connection_that_breaks_off_ends_its_session(server):
    with server.websocket() as peer:
        peer.send(b"hello")
        peer.receive_text()
        peer.send(b"half", fin=False)
    server.eventually(lambda: server.backend.hosts[0].is_disconnected)
    server.eventually(lambda: server.server.metrics.connections == 0)


# -------------------------------------------------------------------------------------- heartbeat


def test_a_silent_client_is_pinged_and_kept_while_it_answers(start_server):
    running = start_server(FakeBackend(Limits(client_silence_s=0.3)), ping_interval_s=0.1)
    with running.websocket() as peer:
        for _ in range(5):
            assert peer.receive() == (PING, True, b"")
            peer.send(b"", PONG)
        peer.send(b"hello")
        assert peer.receive_text() == b"hello"


def test_a_half_open_connection_is_dropped(start_server):
    """The peer is gone without a word: nothing comes, not even a pong."""
    running = start_server(FakeBackend(Limits(client_silence_s=0.3)), ping_interval_s=0.1)
    with running.websocket():
        running.eventually(lambda: len(running.backend.hosts) == 1)
        running.eventually(lambda: running.backend.hosts[0].is_disconnected)
        assert running.server.metrics.closed == {"silent": 1}


def test_a_client_on_a_slow_line_is_no_silent_one_while_it_reads(start_server):
    """It has nothing to say, and is not pinged, since a ping would wait behind what it reads."""
    limits = Limits(client_silence_s=200, stalled_session_s=200)
    running = start_server(FakeBackend(limits), ping_interval_s=100)
    with running.websocket() as peer:
        peer.send(b"large %d" % (30 * MiB))
        running.eventually(lambda: running.backend.hosts[0].writable_calls == [False])
        (connection,) = running.server._connections._open
        waiting = connection._underlying.get_write_buffer_size
        running.run(connection.beat)
        for _ in range(6):
            before = running.run(waiting)
            while running.run(waiting) == before:
                assert peer.socket.recv(2 * MiB)
            running.run(connection.beat)
        host = running.backend.hosts[0]
        assert not host.is_disconnected
        running.eventually(lambda: host.is_disconnected or connection.beat())  # it reads no more


def test_metrics_count_connections_and_bytes(server, peer):
    peer.send(b"hello")
    peer.receive_text()
    metrics = server.server.metrics
    assert (metrics.connections, metrics.connections_total) == (1, 1)
    assert (metrics.messages_received, metrics.messages_sent, metrics.bytes_sent) == (1, 1, 5)
    assert metrics.bytes_received == len(frame_bytes(b"hello"))
