"""Actions in TypeScript: they reach the network, and the data through calls of their own."""

import asyncio
import contextlib
import http.server
import json
import threading

import pytest

from cupola.auth import Identity
from cupola.errors import OperatorError
from cupola.functions.bundles import Bundle, Module
from cupola.limits import DEFAULT_LIMITS
from cupola.runtimes.v8 import action_host
from cupola.values import Int64, decode

from .conftest import PATIENCE_S, Server

pytestmark = pytest.mark.node

ADA = Identity(
    "user", {"subject": "ada", "issuer": "https://a", "tokenIdentifier": "https://a|ada"}
)


def test_an_action_runs_mutations_and_queries(server):
    assert server.action("outside:sendAndRead", body="hi") == ["hi"]


def test_an_action_runs_other_actions_internal_ones_too(server):
    assert server.action("outside:nested") == "hidden"
    assert "Could not find public function" in server.call("action", "outside:hidden").error_message


class _Echo(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(201)
        self.end_headers()
        self.wfile.write(b"echo " + body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def echo_server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}/"
        httpd.shutdown()


def test_an_action_fetches(server):
    with echo_server() as url:
        came = server.action("outside:fetches", url=url)
    assert came == {"status": 201, "text": 'echo {"a":1}', "bytes": b'echo {"a":1}'}


def test_errors_show_where_they_were_thrown(server):
    first, frame, *_ = server.failure("action", "outside:fails").split("\n")
    assert first == "Uncaught Error: boom"
    assert "app/outside.ts:" in frame


def test_an_action_catches_what_a_mutation_throws(server):
    assert server.action("outside:catches") == {"code": Int64(7), "text": "bad"}


def test_many_actions_run_at_the_same_time(server):
    """Each waits until all of them have begun."""

    async def many():
        calls = [server.ask("action", "outside:meets", {"others": 5}) for _ in range(5)]
        return await asyncio.gather(*calls)

    results = server.run(many())

    assert all(result.ok for result in results), [r.error_message for r in results]


def test_each_action_has_its_own_globals_and_module_state(server):
    assert server.action("outside:counted") == [1, None]
    assert server.action("outside:counted") == [1, None]


def test_an_action_knows_who_asks(server):
    assert server.value("action", "outside:whoAmI", ADA) == "ada"
    assert server.action("outside:whoAmI") is None


def test_log_lines_of_actions(server):
    assert server.logs("action", "outside:logs") == ["[LOG] 'one' {\n  a: 1\n}", "[ERROR] 'two'"]


def test_environment_variables_are_those_of_the_deployment(server):
    assert server.action("outside:environment") == ["hello", None, 0]


def test_an_operation_that_nobody_awaits_is_warned_of(server):
    (line,) = server.logs("action", "outside:unawaited")
    assert line.startswith("[WARN] 1 unawaited operation: [query].")


def test_a_rejection_that_nobody_handles_fails_the_action(server):
    assert server.failure("action", "outside:rejects").startswith("Uncaught Error: nobody listens")


def test_an_action_imports_modules_of_the_app_when_it_likes(server):
    assert server.action("outside:imports") == "function"


def test_nothing_of_the_host_is_in_reach(server):
    assert server.action("outside:reaches") == []


def test_web_apis_are_there(server):
    assert server.action("outside:web") == ["ab", "1", "AES-GCM", True]


def test_arguments_are_checked(server):
    text = server.failure("action", "outside:meets", others="many")
    assert text.startswith("ArgumentValidationError: ")


def test_an_endless_action_stops_no_other(server):
    async def both():
        spinning = asyncio.create_task(server.ask("action", "outside:spins", {}))
        answer = await server.ask("action", "outside:nested", {})
        was_over = spinning.done()
        spinning.cancel()
        return answer, was_over

    answer, was_over = server.run(both())
    assert answer.ok
    assert not was_over


def test_after_a_heap_bomb_other_actions_run(server):
    assert "ended unexpectedly" in server.failure("action", "outside:bomb")
    assert server.action("outside:nested") == "hidden"


def test_an_action_of_node_has_nodes_modules(server):
    assert server.action("actions/node:hash") == ["ba7816bf", "b", "aGk=", "hello", 0]


def test_an_action_of_node_reaches_no_file_and_no_program(server):
    assert server.action("actions/node:readsFiles") == "NotCapable"
    assert server.action("actions/node:runsPrograms") == "NotCapable"


def test_results_are_json(server):
    result = server.call("action", "outside:web")
    assert json.loads(result.value)[0] == "ab"


@pytest.mark.parametrize(
    "how", ["exit", "abort", "later", "Deno.exit", "named exit", "named abort"]
)
def test_an_action_of_node_that_exits_fails(server, how):
    """Its thread would be gone, and nobody would tell whoever waits."""
    text = server.failure("action", "actions/node:exits", how=how)
    assert text.startswith("Uncaught Error: An action cannot exit")


@pytest.mark.parametrize("how", ["kill", "_kill", "named", "Deno.kill"])
def test_an_action_of_node_kills_nothing(server, how):
    """Other actions run in the same process."""
    text = server.failure("action", "actions/node:kills", how=how)
    assert text.startswith("Uncaught Error: An action cannot send signals")


def test_what_process_exports_by_name_is_the_deployments(server):
    assert server.action("actions/node:namedEnvironment") == "hello"


def test_texts_may_end_in_half_a_character(server):
    """As `slice` leaves it. It is printed and thrown as a whole one, and stops no other action."""
    assert server.logs("action", "outside:printsHalfACharacter") == ["[LOG] 'cut ?'"]
    for kind, path in (("action", "outside"), ("query", "messages")):
        text = server.failure(kind, f"{path}:throwsHalfACharacter")
        assert text.startswith("Uncaught Error: cut ?\n")
    assert server.action("outside:sendAndRead", body="hi") == ["hi"]


def test_what_an_action_of_node_prints_becomes_a_log_line(server):
    assert server.logs("action", "actions/node:prints") == ["[LOG] printed"]


def test_a_function_that_ran_out_of_memory_once_ends_no_other_again(server):
    """It is run in a process of its own, until it ends well."""

    async def story():
        waiting = asyncio.create_task(server.ask("action", "outside:meets", {"others": 2.0}))
        while not decode((await server.ask("query", "messages:count", {})).value):
            await asyncio.sleep(0.01)
        bomb = await server.ask("action", "outside:bomb", {})
        still_waits = not waiting.done()
        await server.ask("mutation", "messages:send", {"channel": "meeting", "body": "too"})
        return bomb, still_waits, await waiting

    server.failure("action", "outside:bomb")
    bomb, still_waits, waited = server.run(story())
    assert "ended unexpectedly" in bomb.error_message
    assert still_waits
    assert waited.ok


def test_actions_that_all_wait_for_others_do_not_wait_for_ever():
    """More of them than run in a process at once: what they wait for would never begin."""
    source = """
    const runAction = (args) => Convex.asyncSyscall("1.0/actions/action", JSON.stringify(args));
    export const outer = { invokeAction: (_, args) => runAction({}) };
    export const inner = { invokeAction: async () => "1" };
    """
    host = action_host.ActionHost(Bundle((Module("m.js", source),)), DEFAULT_LIMITS)

    async def run(name):
        request = {"path": "m.js", "component": "", "name": name, "isNode": False, "args": "[{}]"}
        return await host.run(request, lambda op, args: run("inner"), lambda level, text: None)

    async def story():
        await host.start()
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await asyncio.gather(*(run("outer") for _ in range(34)))
        finally:
            host.close()

    assert asyncio.run(story()) == [b"1"] * 34


def test_what_actions_wait_for_runs_beside_each_other():
    """Though all places are taken by those that wait: one that takes long must not hold up all."""
    source = """
    const call = (op) => Convex.asyncSyscall(op, "{}");
    export const outer = { invokeAction: () => call("1.0/actions/action") };
    export const inner = { invokeAction: () => call("meet") };
    """
    host = action_host.ActionHost(Bundle((Module("m.js", source),)), DEFAULT_LIMITS)
    together = asyncio.Barrier(4)

    async def operate(op, args):
        if op == "meet":
            await together.wait()
            return b"1"
        return await run("inner")

    async def run(name):
        request = {"path": "m.js", "component": "", "name": name, "isNode": False, "args": "[{}]"}
        return await host.run(request, operate, lambda level, text: None)

    async def story():
        await host.start()
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await asyncio.gather(*(run("outer") for _ in range(36)))
        finally:
            host.close()

    assert asyncio.run(story()) == [b"1"] * 36


def test_a_process_that_does_not_come_up_is_told_of_and_ended(bundle, monkeypatch):
    monkeypatch.setattr(action_host, "_START_S", 0.0)
    host = action_host.ActionHost(bundle, DEFAULT_LIMITS)
    with pytest.raises(OperatorError, match="does not start"):
        asyncio.run(host.start())
    assert host._process.returncode is not None


def test_private_addresses_can_be_forbidden(code, tmp_path):
    server = Server(code, tmp_path / "data.sqlite3")
    server.backend.forbids_private_addresses = True
    try:
        with echo_server() as url:
            for host in ("127.0.0.1", "localhost", "[::1]", "0.0.0.0", "2130706433"):
                url_there = url.replace("127.0.0.1", host)
                failure = server.failure("action", "outside:fetches", url=url_there)
                assert "net access" in failure or "fetch failed" in failure, failure
    finally:
        server.close()
