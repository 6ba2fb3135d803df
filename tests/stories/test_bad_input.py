"""Bad input of any kind gets an error that names the thing, changes nothing, and stops nobody.

After each case a canary call must work, and nothing may have been written.
"""

import asyncio
import contextlib
import json
import signal
import textwrap
import threading

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cupola.auth import ANONYMOUS
from cupola.backend import Backend
from cupola.backend.calls import CallRequest
from cupola.errors import CupolaError, SchemaError
from cupola.functions.app import load_app
from cupola.server import Server, ServerOptions
from cupola.testing import Deployment

APP = """
    from typing import Any, Literal, TypedDict

    class Note(Table, name="notes", indexes={"by_text": ["text"]}):
        text: str
        n: float = 0.0

    class Shape(TypedDict):
        kind: Literal["circle", "square"]
        size: float

    @mutation
    def canary(ctx: MutationCtx) -> str:
        return "sings"

    @query
    def written(ctx: QueryCtx) -> int:
        return ctx.db.query(Note).count() + ctx.db.query("loose").count()

    @mutation
    def add(ctx: MutationCtx, text: str, n: float = 0.0) -> Id[Note]:
        return ctx.db.insert(Note(text=text, n=n))

    @mutation
    def whole(ctx: MutationCtx, n: int) -> None:
        ctx.db.insert(Note(text="x", n=n))

    @mutation
    def shape(ctx: MutationCtx, shape: Shape) -> None:
        ctx.db.insert("loose", {"shape": shape})

    @mutation
    def put(ctx: MutationCtx, value: Any) -> None:
        ctx.db.insert("loose", {"value": value})

    @mutation
    def put_into(ctx: MutationCtx, table: str) -> None:
        ctx.db.insert(table, {"x": 1.0})

    @mutation
    def get(ctx: MutationCtx, id: Id[Note]) -> None:
        ctx.db.get(id)
        ctx.db.insert("loose", {})

    @mutation
    def raw_get(ctx: MutationCtx, id: str) -> None:
        ctx.db.insert("loose", {})
        ctx.db.get(id)

    @mutation
    def page(ctx: MutationCtx, paginationOpts: PaginationOptions) -> Any:
        ctx.db.insert("loose", {})
        return ctx.db.query(Note).paginate(paginationOpts)

    @mutation
    def index(ctx: MutationCtx, name: str, field: str, value: Any) -> Any:
        ctx.db.insert("loose", {})
        return ctx.db.query(Note).with_index(name, {field: value}).collect()

    @internal_mutation
    def hidden(ctx: MutationCtx) -> None:
        ctx.db.insert("loose", {})

    @action
    async def acts(ctx: ActionCtx) -> None: ...

    class Own(BaseException):
        pass

    def generator():
        yield 1

    def endless():
        found = []
        found.append(found)
        return found

    def deep(depth):
        value = 1.0
        for _ in range(depth):
            value = [value]
        return value

    @mutation
    def misbehaves(ctx: MutationCtx, how: str):
        ctx.db.insert("loose", {})
        return {
            "raise": lambda: 1 / 0,
            "exit": lambda: exec("raise SystemExit(1)"),
            "keyboard": lambda: exec("raise KeyboardInterrupt"),
            "own": lambda: exec("raise Own", globals()),
            "generator_exit": lambda: exec("raise GeneratorExit"),
            "stop": lambda: next(iter([])),
            "group": lambda: exec("raise ExceptionGroup('two', [ValueError(1), KeyError(2)])"),
            "assert": lambda: exec("assert False, 'never'"),
            "memory": lambda: exec("raise MemoryError"),
            "set": lambda: {1, 2},
            "generator": generator,
            "object": object,
            "function": lambda: generator,
            "class": lambda: Own,
            "surrogate": lambda: "\\ud800",
            "surrogate_key": lambda: {"\\ud800": 1},
            "big": lambda: 2**53 + 1,
            "huge": lambda: 10**400,
            "complex": lambda: 1j,
            "loop": endless,
            "deep": lambda: deep(100),
            "very_deep": lambda: deep(100_000),
            "number_key": lambda: {1: 2},
            "none_key": lambda: {None: 2},
            "dollar_key": lambda: {"$integer": "x"},
            "long_key": lambda: {"k" * 1025: 1},
            "umlaut_key": lambda: {"ä": 1},
            "many_fields": lambda: {f"f{i}": 1 for i in range(1025)},
            "long_list": lambda: [0] * 8193,
            "unset": lambda: [UNSET],
            "large": lambda: ["x" * 2**20] * 17,
            "coroutine_like": lambda: range(3),
        }[how]()
"""

