"""`cupola serve`: options, variables, an orderly end, one clear sentence when it cannot start."""

from __future__ import annotations

import json
import re
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

SECRET = "4361726e697461732c206c69746572616c6c79206d65616e696e6720226c6974"


def test_it_answers_and_says_where(start: Any) -> None:
    server = start("serve")

    assert server.query("notes:list")["value"] == []
    server.wait_for(f"on {server.url}")
    assert (server.data / "data.sqlite3").exists()


def test_a_stopped_server_takes_its_address_away_and_ends_with_0(start: Any) -> None:
    server = start("serve")

    assert server.stop() == 0
    assert not (server.data / "server.json").exists()
    assert "Traceback" not in server.output


def test_sigterm_lets_a_running_call_finish(start: Any, app: Path) -> None:
    """An action that has begun is answered, and only then does the server end."""
    (app / "functions" / "slow.py").write_text(
        "import asyncio, pathlib\n"
        "from cupola import ActionCtx, action\n"
        "@action\n"
        "async def wait(ctx: ActionCtx, folder: str) -> str:\n"
        "    place = pathlib.Path(folder)\n"
        "    (place / 'began').touch()\n"
        "    while not (place / 'go').exists():\n"
        "        await asyncio.sleep(0.01)\n"
        "    return 'finished'\n"
    )
    server = start("serve")
    host, port = "127.0.0.1", server.facts["port"]
    body = json.dumps({"path": "slow:wait", "args": {"folder": str(app)}}).encode()
    head = (
        f"POST /api/action HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((host, port), timeout=20) as connection:
        connection.sendall(head.encode() + body)
        wait_until(lambda: (app / "began").exists(), server)
        server.process.terminate()
        wait_until(lambda: refuses(host, port), server)
        (app / "go").touch()
        answer = connection.recv(65536)

    assert b"finished" in answer
    assert server.process.wait(20) == 0


def wait_until(condition: Any, server: Any) -> None:
    """Polls; a pause that nothing ends, for lack of anything that would tell us."""
    pause = threading.Event()
    for _ in range(1500):
        if condition():
            return
        pause.wait(0.01)
    pytest.fail(f"waited in vain:\n{server.output}")


def refuses(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return True
    return False


def test_sets_and_times_are_the_same_in_every_process(start: Any) -> None:
    """The order of a set of strings depends on the hash seed, which servers therefore fix."""
    first = start("serve", PYTHONHASHSEED="7", TZ="Asia/Tokyo")
    order = first.query("notes:order")["value"]
    first.stop()

    assert start("serve", PYTHONHASHSEED="8").query("notes:order")["value"] == order


def test_options_can_be_variables(start: Any, tmp_path: Path) -> None:
    server_data = tmp_path / "app" / ".cupola"
    server = start(
        "serve",
        CUPOLA_INSTANCE_NAME="carnitas",
        CUPOLA_INSTANCE_SECRET=SECRET,
        CUPOLA_LOG_FORMAT="json",
        CUPOLA_LIMIT_USER_TIME_S="2.5",
    )

    server.stop()

    assert (server_data / "credentials" / "instance_name").read_text().strip() == "carnitas"
    assert (server_data / "credentials" / "instance_secret").read_text().strip() == SECRET
    lines = [json.loads(line) for line in server.output.splitlines()]
    assert [line["level"] for line in lines] == ["INFO"] * len(lines)
    assert any(server.url in line["message"] for line in lines)


def test_executions_are_logged_if_asked_for(start: Any, cupola: Any, app: Path) -> None:
    server = start("serve", "--log-functions")

    cupola("run", "notes:add", '{"text": "milk"}', cwd=app)

    server.wait_for("mutation notes:add ok")
    server.wait_for("notes:add [LOG] 'adding' 'milk'")
    first = server.output.splitlines()[0]
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO ", first)


def test_audit_logs_are_always_logged(start: Any, cupola: Any, app: Path) -> None:
    source = "from cupola import AuditVar, MutationCtx, mutation\n\n@mutation\n"
    source += "def seen(ctx: MutationCtx) -> None:\n    ctx.audit(ip=AuditVar.IP, who=[1])\n"
    (app / "functions" / "audits.py").write_text(source)
    server = start("serve", "--log-format", "json")

    cupola("run", "audits:seen", cwd=app)

    server.wait_for("cupola.audit")
    lines = [json.loads(each) for each in server.output.splitlines()]
    (line,) = [each for each in lines if each["logger"] == "cupola.audit"]
    assert 'mutation audits:seen {"ip":"127.0.0.1","who":[1]}' in line["message"]


# ----------------------------------------------------------------------------- when it cannot start


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--prot", "1"], 2, "No such option: --prot"),
        (["--port", "many"], 2, "Invalid value for '--port'"),
        (["--port", "70000"], 2, "Invalid value for '--port'"),
        (["--log-format", "xml"], 2, "xml"),
        (["--limit", "user_time=3"], 2, "the nearest is `user_time_s`"),
        (["--limit", "user_time_s"], 2, "NAME=VALUE"),
        (["--limit", "user_time_s=soon"], 2, "'soon' is not a number above 0"),
        (["--limit", "tables_max=1.5"], 2, "'1.5' is not a whole number above 0"),
        (["--instance-secret", "abc"], 3, "64 hexadecimal digits"),
        (["--host", "no.such.host.invalid"], 3, "Cannot listen on host no.such.host.invalid"),
        (["--data", "/proc/nothing/here"], 4, "Choose another --data folder"),
    ],
)
def test_a_setting_that_cannot_work_is_named(
    cupola: Any, app: Path, words: list[str], code: int, said: str
) -> None:
    ended = cupola("serve", app, "--port", "0", *words)

    assert (ended.returncode, ended.stdout) == (code, "")
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_folder_without_functions_is_no_app(cupola: Any, tmp_path: Path) -> None:
    ended = cupola("serve", tmp_path, "--port", "0")

    assert ended.returncode == 3
    assert "it has no folder `functions/`" in ended.stderr
    assert "`cupola new NAME` makes one." in ended.stderr


