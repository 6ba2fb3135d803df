"""Each syscall from each kind of function: the matrix of section 6 of the function runtime's spec.

Q, M, A and H are queries, mutations, actions and HTTP actions. A syscall that has no business in a
kind of function is unknown there, or refused in words.
"""

from __future__ import annotations

import json
import time
from typing import Any, NamedTuple

import pytest

from cupola.auth import ANONYMOUS
from cupola.files import LocalFiles
from cupola.runtimes.v8.syscalls import _HANDLERS
from cupola.server.serve import Server as HttpServer
from cupola.server.serve import ServerOptions
from cupola.values import decode

from .conftest import Server
from .test_http_actions import _answer

pytestmark = pytest.mark.node

OURS = {"cupola/rewind", "cupola/aggregate"}
KINDS = {"Q": "inQuery", "M": "inMutation", "A": "inAction"}
SCAN = {"source": {"type": "FullTableScan", "tableName": "messages", "order": None}}
READ = {**SCAN, "operators": []}
FACTS = {"version": "1.48.0", "requestId": ""}
NOTHING = {"args": {}, "name": "messages:count", **FACTS}
WRITE = {"args": {"channel": "c", "body": "b"}, "name": "messages:send", **FACTS}
ACT = {"args": {}, "name": "outside:hidden", **FACTS}
LATER = {"name": "messages:clear", "ts": time.time() + 3600, "args": {}, **FACTS}
METRICS = (
    *("bytesRead", "bytesWritten", "databaseQueries", "documentsRead", "documentsWritten"),
    *("functionsScheduled", "scheduledFunctionArgsBytes"),
    *("filesWritten", "fileWriteBytes", "filesRead", "fileReadBytes"),
)


class Row(NamedTuple):
    """`where`: the kinds that answer. `shape`: what the answer must have, as `looks_like` says.
    `refusal`: what the other kinds say, where that is not "Unknown …"."""

    op: str
    args: dict[str, Any]
    where: str
    shape: Any
    refusal: str = "Unknown"
    is_sync: bool = False


def document(**fields: Any) -> dict[str, Any]:
    return {"_id": str, "_creationTime": float, **fields}