ARGUMENT = "ArgumentValidationError"
LONG = "x" * 3000

# (name of the case, kind, path, arguments as JSON text, what the error says)
CALLS = [
    ("broken JSON", "mutation", "main:add", b"{", ARGUMENT),
    ("no JSON", "mutation", "main:add", b"", ARGUMENT),
    ("JSON that goes on", "mutation", "main:add", b'{"text":"a"} x', ARGUMENT),
    ("not UTF-8", "mutation", "main:add", b'{"text":"\xff"}', ARGUMENT),
    ("a list", "mutation", "main:add", b"[]", "object of named arguments"),
    ("null", "mutation", "main:add", b"null", "object of named arguments"),
    ("missing", "mutation", "main:add", b"{}", "text"),
    ("unknown", "mutation", "main:add", b'{"text":"a","txt":"b"}', "txt"),
    ("number for text", "mutation", "main:add", b'{"text":5}', "text"),
    ("null for text", "mutation", "main:add", b'{"text":null}', "text"),
    ("text for number", "mutation", "main:add", b'{"text":"a","n":"1"}', "n"),
    ("int64 for number", "mutation", "main:add",
     b'{"text":"a","n":{"$integer":"AAAAAAAAAAA="}}', "n"),
    ("a fraction", "mutation", "main:whole", b'{"n":1.5}', "n"),
    ("beyond 2^53", "mutation", "main:whole", b'{"n":1e300}', "n"),
    ("NaN for int", "mutation", "main:whole", b'{"n":{"$float":"AAAAAAAA+H8="}}', "n"),
    ("bad base64", "mutation", "main:put", b'{"value":{"$bytes":"!"}}', ARGUMENT),
    ("short int64", "mutation", "main:put", b'{"value":{"$integer":"AA=="}}', ARGUMENT),
    ("unknown $", "mutation", "main:put", b'{"value":{"$set":[]}}', ARGUMENT),
    ("lone surrogate", "mutation", "main:put", b'{"value":"\\ud800"}', ARGUMENT),
    ("duplicate surrogate key", "mutation", "main:put", b'{"value":{"\\udfff":1}}', ARGUMENT),
    ("wrong literal", "mutation", "main:shape", b'{"shape":{"kind":"oval","size":1}}', "kind"),
    ("missing field", "mutation", "main:shape", b'{"shape":{"kind":"circle"}}', "size"),
    ("extra field", "mutation", "main:shape",
     b'{"shape":{"kind":"circle","size":1,"hue":2}}', "hue"),
    ("deep arguments", "mutation", "main:put",
     b'{"value":' + b"[" * 100 + b"]" * 100 + b"}", "nest"),
    ("very deep arguments", "mutation", "main:put",
     b'{"value":' + b"[" * 200_000 + b"]" * 200_000 + b"}", ARGUMENT),
    ("deep document", "mutation", "main:put", b'{"value":' + b"[" * 20 + b"]" * 20 + b"}", "16"),
    ("many elements", "mutation", "main:put",
     b'{"value":[' + b",".join([b"0"] * 8193) + b"]}", "8192"),
    ("many fields", "mutation", "main:put",
     json.dumps({"value": {f"f{i}": 0 for i in range(1025)}}).encode(), "1024"),
    ("long field name", "mutation", "main:put",
     json.dumps({"value": {LONG: 0}}).encode(), "1024"),
    ("large document", "mutation", "main:put",
     json.dumps({"value": "x" * 2**20}).encode(), "1"),
    ("large arguments", "mutation", "main:put",
     json.dumps({"value": "x" * (16 * 2**20 + 1)}).encode(), "larger than"),
    ("larger arguments", "mutation", "main:put",
     json.dumps({"value": "x" * (33 * 2**20)}).encode(), "larger than"),
    ("unknown function", "mutation", "main:ad", b"{}", "main:add"),
    ("unknown module", "query", "nowhere:list", b"{}", "nowhere:list"),
    ("internal function", "mutation", "main:hidden", b"{}", "main:hidden"),
    ("wrong kind", "query", "main:add", b'{"text":"a"}', "mutation"),
    ("action as mutation", "mutation", "main:acts", b"{}", "action"),
    ("empty path", "mutation", "", b"{}", ""),
    ("long path", "mutation", "m:" + LONG, b"{}", ""),
    ("path with dots", "mutation", "../../etc/passwd:x", b"{}", ""),
    ("path with NUL", "mutation", "main\0:add", b"{}", ""),
    ("path with surrogate", "mutation", "main:\ud800", b"{}", ""),
    ("dunder path", "mutation", "main:__class__", b"{}", "__class__"),
    ("bad id", "mutation", "main:get", b'{"id":"nonsense"}', "id"),
    ("id of nothing", "mutation", "main:raw_get", b'{"id":""}', ""),
    ("id with checksum off", "mutation", "main:raw_get",
     b'{"id":"j57fzzzzzzzzzzzzzzzzzzzzzzzzkyyr"}', "j57f"),
    ("id of no table", "mutation", "main:raw_get",
     b'{"id":"zzzzzzrf000000000000000000000000005v2"}', "zzzzzz"),
    ("bad cursor", "mutation", "main:page",
     b'{"paginationOpts":{"numItems":1,"cursor":"x"}}', "InvalidCursor"),
    ("no page size", "mutation", "main:page",
     b'{"paginationOpts":{"numItems":0,"cursor":null}}', "numItems"),
    ("no cursor", "mutation", "main:page", b'{"paginationOpts":{"numItems":1}}', "cursor"),
    ("unknown index", "mutation", "main:index",
     b'{"name":"by_txt","field":"text","value":1}', "by_text"),
    ("unknown index field", "mutation", "main:index",
     b'{"name":"by_text","field":"txt","value":1}', "`txt`"),
    ("system table", "mutation", "main:put_into", b'{"table":"_tables"}', "_tables"),
    ("empty table name", "mutation", "main:put_into", b'{"table":""}', "table"),
    ("table name with a space", "mutation", "main:put_into", b'{"table":"a b"}', "a b"),
    ("long table name", "mutation", "main:put_into",
     json.dumps({"table": LONG}).encode(), "64"),
]  # fmt: skip

