"""`cupola dev`: saved code is live at once, and nobody loses a connection over it."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import subprocess
import threading
import uuid
from pathlib import Path
from typing import Any

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

WITHIN_S = 30.0
SHOUT = "return [note.text for note in ctx.db.query(Note).collect()]"


class LiveQuery(WSListener):
    """A client that subscribes to `notes:list` and never reconnects."""

    def __init__(self) -> None:
        self.values: asyncio.Queue[Any] = asyncio.Queue()
        self.is_open = True

    def on_ws_connected(self, transport: WSTransport) -> None:
        connect = {"type": "Connect", "sessionId": str(uuid.uuid4()), "connectionCount": 0}
        add = {"type": "Add", "queryId": 0, "udfPath": "notes:list", "args": [{}]}
        versions = {"baseVersion": 0, "newVersion": 1}
        modify = {"type": "ModifyQuerySet", **versions, "modifications": [add]}
        for message in (connect, modify):
            transport.send(WSMsgType.TEXT, json.dumps(message).encode())

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            return
        message = json.loads(frame.get_payload_as_bytes())
        for modification in message.get("modifications", ()):
            self.values.put_nowait(modification.get("value", modification))

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.is_open = False

    async def next(self) -> Any:
        return await asyncio.wait_for(self.values.get(), WITHIN_S)


async def subscribe(url: str) -> LiveQuery:
    _, client = await ws_connect(LiveQuery, url.replace("http", "ws") + "/api/1.48.0/sync")
    assert isinstance(client, LiveQuery)
    return client


def test_it_says_what_one_needs_to_know(start: Any) -> None:
    server = start("dev")

    server.wait_for(server.url)
    server.wait_for("Admin key     convex-self-hosted|01")
    server.wait_for("Ctrl-C stops")
    assert server.stop() == 0


def test_saved_code_is_live_and_connections_stay(start: Any, cupola: Any, app: Path) -> None:
    """A save re-runs live queries with the new code, on the connection that was there before. Code
    that cannot be used is shown, and changes nothing."""
    server = start("dev")
    notes = app / "functions" / "notes.py"
    code = notes.read_text()

    async def story() -> None:
        client = await subscribe(server.url)
        assert await client.next() == []
        await asyncio.to_thread(cupola, "run", "notes:add", '{"text": "milk"}', cwd=app)
        assert await client.next() == ["milk"]

        notes.write_text(code.replace("return [note.text for", "return [note.text.upper() for"))
        assert await client.next() == ["MILK"]

        notes.write_text(code + "\ndef broken(:\n")
        await asyncio.to_thread(server.wait_for, "SyntaxError")
        await asyncio.to_thread(server.wait_for, "The code from before goes on serving")
        assert server.query("notes:list")["value"] == ["MILK"]

        (app / "functions" / "schema.py").write_text(
            "from cupola import Table\nclass Note(Table, name='notes'):\n    text: float\n"
        )
        notes.write_text(code)
        await asyncio.to_thread(server.wait_for, "This code cannot be used")
        assert server.query("notes:list")["value"] == ["MILK"]

        (app / "functions" / "schema.py").write_text(
            "from cupola import Table\nclass Note(Table, name='notes'):\n    text: str\n"
        )
        assert await client.next() == ["milk"]
        assert client.is_open

    asyncio.run(story())


def test_what_functions_log_is_shown(start: Any, cupola: Any, app: Path) -> None:
    server = start("dev")

    cupola("run", "notes:add", '{"text": "milk"}', cwd=app)
    server.wait_for("mutation notes:add")
    server.wait_for("[LOG] 'adding' 'milk'")

    cupola("run", "notes:add", '{"text": ""}', cwd=app)
    server.wait_for("failed")
    server.wait_for("ApplicationError")


def test_an_app_that_is_broken_at_the_start_can_be_repaired(start: Any, app: Path) -> None:
    notes = app / "functions" / "notes.py"
    code = notes.read_text()
    notes.write_text("1 / 0\n")
    server = start("dev")
    server.wait_for("ZeroDivisionError")
    server.wait_for("Nothing is served yet")
    server.wait_for("Ctrl-C stops")

    notes.write_text(code)

    server.wait_for("Reloaded")
    assert server.query("notes:list")["value"] == []


def test_open_without_a_browser_goes_on(start: Any) -> None:
    server = start("dev", "--open")

    server.wait_for(f"open {server.url} yourself")
    assert server.query("notes:list")["value"] == []


def test_colours_appear_on_a_terminal_only(start: Any, app: Path) -> None:
    piped = start("dev")
    piped.wait_for("Ctrl-C stops")
    piped.stop()
    assert "\x1b[" not in piped.output

    assert "\x1b[" in on_a_terminal(app)
    assert "\x1b[" not in on_a_terminal(app, NO_COLOR="1")


def on_a_terminal(app: Path, **variables: str) -> str:
    """What an error looks like to somebody who watches: the folder `data` cannot be made."""
    ours, theirs = pty.openpty()
    words = ["serve", str(app), "--data", "/proc/nothing/here"]
    settings = {**os.environ, "TERM": "xterm-256color", **variables}
    process = subprocess.Popen(
        [*command(), *words], stdin=theirs, stdout=theirs, stderr=theirs, env=settings
    )
    os.close(theirs)
    read: list[bytes] = []
    reader = threading.Thread(target=read_all, args=(ours, read))
    reader.start()
    assert process.wait(WITHIN_S) == 4
    reader.join(WITHIN_S)
    os.close(ours)
    return b"".join(read).decode()


def command() -> list[str]:
    import sys

    return [sys.executable, "-m", "cupola"]


def read_all(descriptor: int, read: list[bytes]) -> None:
    while True:
        try:
            data = os.read(descriptor, 65536)
        except OSError:  # the other side has closed it
            return
        if not data:
            return
        read.append(data)


def test_help_is_plain_text_in_a_pipe(cupola: Any) -> None:
    shown = cupola("--help")

    assert shown.returncode == 0
    assert not re.search("\x1b\\[", shown.stdout)
    for name in ("new", "dev", "serve", "run", "admin-key", "doctor"):
        assert f" {name} " in shown.stdout
