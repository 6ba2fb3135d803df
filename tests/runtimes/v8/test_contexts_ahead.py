"""What a worker and its Deno process say to each other: frames, and contexts made ahead."""

import fcntl
import json
import os
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from cupola.functions.bundles import AnalyzedFunction, Bundle, Module
from cupola.functions.javascript import JavaScriptFunction
from cupola.limits import DEFAULT_LIMITS
from cupola.runtimes.v8 import deno as transport
from cupola.runtimes.v8.deno import Deno
from cupola.runtimes.v8.runtime import (
    CONTEXTS_AHEAD,
    HEAP_BYTES_MAX,
    JavaScriptRuntime,
    bundle_frame,
    prelude,
)

PATIENCE_S = 30.0
SEED = "00" * 32
SOURCE = """
console.log("loaded");
let calls = 0;
const query = (invokeQuery) => ({ isQuery: true, invokeQuery });
export const count = query(async () => JSON.stringify(++calls));
export const chatty = query(async () => {
  for (let i = 0; i < 20; i++) console.log("x".repeat(1000));
  return Convex.syscall("1.0/get", '{"id":"a"}');
});
export const ask = query(async () => Convex.syscall("1.0/one\\n", "[1,\\n2]") + "\\n");
"""
BUNDLE = Bundle((Module("counters.js", SOURCE),))


@pytest.fixture
def deno() -> Iterator[Deno]:
    process = Deno("transactions.mjs", HEAP_BYTES_MAX)
    process.send(b"P", prelude())
    assert process.receive(PATIENCE_S) == (b"H", b"")
    process.send(b"B", bundle_frame(BUNDLE))
    yield process
    process.kill()


def call(deno: Deno, name: str, **more: Any) -> None:
    request = {"path": "counters.js", "name": name, "kind": "query", **more}
    deno.send(b"R", json.dumps({**request, "args": "[{}]", "seed": SEED, "now": 1}).encode())


def answer(deno: Deno) -> list[tuple[bytes, bytes]]:
    """All frames of a call, the last of which is its result."""
    frames = [deno.receive(PATIENCE_S)]
    while frames[-1][0] not in (b"V", b"E"):
        frames.append(deno.receive(PATIENCE_S))
    return frames


def make_contexts(deno: Deno) -> int:
    """Let it make what it lacks. Returns how many contexts that took."""
    count, more = 0, b"more"
    while more == b"more":
        deno.send(b"W")
        kind, more = deno.receive(PATIENCE_S)
        assert kind == b"W"
        count += 1
    return count