BEHAVIOURS = {
    "raise": "ZeroDivisionError", "exit": "SystemExit", "keyboard": "KeyboardInterrupt",
    "own": "Own", "generator_exit": "GeneratorExit", "stop": "StopIteration",
    "group": "two", "assert": "never", "memory": "MemoryError", "set": "set",
    "generator": "generator", "object": "object", "function": "function", "class": "type",
    "surrogate": "surrogate", "surrogate_key": "", "big": "Int64", "huge": "Int64",
    "complex": "complex", "loop": "nest", "deep": "nest", "very_deep": "nest",
    "number_key": "", "none_key": "", "dollar_key": "$", "long_key": "1024",
    "umlaut_key": "ASCII", "many_fields": "1024", "long_list": "8192", "unset": "",
    "large": "limit", "coroutine_like": "range",
}  # fmt: skip


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad_input")
    (folder / "functions").mkdir()
    source = "from cupola import *\n" + textwrap.dedent(APP)
    (folder / "functions" / "main.py").write_text(source)
    return load_app(folder)


@pytest.fixture(scope="module")
def deployment(app):
    with Deployment(app) as deployment:
        # As in a server, where Ctrl-C does not raise KeyboardInterrupt in the middle of a call.
        before = signal.signal(signal.SIGINT, lambda *_: None)
        yield deployment
        signal.signal(signal.SIGINT, before)


def submit(deployment, kind, path, args):
    results = []
    deployment.backend.submit(CallRequest(kind, path, args, ANONYMOUS), results.append)
    deployment.settle()
    (result,) = results
    return result


def assert_unharmed(deployment):
    assert submit(deployment, "mutation", "main:canary", b"{}").value == b'"sings"'
    assert submit(deployment, "query", "main:written", b"{}").value == b"0.0"
    assert deployment.backend.state == "ready"


@pytest.mark.parametrize(("kind", "path", "args", "told"), [c[1:] for c in CALLS],
                         ids=[c[0] for c in CALLS])  # fmt: skip