def test_code_that_cannot_be_imported_stops_the_start(cupola: Any, app: Path) -> None:
    (app / "functions" / "broken.py").write_text("import nothing_of_this_name\n")

    ended = cupola("serve", app, "--port", "0")

    assert ended.returncode == 3
    assert "functions/broken.py cannot be imported" in ended.stderr
    assert "No module named 'nothing_of_this_name'" in ended.stderr


def test_a_port_that_is_taken_is_named(cupola: Any, app: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = cupola("serve", app, "--port", str(port))

    assert ended.returncode == 3
    assert f"127.0.0.1:{port}: Address already in use" in ended.stderr
    assert "--port" in ended.stderr


def test_a_second_server_on_the_same_data_names_the_first(start: Any, cupola: Any) -> None:
    server = start("serve")

    ended = cupola("serve", server.app, "--port", "0")

    assert ended.returncode == 4
    assert f"in use by process {server.facts['pid']}" in ended.stderr
    assert server.query("notes:list")["status"] == "success"


def test_a_second_server_that_may_not_start_leaves_the_keys_of_the_first(
    start: Any, cupola: Any
) -> None:
    server = start("serve")

    options = ("--instance-name", "another", "--instance-secret", SECRET)
    assert cupola("serve", server.app, "--port", "0", *options).returncode == 4

    ended = cupola("run", "notes:count", "--data", server.data)
    assert (ended.returncode, ended.stdout) == (0, "0.0\n"), ended.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"not a database at all", "is not a database"),
        (b"SQLite format 3\0" + b"\xff" * 5000, "damaged"),
    ],
)
def test_a_damaged_file_is_named_and_left_alone(
    cupola: Any, app: Path, content: bytes, said: str
) -> None:
    file = app / ".cupola" / "data.sqlite3"
    file.parent.mkdir()
    file.write_bytes(content)

    ended = cupola("serve", app, "--port", "0")

    assert ended.returncode == 4
    assert str(file) in ended.stderr
    assert said in ended.stderr
    assert file.read_bytes() == content
