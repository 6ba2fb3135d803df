"""Conversations as plain text: what comes in, `----`, what must happen.

Each file in `transcripts/` is a story for one session, the server's (`server_*.txt`) or the
client's (`client_*.txt`). A block is comments, commands, `----` and the expected output, and ends
at an empty line. `pytest tests/sync --record` writes the output anew.

Commands to a server session, which starts unconnected:

    C {json}                    a frame from the client
    begin                       begin an update
    finish ts=6 q0=[1] q1=!oh   finish it; `!` begins an error, then ` with {json}` its data; after
                                either `@text` gives the journal and `~[...]` the log lines
    push ts=6 q0=[1]            the short way
    answer 0 ts=6 {json}        a mutation's return value
    fail 0 text with {json}     its error, perhaps with data
    answer-action, fail-action  likewise, without ts
    accept, reject text, expire text, ping, close 1013 reason

and to a client session, which starts unconnected:

    open, lost reason           the socket
    subscribe path {json}, unsubscribe 0, mutation path {json}, action path {json}
    token User text, token none
    S {json}                    a frame from the server

Both: `raw` shows Transitions as they are on the wire, not in words. `settings name=1` starts over
with other bounds.
"""

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from cupola.errors import ProtocolError
from cupola.limits import DEFAULT_LIMITS
from cupola.sync import client_session, session
from cupola.sync.client_session import ClientSession, Token
from cupola.sync.effects import Effect, Update
from cupola.sync.messages import (
    QueryFailed,
    QueryRemoved,
    QueryUpdated,
    Transition,
    decode_client_message,
    decode_server_message,
)
from cupola.sync.outcome import QueryOutcome
from cupola.sync.session import Session

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))
NOW_MS = 1_795_350_032_455
NEWEST_TS = 1_000_000
SESSION_ID = UUID("cc978fcb-99e5-4233-9a16-6409cbf568b9")


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_the_conversation_goes_as_written(path: Path, is_recording: bool) -> None:
    written = path.read_text()
    actual = replay(written, ServerScript() if path.stem.startswith("server_") else ClientScript())
    if is_recording:
        path.write_text(actual)
        return
    assert actual == written


def replay(text: str, script: "Script") -> str:
    """The transcript with the output that the session really gives."""
    blocks = []
    for block in re.split(r"\n{2,}", text.strip("\n")):
        head, _, _ = block.partition("\n----")
        lines = [line for line in head.split("\n") if line and not line.startswith("#")]
        if not lines:
            blocks.append(block)  # only a comment
            continue
        output = [shown for line in lines for shown in script.run(line)]
        blocks.append("\n".join([head, "----", *output]))
    return "\n\n".join(blocks) + "\n"


# ------------------------------------------------------------------------------------ the scripts


class Script:
    is_raw = False

    def run(self, line: str) -> list[str]:
        name, _, rest = line.partition(" ")
        if name == "raw":
            self.is_raw = True
            return []
        command: Callable[[str], list[str]] = getattr(self, "do_" + name.replace("-", "_"))
        return command(rest)

    def show_frame(self, frame: bytes) -> str:
        if not self.is_raw and frame.startswith(b'{"type":"Transition"'):
            return "Send " + in_words(decode_server_message(frame))
        return "Send " + frame.decode()

    def show_effect(self, effect: Effect) -> list[str]:
        if isinstance(effect, session.Send):
            return [self.show_frame(effect.frame)]
        fields = [shown_field(getattr(effect, name)) for name in effect.__struct_fields__]
        return [" ".join([type(effect).__name__, *fields])]

    def show(self, effects: "list[Effect] | list[client_session.ClientEffect]") -> list[str]:
        return [line for effect in effects for line in self.show_effect(effect)]


def shown_field(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, client_session.Result):
        if value.ok:
            return f"{shown_field(value.value)} {json.dumps(value.log_lines)}"
        return f"{value.error_message!r} {shown_field(value.error_data)}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)


def in_words(message: object) -> str:
    assert isinstance(message, Transition)
    start, end = message.start_version.decoded(), message.end_version.decoded()
    if not message.modifications:
        return f"Transition {start}->{end}, no modifications"
    lines = [f"Transition {start}->{end}"]
    for modification in message.modifications:
        match modification:
            case QueryUpdated(query_id=query_id, value=value, journal=journal, log_lines=logs):
                lines.append(f"  q{query_id} = {bytes(value).decode()}")
            case QueryFailed(
                query_id=query_id, error_message=text, journal=journal, log_lines=logs
            ):
                data = bytes(modification.error_data).decode()
                lines.append(f"  q{query_id} failed: {text!r}" + (f" with {data}" if data else ""))
            case QueryRemoved(query_id=query_id):
                lines.append(f"  q{query_id} removed")
                continue
        lines[-1] += f" journal {journal!r}" if journal is not None else ""
        lines[-1] += f" logs {json.dumps(logs)}" if logs else ""
    return "\n".join(lines)