def test_a_bad_call_is_told_what_is_wrong(deployment, kind, path, args, told):
    result = submit(deployment, kind, path, args)

    assert not result.ok
    assert isinstance(result.error, CupolaError), result.error_message
    assert told in result.error_message
    assert "InternalServerError" not in result.error_message
    assert len(result.error_message) < 40_000
    result.error_message.encode()
    assert_unharmed(deployment)


@pytest.mark.parametrize(("how", "told"), BEHAVIOURS.items(), ids=BEHAVIOURS.keys())
def test_a_function_that_misbehaves_fails_alone(deployment, how, told):
    """Whatever it raises, whatever it returns."""
    result = submit(deployment, "mutation", "main:misbehaves", json.dumps({"how": how}).encode())

    assert not result.ok
    assert told in result.error_message
    assert_unharmed(deployment)


def test_floats_that_json_lacks_can_be_returned(deployment):
    for text in (b'{"$float":"AAAAAAAA+H8="}', b'{"$float":"AAAAAAAA8H8="}'):
        args = b'{"value":' + text + b"}"
        assert submit(deployment, "mutation", "main:put", args).ok
    deployment.run(lambda ctx: [ctx.db.delete(d["_id"]) for d in ctx.db.query("loose")])


def test_a_session_survives_every_bad_call(deployment):
    """The same table over the sync protocol: mutations fail one by one, the connection stays."""
    client = deployment.connect()
    for name, kind, path, args, _told in CALLS:
        if kind != "mutation" or len(args) > 2**20 or "\ud800" in path:
            continue
        try:
            json.loads(args)
        except (ValueError, RecursionError):
            continue
        message = b'{"type":"Mutation","requestId":%d,"udfPath":%s,"args":[%s]}'
        frame = message % (1000 + len(name), json.dumps(path).encode(), args)
        session = deployment.connect()
        session.connection.to_server.append(frame)
        deployment.settle()
        assert_unharmed(deployment)
    assert client.mutation("main:canary") == "sings"


BAD_SCHEMAS = {
    "an index on nothing": "class T(Table, name='t', indexes={'i': []}):\n    a: str",
    "an index on an unknown field": "class T(Table, name='t', indexes={'i': ['b']}):\n    a: str",
    "an index twice": "class T(Table, name='t', indexes={'i': ['a'], 'j': ['a']}):\n    a: str",
    "a field twice": "class T(Table, name='t', indexes={'i': ['a', 'a']}):\n    a: str",
    "a reserved index": "class T(Table, name='t', indexes={'by_id': ['a']}):\n    a: str",
    "an index name": "class T(Table, name='t', indexes={'a b': ['a']}):\n    a: str",
    "a table name": "class T(Table, name='1t'):\n    a: str",
    "a system table": "class T(Table, name='_t'):\n    a: str",
    "a system field": "class T(Table, name='t'):\n    _id: str",
    "a long name": f"class T(Table, name='{'t' * 100}'):\n    a: str",
    "many indexes": "class T(Table, name='t', indexes={f'i{n}': [f'f{n}'] for n in range(65)}):\n"
    + "".join(f"    f{n}: str\n" for n in range(65)),
    "many index fields": "class T(Table, name='t', indexes={'i': [f'f{n}' for n in range(17)]}):\n"
    + "".join(f"    f{n}: str\n" for n in range(17)),
    "an unknown type": "class T(Table, name='t'):\n    a: set",
    "a name that is not there": "class T(Table, name='t'):\n    a: Nothing",
    "no name": "class T(Table):\n    a: str",
}


@pytest.mark.parametrize("source", BAD_SCHEMAS.values(), ids=BAD_SCHEMAS.keys())
def test_a_bad_schema_is_refused_and_the_old_code_serves(deployment, write_app, source):
    before = deployment.backend.app
    with pytest.raises(SchemaError) as raised:
        deployment.backend.load(write_app(main=source))
    assert "t" in raised.value.message
    assert deployment.backend.app is before
    assert_unharmed(deployment)


# ---------------------------------------------------------------- fuzzed frames and bodies

