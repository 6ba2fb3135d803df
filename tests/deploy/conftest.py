"""A deployment that is pushed to without a command line: modules are written as esbuild would."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cupola.auth import Identity
from cupola.backend import Backend, CallRequest, CallResult
from cupola.deploy import Deployer
from cupola.deploy.requests import FinishPush, PushReference, StartPush, WaitForSchema
from cupola.files import FileStore, LocalFiles
from cupola.functions.app import App
from cupola.limits import DEFAULT_LIMITS, Limits
from cupola.persistence.sqlite import SqlitePersistence
from cupola.values import use_limits

from ..files.conftest import bucket, s3  # noqa: F401  # fixtures

Json = dict[str, Any]
Story = Callable[["Pushing"], Awaitable[None]]

HEAD = """
const any = () => '{"type":"any"}';
const make = (kind, visibility) => (handler) => Object.assign(() => {}, {
  ["is" + kind]: true, ["is" + visibility]: true, exportArgs: any, exportReturns: () => "null",
  _handler: handler,
  ["invoke" + kind]: async (args) => JSON.stringify(await handler(...JSON.parse(args)) ?? null),
});
const query = make("Query", "Public");
const mutation = make("Mutation", "Public");
const internalQuery = make("Query", "Internal");
const insert = (table, value) =>
  Convex.asyncSyscall("1.0/insert", JSON.stringify({ table, value }));
"""


def module(path: str, source: str, *, head: str = HEAD, environment: str = "isolate") -> Json:
    return {"path": path, "source": head + source, "environment": environment}


def schema(*tables: Json, validate: bool = True) -> Json:
    text = msgspec.json.encode({"tables": tables, "schemaValidation": validate}).decode()
    source = f"export default {{ export: () => {msgspec.json.encode(text).decode()} }};"
    return module("schema.js", source, head="")


def notes(kind: str = "string", indexes: tuple[str, ...] = ()) -> Json:
    fields = {"body": {"fieldType": {"type": kind}, "optional": False}}
    return {
        "tableName": "notes",
        "indexes": [{"indexDescriptor": name, "fields": ["body"]} for name in indexes],
        "documentType": {"type": "object", "value": fields},
    }


class Pushing:
    """A running deployment and its deployer."""

    def __init__(self, backend: Backend, deployer: Deployer) -> None:
        self.backend = backend
        self.deployer = deployer

    async def start(self, *modules: Json, **more: Any) -> Json:
        app = {
            "changedModules": list(modules),
            "udfServerVersion": "1.48.0",
            **more.pop("app", {}),
        }
        body = {"appDefinition": app, **more}
        return await self.deployer.start_push(msgspec.convert(body, StartPush))

    async def wait(self, started: Json, timeout_ms: float = 10_000) -> Json:
        reference = PushReference(started["schemaChange"]["cupolaPushId"])
        return await self.deployer.wait_for_schema(WaitForSchema(reference, None, timeout_ms))

    async def finish(self, started: Json) -> Json:
        reference = PushReference(started["cupolaPushId"])
        return await self.deployer.finish_push(FinishPush(reference))

    async def push(self, *modules: Json, **more: Any) -> Json:
        started = await self.start(*modules, **more)
        assert (await self.wait(started))["type"] == "complete"
        return await self.finish(started)

    async def call(self, path: str, args: bytes = b"{}") -> CallResult:
        admin = Identity("admin")
        return await self.backend.call(CallRequest("any", path, args, admin, visibility="any"))

    async def value(self, path: str, args: bytes = b"{}") -> Any:
        result = await self.call(path, args)
        assert result.value is not None, result.error_message
        return msgspec.json.decode(result.value)


@pytest.fixture
def tell(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Runs a story against a deployment with the real V8. Each later one finds the data of those
    before.
    """

    def run(
        story: Story,
        python: App | None = None,
        files: FileStore | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        async def main() -> None:
            data = str(tmp_path / "data.sqlite3")
            store = files or LocalFiles(tmp_path / "files")
            log = SqlitePersistence(data, limits)
            backend = Backend(log, instance_secret=bytes(32), files=store, limits=limits)
            backend.use_workers(data)
            backend.node.runtime.time_s = 30.0  # workers do not know a test's Python functions
            deployer = Deployer(backend)
            deployer.deploy_python_now(python or App({}, {}, tmp_path))
            backend.attach(asyncio.get_running_loop())
            try:
                await story(Pushing(backend, deployer))
            finally:
                await deployer.close()
                await backend.close()

        asyncio.run(main())

    yield run
    use_limits(DEFAULT_LIMITS)