MESSAGE = document(body="hi", channel="a")
ROWS = [
    Row("1.0/queryStream", {"query": READ}, "QM", {"queryId": 0.0}, is_sync=True),
    Row("1.0/queryCleanup", {"queryId": 7}, "QM", False, is_sync=True),
    Row(
        "1.0/db/normalizeId",
        {"table": "messages", "idString": "$message"},
        "QM",
        {"id": "$message"},
        is_sync=True,
    ),
    Row("1.0/getSnapshotTs", {}, "QM", {"$integer": str}, is_sync=True),
    Row("1.0/componentArgument", {"name": "x"}, "", None, "component argument", is_sync=True),
    Row("1.0/get", {"id": "$message", **FACTS}, "QM", MESSAGE),
    Row("1.0/queryStreamNext", {"queryId": 7}, "", None, "There is no open query 7"),
    Row(
        "1.0/queryPage",
        {"query": READ, "cursor": None, "endCursor": None, "pageSize": 1, "maximumRowsRead": None},
        "QM",
        {
            "page": [MESSAGE],
            "isDone": False,
            "continueCursor": str,
            "splitCursor": None,
            "pageStatus": None,
        },
    ),
    Row("1.0/count", {"table": "messages"}, "QM", 1.0),
    Row(
        "1.0/insert",
        {"table": "messages", "value": {"body": "x"}},
        "M",
        {"_id": str},
        "A query cannot write",
    ),
    Row(
        "1.0/shallowMerge",
        {"id": "$message", "value": {"body": "y", "channel": {"$undefined": None}}},
        "M",
        document(body="y"),
        "A query cannot write",
    ),
    Row(
        "1.0/replace",
        {"id": "$message", "value": {"body": "z"}},
        "M",
        document(body="z"),
        "A query cannot write",
    ),
    Row("1.0/remove", {"id": "$message"}, "M", MESSAGE, "A query cannot write"),
    Row("1.0/runUdf", {"udfType": "query", **NOTHING}, "QM", 1.0),
    Row("1.0/runUdf", {"udfType": "mutation", **WRITE}, "M", str, "Cannot call a mutation"),
    Row("1.0/runUdf", {"udfType": "snapshotQuery", **NOTHING}, "M", 1.0, "Cannot call a snapshot"),
    Row("1.0/runUdf", {"udfType": "action", **ACT}, "", None, "Cannot call a action from a"),
    Row("1.0/actions/query", NOTHING, "AH", 1.0),
    Row("1.0/actions/mutation", WRITE, "AH", str),
    Row("1.0/actions/action", ACT, "AH", "hidden"),
    Row("1.0/createFunctionHandle", {"name": "messages:send", **FACTS}, "QMAH", str),
    Row("1.0/getUserIdentity", {"requestId": ""}, "QMAH", None),
    Row("1.0/getFunctionMetadata", {}, "QMAH", {"name": str, "componentPath": ""}),
    Row(
        "1.0/getTransactionMetrics",
        {},
        "QM",
        {name: {"used": 0.0, "remaining": float} for name in METRICS},
    ),
    Row("1.0/getDeploymentMetadata", {}, "QMAH", {"name": str, "region": None, "class": str}),
    Row(
        "1.0/getRequestMetadata",
        {},
        "MAH",
        {
            "ip": object,  # of those over HTTP; `test_requests` says which
            "userAgent": None,
            "requestId": str,
            "scheduledFunctionId": None,
            "authToken": None,
        },
        "A query cannot see the request",
    ),
    Row("1.0/auditLog", {"body": {"action": "x"}, "version": "1.48.0"}, "QMAH", None),
    Row("1.0/storageGetUrl", {"storageId": "$file", **FACTS}, "QMAH", str),
    Row(
        "1.0/storageGetMetadata",
        {"storageId": "$file", **FACTS},
        "QMAH",
        {"storageId": "$file", "sha256": str, "size": 5.0, "contentType": "a/b"},
    ),
    Row("1.0/storageGenerateUploadUrl", FACTS, "MAH", str, "A query cannot write"),
    Row("1.0/storageDelete", {"storageId": "$file", **FACTS}, "MAH", None, "A query cannot write"),
    Row("1.0/schedule", LATER, "M", str, "A query cannot"),
    Row("1.0/cancel_job", {"id": "$job"}, "M", None, "A query cannot"),
    Row("1.0/actions/schedule", LATER, "AH", str),
    Row("1.0/actions/cancel_job", {"id": "$job", **FACTS}, "AH", None),
    Row("1.0/nothing", {}, "", None, "Unknown async operation 1.0/nothing"),
]