trees = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
fields = st.sampled_from(
    [
        *("type", "requestId", "udfPath", "args", "queryId", "modifications", "baseVersion"),
        *("newVersion", "journal", "tokenType", "value", "sessionId", "connectionCount"),
        *("lastCloseReason", "maxObservedTimestamp", "event"),
    ]
)
types = st.sampled_from(
    ["Connect", "ModifyQuerySet", "Mutation", "Action", "Authenticate", "Event", "Add", "Nothing"]
)
messages = st.one_of(
    st.dictionaries(fields, trees, max_size=6),
    st.tuples(types, st.dictionaries(fields, trees, max_size=6)).map(
        lambda pair: {**pair[1], "type": pair[0]}
    ),
    trees,
)
frames = st.one_of(
    st.binary(max_size=60),
    messages.map(lambda tree: json.dumps(tree).encode("utf-8", "surrogatepass")),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(frames, min_size=1, max_size=4), st.booleans())
def test_fuzzed_frames_end_at_most_their_own_connection(deployment, sent, connected):
    client = deployment.connect()
    if not connected:
        client.open_connection()
        client.connection.to_server.clear()
    client.connection.to_server.extend(sent)
    with contextlib.suppress(AssertionError, KeyError):  # the client's half may be surprised
        deployment.settle()
    client.disconnect()
    deployment._clients.remove(client)
    assert_unharmed(deployment)


@pytest.fixture(scope="module")
def http(app):
    """A real server, in a thread with a loop of its own."""
    started, stopping = threading.Event(), []
    found = {}

    async def main():
        backend = Backend()
        backend.deploy_now(app)
        stop = asyncio.Event()
        stopping.extend([asyncio.get_running_loop(), stop])
        async with Server(backend, ServerOptions(port=0, site_port=0, drain_s=1.0)) as server:
            found["url"] = server.url
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    assert started.wait(10)
    with httpx.Client(base_url=found["url"], timeout=10) as client:
        yield client
    stopping[0].call_soon_threadsafe(stopping[1].set)
    thread.join(10)


def assert_serving(http):
    body = {"path": "main:canary", "args": {}, "format": "convex_encoded_json"}
    assert http.post("/api/mutation", json=body).json()["value"] == "sings"
    body = {"path": "main:written", "args": {}, "format": "json"}
    assert http.post("/api/query", json=body).json()["value"] == 0


BODIES = {
    "empty": b"",
    "no JSON": b"nonsense",
    "a list": b"[]",
    "no path": b'{"args":{}}',
    "no args": b'{"path":"main:add"}',
    "path of another type": b'{"path":5,"args":{}}',
    "args of another type": b'{"path":"main:add","args":"x"}',
    "unknown format": b'{"path":"main:add","args":{"text":"x"},"format":"xml"}',
    "deep": b"[" * 100_000,
    "not UTF-8": b'{"path":"\xff","args":{}}',
    "surrogate": b'{"path":"main:add","args":{"text":"\\ud800"}}',
    "oversized": b'{"path":"main:add","args":{"text":"' + b"x" * (17 * 2**20) + b'"}}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
@pytest.mark.parametrize("route", ["query", "mutation", "action", "function", "query_batch"])
def test_a_bad_body_is_told_what_is_wrong(http, route, body):
    answer = http.post(f"/api/{route}", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code < 500 or answer.status_code == 503, answer.text
    told = answer.json()
    if answer.status_code >= 400:
        assert told["code"]
        assert told["message"]
    elif route == "query_batch":
        assert told["results"] is not None
    else:
        assert told["status"] == "error"
    assert_serving(http)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(["query", "mutation", "action", "function", "query_batch", "query_at_ts"]),
    st.one_of(
        st.binary(max_size=50),
        trees.map(lambda tree: json.dumps(tree).encode("utf-8", "surrogatepass")),
        st.fixed_dictionaries(
            {"path": st.sampled_from(["main:get", "main:canary", "x"]) | trees, "args": trees},
            optional={"format": trees, "ts": trees},
        ).map(lambda tree: json.dumps(tree).encode("utf-8", "surrogatepass")),
    ),
)
def test_fuzzed_bodies_are_answered(http, route, body):
    answer = http.post(f"/api/{route}", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code < 500, answer.text
    answer.json()
    assert_serving(http)


def test_paths_and_methods_that_do_not_exist(http):
    for method, path in [
        ("GET", "/api/mutation"), ("DELETE", "/api/query"), ("POST", "/api/nothing"),
        ("GET", "/../../etc/passwd"), ("GET", "/%00"), ("GET", "/api/" + "x" * 5000),
        ("BREW", "/api/query"),
    ]:  # fmt: skip
        answer = http.request(method, path)
        assert 400 <= answer.status_code < 500, (method, path, answer.status_code)
        assert_serving(http)
