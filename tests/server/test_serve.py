"""Starting and stopping: ports, readiness, the drain, and what clients see of it."""

import asyncio
import os
import signal
import socket
import threading

import httpx
import pytest

from cupola.backend import Backend
from cupola.errors import ConfigurationError, PersistenceError
from cupola.limits import Limits
from cupola.server import Server, ServerOptions, run, serve

from .fake_backend import FakeBackend

JSON = {"Content-Type": "application/json"}


def options(**more):
    return ServerOptions(**{"port": 0, "site_port": 0, "drain_s": 5.0, **more})


def test_port_zero_takes_a_free_one_and_says_which(server):
    assert server.server.port > 0
    assert server.server.site_port not in (None, 0, server.server.port)
    assert httpx.get(f"{server.server.url}/version").status_code == 200
    assert httpx.get(f"{server.server.site_url}/x").status_code == 404


def test_without_a_site_port_there_is_none(start_server):
    assert start_server(site_port=None).server.site_url is None


def test_a_taken_port_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        async def main():
            with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}.*--port"):
                await Server(FakeBackend(), options(port=port)).start()
            with pytest.raises(ConfigurationError, match=str(port)):
                await Server(FakeBackend(), options(site_port=port)).start()
            with pytest.raises(ConfigurationError, match="no-such-host"):
                await Server(FakeBackend(), options(host="no-such-host.invalid")).start()

        run(main())


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_an_ipv6_host_works(start_server):
    server = start_server(host="::1")
    assert server.url.startswith("http://[::1]:")
    assert httpx.get(f"{server.url}/version").status_code == 200


def test_more_connections_than_allowed_are_answered_with_503(start_server):
    running = start_server(FakeBackend(Limits(queued_calls_max=2)))
    held = [socket.create_connection(("127.0.0.1", running.server.port)) for _ in range(3)]
    assert httpx.get(f"{running.url}/version").status_code == 503
    for peer in held:
        peer.close()
    with httpx.Client(base_url=running.url) as http:
        while http.get("/version").status_code != 200:
            running.eventually(lambda: True)


def test_a_running_call_is_finished_before_the_server_stops(start_server):
    """New connections are refused at once; what runs is answered."""
    running = start_server()
    answers = []

    def ask():
        body = b'{"path":"test:held","args":{}}'
        answers.append(httpx.post(f"{running.url}/api/mutation", headers=JSON, content=body))

    asking = threading.Thread(target=ask)
    asking.start()
    running.eventually(lambda: bool(running.backend.held))
    running.stop()
    running.eventually(lambda: running.backend.state == "draining")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{running.url}/version")
    running.run(running.backend.held[0])
    asking.join(10)
    assert answers[0].status_code == 200
    assert answers[0].headers["connection"] == "close"
    running.join()


def test_a_call_that_does_not_end_is_cut_off(start_server):
    running = start_server(drain_s=0.1)
    with socket.create_connection(("127.0.0.1", running.server.port), timeout=10) as peer:
        body = b'{"path":"test:held","args":{}}'
        peer.sendall(
            b"POST /api/mutation HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body
        )
        running.eventually(lambda: bool(running.backend.held))
        running.stop()
        running.join()
        assert peer.recv(65536) == b""


def test_sync_clients_are_told_to_come_back(start_server):
    """1012 with this reason makes the published client return within about a second."""
    running = start_server()
    with running.websocket() as one, running.websocket() as mute:
        one.send(b"hello")
        one.receive_text()
        running.stop()
        close = one.receive_close()
        assert (close.close_code, close.close_reason) == (1012, "InternalServerError")
        one.send(close.payload[:2], 8)
        assert one.is_closed()
        assert mute.receive_close().close_code == 1012
        assert mute.is_closed()
    running.join()
    assert all(host.is_disconnected for host in running.backend.hosts)


def test_idle_connections_do_not_hold_the_server_up(start_server):
    running = start_server()
    with httpx.Client(base_url=running.url) as http:
        http.get("/version")
        running.stop()
        running.join()


def test_a_signal_ends_serve_in_order():
    backend = FakeBackend()

    async def main():
        urls = []

        def started(server):
            urls.append(server.url)
            os.kill(os.getpid(), signal.SIGTERM)

        async with asyncio.timeout(10):
            await serve(backend, options(), started=started)
        assert urls

    run(main())
    assert backend.state == "draining"
    assert backend.is_closed


def test_a_port_that_cannot_be_had_ends_serve_with_its_error():
    backend = FakeBackend()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for name in ("port", "site_port"):
            with pytest.raises(ConfigurationError, match="--port"):
                run(serve(backend, options(**{name: taken.getsockname()[1]})))
            assert backend.is_closed


def test_a_failed_log_ends_serve_with_its_error():
    backend = FakeBackend()

    def started(server):
        backend.state = "failed"
        backend.on_failure(PersistenceError("the disk is gone"))

    async def main():
        await serve(backend, options(), started=started)

    with pytest.raises(PersistenceError, match="the disk is gone"):
        run(main())
    assert backend.is_closed


def test_the_backend_ticks_while_it_is_served(start_server):
    running = start_server()
    running.eventually(lambda: running.backend.ticks > 0)


def test_a_real_backend_is_served():
    """The fake above is a fair copy: the same server in front of the engine."""

    async def main():
        backend = Backend()
        async with Server(backend, options()) as server, httpx.AsyncClient() as http:
            ready = await http.get(f"{server.url}/readyz")
            assert ready.json()["state"] in ("starting", "ready")
            metrics = await http.get(f"{server.url}/metrics")
            assert "cupola_commits_total" in metrics.text
            assert "cupola_http_requests_total" in metrics.text
        await backend.close()

    run(main())
