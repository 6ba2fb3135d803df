"""`cupola run`: one call of a running server."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def server(start: Any) -> Any:
    return start("serve")


def test_a_result_is_json_and_logs_are_apart(server: Any, cupola: Any) -> None:
    added = cupola("run", "notes:add", '{"text": "milk"}', cwd=server.app)
    assert (added.returncode, json.loads(added.stdout)) == (0, None)
    assert added.stderr == "[LOG] 'adding' 'milk'\n"

    listed = cupola("run", "notes:list", cwd=server.app)
    assert json.loads(listed.stdout) == ["milk"]


def test_internal_functions_can_be_called(server: Any, cupola: Any) -> None:
    assert json.loads(cupola("run", "notes:count", cwd=server.app).stdout) == 0


def test_the_server_and_the_key_can_be_named(server: Any, cupola: Any, tmp_path: Path) -> None:
    key = cupola("admin-key", server.app).stdout.strip()

    by_option = cupola("run", "notes:list", "--url", server.url, "--admin-key", key)
    by_variable = cupola("run", "notes:list", CUPOLA_URL=server.url, CUPOLA_ADMIN_KEY=key)
    by_folder = cupola("run", "notes:list", "--data", server.data)

    for ended in (by_option, by_variable, by_folder):
        assert (ended.returncode, json.loads(ended.stdout)) == (0, [])


def test_a_function_that_fails_ends_with_1(server: Any, cupola: Any) -> None:
    ended = cupola("run", "notes:add", '{"text": ""}', cwd=server.app)

    assert (ended.returncode, ended.stdout) == (1, "")
    assert "ApplicationError" in ended.stderr
    assert 'Data: {"code": "Empty"}' in ended.stderr


def test_json_is_the_whole_answer(server: Any, cupola: Any) -> None:
    ended = cupola("run", "notes:add", '{"text": ""}', "--json", cwd=server.app)

    answer = json.loads(ended.stdout)
    assert (ended.returncode, ended.stderr) == (1, "")
    assert (answer["status"], answer["errorData"]) == ("error", {"code": "Empty"})
    assert answer["logLines"] == ["[LOG] 'adding' ''"]


@pytest.mark.parametrize("path", ["notes:nothing", "not a path"])
def test_a_function_that_is_not_there_is_a_failed_call(server: Any, cupola: Any, path: str) -> None:
    ended = cupola("run", path, cwd=server.app)

    assert ended.returncode == 1
    assert path in ended.stderr


@pytest.mark.parametrize("arguments", ["{text: milk}", "[1]", '"milk"', "{"])
def test_arguments_that_are_no_object_are_refused_before_the_call(
    cupola: Any, arguments: str
) -> None:
    ended = cupola("run", "notes:add", arguments)

    assert ended.returncode == 2
    assert '{"channel": "general"}' in ended.stderr


def test_a_wrong_key_is_refused(server: Any, cupola: Any) -> None:
    ended = cupola("run", "notes:list", "--admin-key", "other|0123", cwd=server.app)

    assert ended.returncode == 6
    assert "BadAdminKey" in ended.stderr
    assert "cupola admin-key" in ended.stderr


def test_no_server_is_said_in_one_sentence(cupola: Any, server: Any, tmp_path: Path) -> None:
    never = cupola("run", "notes:list", cwd=tmp_path)
    assert never.returncode == 5
    assert "Start one with `cupola dev`" in never.stderr

    server.process.kill()
    server.process.wait()
    died = cupola("run", "notes:list", cwd=server.app)
    assert died.returncode == 5
    assert f"No server answers at {server.url}" in died.stderr

    elsewhere = cupola("run", "notes:list", "--url", "ftp://x", cwd=server.app)
    assert elsewhere.returncode == 2


def test_an_address_needs_a_key(cupola: Any) -> None:
    ended = cupola("run", "notes:list", "--url", "http://127.0.0.1:9")

    assert ended.returncode == 3
    assert "CUPOLA_ADMIN_KEY" in ended.stderr


def test_something_else_that_answers_is_no_server(cupola: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(20)
        import threading

        def answer() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

        threading.Thread(target=answer).start()
        url = f"http://127.0.0.1:{other.getsockname()[1]}"
        ended = cupola("run", "notes:list", "--url", url, "--admin-key", "a|b")

    assert ended.returncode == 5
    assert "is no Cupola server" in ended.stderr