class ServerScript(Script):
    def __init__(self) -> None:
        self.do_settings("")

    def do_settings(self, rest: str) -> list[str]:
        given = {
            name: int(value) for name, _, value in (word.partition("=") for word in rest.split())
        }
        self.server_ts = given.pop("server_ts", None)
        chunk_size_bytes = given.pop("chunk_size_bytes", 5_000_000)
        self.session = Session(
            chunked=bool(given.pop("chunked", 1)),
            chunk_size_bytes=chunk_size_bytes,
            limits=dataclasses.replace(DEFAULT_LIMITS, **given),
        )
        return []

    def do_C(self, rest: str) -> list[str]:
        try:
            message = decode_client_message(rest.encode())
        except ProtocolError as error:
            return self.show(self.session.fatal(error))
        return self.show(self.session.receive(message, NOW_MS, NEWEST_TS))

    def do_begin(self, _: str) -> list[str]:
        return show_update(self.session.begin_update())

    def do_finish(self, rest: str) -> list[str]:
        ts, outcomes = parse_outcomes(rest)
        frames = self.session.finish_update(ts, dict(outcomes), self.server_ts)
        return self.show_frames(frames)

    def do_push(self, rest: str) -> list[str]:
        ts, outcomes = parse_outcomes(rest)
        return self.show_frames(self.session.push(ts, outcomes, self.server_ts))

    def do_answer(self, rest: str) -> list[str]:
        request_id, ts, result = rest.split(" ", 2)
        ts_ = int(ts.removeprefix("ts="))
        return self.show_frames(
            self.session.mutation_response(int(request_id), result=result.encode(), ts=ts_)
        )

    def do_fail(self, rest: str) -> list[str]:
        request_id, text, data = parse_failure(rest)
        return self.show_frames(
            self.session.mutation_failure(request_id, error_message=text, error_data=data)
        )

    def do_answer_action(self, rest: str) -> list[str]:
        request_id, result = rest.split(" ", 1)
        return self.show_frames(
            self.session.action_response(int(request_id), result=result.encode())
        )

    def do_fail_action(self, rest: str) -> list[str]:
        request_id, text, data = parse_failure(rest)
        return self.show_frames(
            self.session.action_failure(request_id, error_message=text, error_data=data)
        )

    def do_accept(self, _: str) -> list[str]:
        return self.show(self.session.auth_accepted())

    def do_reject(self, rest: str) -> list[str]:
        return self.show(self.session.auth_rejected(rest))

    def do_expire(self, rest: str) -> list[str]:
        return self.show(self.session.auth_rejected(rest, attempted=False))

    def do_ping(self, _: str) -> list[str]:
        return self.show_frames([self.session.ping()])

    def do_close(self, rest: str) -> list[str]:
        code, _, reason = rest.partition(" ")
        return self.show(self.session.close(int(code), reason))

    def show_frames(self, frames: list[bytes]) -> list[str]:
        due = ["An update is due"] if self.session.update_due else []
        return [self.show_frame(frame) for frame in frames] + due


def show_update(update: Update | None) -> list[str]:
    if update is None:
        return ["Nothing to begin"]
    lines = [f"Forget q{query_id}" for query_id in update.removed]
    lines += ["Look at every query again"] if update.identity_changed else []
    for added in update.added:
        extra = f" journal {added.journal!r}" if added.journal is not None else ""
        extra += f" in component {added.component_path!r}" if added.component_path else ""
        lines.append(f"Run q{added.query_id} {added.path} {added.args.decode()}{extra}")
    return lines or ["An update without changes"]


def parse_outcomes(rest: str) -> tuple[int, list[tuple[int, QueryOutcome]]]:
    ts, *words = re.split(r" (?=q\d+=)", rest)
    outcomes = []
    for word in words:
        query_id, _, text = word.partition("=")
        text, _, logs = text.partition("~")
        text, _, journal = text.partition("@")
        log_lines = logs.encode() or b"[]"
        if text.startswith("!"):
            message, _, data = text[1:].replace("\\n", "\n").partition(" with ")
            outcome = QueryOutcome.failure(
                message,
                error_data=data.encode() or None,
                log_lines=log_lines,
                journal=journal or None,
            )
        else:
            outcome = QueryOutcome.success(
                text.encode(), log_lines=log_lines, journal=journal or None
            )
        outcomes.append((int(query_id[1:]), outcome))
    return int(ts.removeprefix("ts=")), outcomes


def parse_failure(rest: str) -> tuple[int, str, bytes | None]:
    request_id, text = rest.split(" ", 1)
    text, _, data = text.replace("\\n", "\n").partition(" with ")
    return int(request_id), text, data.encode() or None


class ClientScript(Script):
    def __init__(self) -> None:
        self.session = ClientSession(SESSION_ID)

    def do_open(self, _: str) -> list[str]:
        return self.show(self.session.opened(NOW_MS))

    def do_lost(self, rest: str) -> list[str]:
        return self.show(self.session.closed(rest))

    def do_subscribe(self, rest: str) -> list[str]:
        path, args = rest.split(" ", 1)
        query_id, effects = self.session.subscribe(path, args.encode())
        return [f"It is q{query_id}", *self.show(effects)]

    def do_unsubscribe(self, rest: str) -> list[str]:
        return self.show(self.session.unsubscribe(int(rest)))

    def do_mutation(self, rest: str) -> list[str]:
        path, args = rest.split(" ", 1)
        request_id, effects = self.session.mutation(path, args.encode())
        return [f"It is request {request_id}", *self.show(effects)]

    def do_action(self, rest: str) -> list[str]:
        path, args = rest.split(" ", 1)
        request_id, effects = self.session.action(path, args.encode())
        return [f"It is request {request_id}", *self.show(effects)]

    def do_token(self, rest: str) -> list[str]:
        kind, _, value = rest.partition(" ")
        if kind == "none":
            return self.show(self.session.authenticate(None))
        assert kind in ("User", "Admin")
        return self.show(self.session.authenticate(Token(kind, value)))  # type: ignore[arg-type]

    def do_S(self, rest: str) -> list[str]:
        return self.show(self.session.receive(rest.encode()))

    def show_effect(self, effect: Effect) -> list[str]:
        lines = super().show_effect(effect)
        if isinstance(effect, client_session.ResultsChanged):
            for query_id in effect.query_ids:
                shown = shown_field(self.session.results[query_id])
                lines.append(f"  q{query_id} = {shown}")
        return lines