def test_each_frame_is_one_piece(deno: Deno, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database call wakes the worker once, whatever line feeds are in it."""
    pieces: list[bytes] = []

    def read(descriptor: int, size: int) -> bytes:
        pieces.append(os.read(descriptor, size))
        return pieces[-1]

    make_contexts(deno)
    monkeypatch.setattr(transport, "_read", read)
    call(deno, "ask")
    assert deno.receive(PATIENCE_S) == (b"L", b"LOG 'loaded'")
    assert deno.receive(PATIENCE_S) == (b"S", b"1.0/one\n\n[1,\n2]")
    asked = len(pieces)
    deno.send(b'0"fine"')
    assert deno.receive(PATIENCE_S) == (b"V", b'"fine"\n')
    assert asked <= 2  # what was printed may come with the call, or before it
    assert len(pieces) == asked + 1


def test_a_frame_may_be_larger_than_a_pipe(deno: Deno) -> None:
    call(deno, "ask")
    deno.receive(PATIENCE_S)
    deno.receive(PATIENCE_S)
    text = json.dumps("ä" * 3_000_000).encode()
    deno.send(b"0" + text)
    assert deno.receive(PATIENCE_S) == (b"V", json.dumps("ä" * 3_000_000).encode() + b"\n")


@pytest.mark.skipif(
    not hasattr(fcntl, "F_SETPIPE_SZ"), reason="only Linux tells how large pipes are"
)
def test_both_may_have_much_to_say_at_once(deno: Deno) -> None:
    """What was printed, and documents that were not asked for, and neither fits in its pipe: a user
    who has many pipes gets small ones.
    """
    for end in (deno._input, deno._output):
        fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 4096)
    text = json.dumps("y" * 20_000)
    call(deno, "chatty", run=1, bringsDocuments=True)
    deno.send(b"D", f"1\na things {text}".encode())
    said = answer(deno)
    assert [kind for kind, _ in said].count(b"L") == 1 + 20
    assert said[-1] == (b"V", text.encode())


def test_contexts_are_made_when_the_worker_says_so(deno: Deno) -> None:
    """Not after an answer: whoever waits for it needs the processor first."""
    call(deno, "count")  # in the blank context
    assert answer(deno)[-1] == (b"V", b"1")
    assert make_contexts(deno) == CONTEXTS_AHEAD + 1  # and another blank one
    call(deno, "count")
    answer(deno)
    assert make_contexts(deno) == 1
    assert make_contexts(deno) == 1  # nothing lacked


def test_a_context_made_ahead_is_as_fresh_as_any(deno: Deno) -> None:
    """It serves one call, which sees what its module printed while it was loaded."""
    for _ in range(CONTEXTS_AHEAD + 2):  # the last ones are made when they are needed
        call(deno, "count")
        assert answer(deno) == [(b"L", b"LOG 'loaded'"), (b"V", b"1")]
        make_contexts(deno)
    for _ in range(CONTEXTS_AHEAD + 2):
        call(deno, "count")
        assert answer(deno) == [(b"L", b"LOG 'loaded'"), (b"V", b"1")]


@pytest.fixture
def runtime() -> Iterator[JavaScriptRuntime]:
    found = JavaScriptRuntime(BUNDLE, DEFAULT_LIMITS)
    yield found
    found.close()


def deno_of(runtime: JavaScriptRuntime) -> Any:
    return runtime._deno


def test_a_worker_that_rests_hears_the_engine(runtime: JavaScriptRuntime) -> None:
    engine, ours = socket.socketpair()
    with engine, ours:
        runtime.rest(ours)  # to the end: the engine is silent
        call(deno_of(runtime), "count")
        answer(deno_of(runtime))
        os.kill(deno_of(runtime).pid, signal.SIGSTOP)  # it makes no context for now
        runtime._contexts_ahead = 0
        engine.send(b"a call")
        runtime.rest(ours)
        os.kill(deno_of(runtime).pid, signal.SIGCONT)
        assert ours.recv(100) == b"a call"


def test_a_process_that_dies_between_calls_is_replaced(runtime: JavaScriptRuntime) -> None:
    """Nobody's call fails for it."""
    engine, ours = socket.socketpair()
    with engine, ours:
        runtime.rest(ours)
        before = deno_of(runtime)
        os.kill(before.pid, signal.SIGKILL)
        before._process.wait()
        runtime._contexts_ahead = 0
        runtime.rest(ours)
        assert runtime.replaced == 1
        call(deno_of(runtime), "count")
        assert answer(deno_of(runtime))[-1] == (b"V", b"1")


def test_a_spare_that_has_died_does_not_take_its_place(runtime: JavaScriptRuntime) -> None:
    """Else the next call would be told that it ran out of memory."""
    engine, ours = socket.socketpair()
    with engine, ours:
        runtime.rest(ours)
        for each in (deno_of(runtime), runtime._spare):
            assert each is not None
            os.kill(each.pid, signal.SIGKILL)
            each._process.wait()
        runtime._replace()
        call(deno_of(runtime), "count")
        assert answer(deno_of(runtime))[-1] == (b"V", b"1")


@pytest.fixture
def count() -> JavaScriptFunction:
    found = JavaScriptFunction("counters.js", AnalyzedFunction("count", "query", None, None, None))
    found.compile("counters:count", {})
    return found


def test_a_call_that_has_begun_and_is_not_run_leaves_nothing_behind(
    runtime: JavaScriptRuntime, count: JavaScriptFunction
) -> None:
    """What it would say must not be taken for the answer of the next."""
    runtime.begin(count, b"{}", bytes(16), 0)
    runtime.forget_begun()
    assert runtime.replaced == 1
    call(deno_of(runtime), "count")
    assert answer(deno_of(runtime)) == [(b"L", b"LOG 'loaded'"), (b"V", b"1")]


def test_a_call_whose_arguments_do_not_look_right_does_not_begin(
    runtime: JavaScriptRuntime, count: JavaScriptFunction
) -> None:
    """With the tables of its snapshot they may be; else it is told there."""
    runtime.begin(count, b"[]", bytes(16), 0)
    runtime.forget_begun()
    assert runtime.replaced == 0