@pytest.fixture(scope="module")
def world(shared: Server, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A deployment with files and a port of its own."""
    shared.backend.files.store = LocalFiles(tmp_path_factory.mktemp("files"))
    shared.run(shared.backend.actions.close())  # workers know the folder from their start
    server = HttpServer(shared.backend, ServerOptions(port=0, site_port=0))
    shared.run(server.start())
    shared.site_port = server.site_port  # type: ignore[attr-defined]
    return shared


@pytest.fixture
def ids(world: Server) -> dict[str, str]:
    """What the arguments of the rows stand for."""
    world.mutation("messages:clear")
    found = {"$message": world.mutation("messages:send", channel="a", body="hi")}
    found["$file"] = world.action("files:roundTrip", size=5)["id"]
    found["$job"] = world.mutation("later:after", delay=3_600_000.0, text="never")
    return found


def put_in(value: Any, ids: dict[str, str]) -> Any:
    text = json.dumps(value)
    for name, found in ids.items():
        text = text.replace(name, found)
    return json.loads(text)


def looks_like(value: Any, shape: Any) -> bool:
    """`shape`: types stand for values of them, and all else for itself."""
    if isinstance(shape, type):
        return isinstance(value, shape | int if shape is float else shape)
    if isinstance(shape, dict):
        return value.keys() == shape.keys() and all(
            looks_like(value[name], each) for name, each in shape.items()
        )
    if isinstance(shape, list):
        return len(value) == len(shape) and all(map(looks_like, value, shape))
    return bool(value == shape)


def ask(world: Server, where: str, row: Row, ids: dict[str, str]) -> dict[str, str]:
    asked = {"op": row.op, "args": json.dumps(put_in(row.args, ids)), "isSync": row.is_sync}
    if where != "H":
        kind = {"Q": "query", "M": "mutation", "A": "action"}[where]
        found: dict[str, str] = world.value(kind, f"raw:{KINDS[where]}", ANONYMOUS, **asked)
        return found
    port = world.site_port  # type: ignore[attr-defined]
    status, _, body = world.run(_answer(port, "POST", "/raw", body=json.dumps(asked).encode()))
    assert status == 200, body
    answer: dict[str, str] = json.loads(body)
    return answer


@pytest.mark.parametrize("where", "QMAH")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.op}-{row.args.get('udfType', '')}")
def test_a_syscall(world: Server, ids: dict[str, str], row: Row, where: str) -> None:
    answer = ask(world, where, row, ids)
    if where in row.where:
        assert "error" not in answer, answer
        assert looks_like(json.loads(answer["ok"]), put_in_types(row.shape, ids)), answer
    else:
        refusals = ("Unknown operation", "Unknown async operation", row.refusal)
        assert any(answer["error"].startswith(each) or each in answer["error"] for each in refusals)


def put_in_types(shape: Any, ids: dict[str, str]) -> Any:
    if isinstance(shape, dict):
        return {name: put_in_types(each, ids) for name, each in shape.items()}
    return ids.get(shape, shape) if isinstance(shape, str) else shape


@pytest.mark.parametrize("path", ["raw:readsInQuery", "raw:readsInMutation"])
def test_a_stream_is_read_and_left(world: Server, ids: dict[str, str], path: str) -> None:
    found = world.value("query" if "Query" in path else "mutation", path)
    assert found == {
        "queryId": 0.0,
        "body": "hi",
        "done": False,
        "known": True,
        "again": False,
        "after": "There is no open query 0.",
    }


@pytest.mark.parametrize("where", "QM")
@pytest.mark.parametrize("number", [{}, [0], "0", None])
def test_a_query_that_is_no_number_is_an_error_of_the_function(
    world: Server, where: str, number: Any
) -> None:
    """Also for what is our own, which functions can call as well."""
    kind = {"Q": "query", "M": "mutation"}[where]
    for op, words in (
        ("1.0/queryStreamNext", "There is no open query"),
        ("cupola/rewind", "takes the numbers"),
    ):
        args = json.dumps({"queryId": number, "unread": 0})
        asked = {"op": op, "args": args, "isSync": True}
        result = world.call(kind, f"raw:{KINDS[where]}", ANONYMOUS, **asked)
        assert result.value is not None, result.error_message
        assert words in decode(result.value)["error"]


@pytest.mark.parametrize("where", "QMA")
@pytest.mark.parametrize("args", ["{", "7", "null"])
def test_arguments_that_are_no_object_are_an_error_of_the_function(
    world: Server, where: str, args: str
) -> None:
    for op in ("1.0/get", "1.0/actions/query", "1.0/getFunctionMetadata"):
        kind = {"Q": "query", "M": "mutation", "A": "action"}[where]
        asked = {"op": op, "args": args, "isSync": False}
        answer = decode(world.call(kind, f"raw:{KINDS[where]}", ANONYMOUS, **asked).value)
        assert isinstance(answer, dict)
        assert "error" in answer


def test_no_syscall_is_left_out() -> None:
    """A syscall that is added gets a row here."""
    assert set(_HANDLERS) - OURS <= {row.op for row in ROWS}
