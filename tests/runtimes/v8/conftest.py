"""A deployment of pushed JavaScript with everything that serving has, except sockets.

The app of these tests is bundled once, as the published CLI would.
"""

import asyncio
import json
import subprocess
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from cupola.auth import ANONYMOUS, Identity
from cupola.backend import Backend
from cupola.backend.calls import CallRequest, CallResult
from cupola.functions.app import App, load_app
from cupola.functions.bundles import Bundle, Module
from cupola.functions.javascript import PushedCode
from cupola.limits import DEFAULT_LIMITS, Limits
from cupola.persistence.sqlite import SqlitePersistence
from cupola.runtimes.v8.analyzer import V8Analyzer
from cupola.schema import SchemaDefinition
from cupola.values import decode

HERE = Path(__file__).parent
PACKAGES = HERE.parents[1] / "conformance" / "node"
PATIENCE_S = 60.0
SCHEMA = {
    "tables": [
        {
            "tableName": "messages",
            "indexes": [
                {"indexDescriptor": "by_channel", "fields": ["channel"]},
                {"indexDescriptor": "by_weight", "fields": ["weight"], "aggregate": ["weight"]},
                {"indexDescriptor": "by_code", "fields": ["code"], "unique": True},
                {"indexDescriptor": "by_time", "fields": ["at"]},
            ],
            "searchIndexes": [],
            "vectorIndexes": [],
            "documentType": {"type": "any"},
        }
    ],
    "schemaValidation": True,
}


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    return Bundle(
        modules_of(HERE / "app"),
        environment={"GREETING": "hello"},
        import_seed=bytes(range(32)),
        import_time_ms=1_700_000_000_000,
    )


def modules_of(folder: Path) -> tuple[Module, ...]:
    if not (PACKAGES / "node_modules" / "esbuild").is_dir():
        pytest.skip("the npm packages are not installed: make node-packages")
    command = ["node", str(HERE / "bundle.mjs"), str(folder), str(PACKAGES)]
    output = subprocess.run(command, check=True, capture_output=True).stdout
    return tuple(Module(**module) for module in json.loads(output))


@pytest.fixture(scope="session")
def code(bundle: Bundle) -> PushedCode:
    return PushedCode(bundle, asyncio.run(V8Analyzer(DEFAULT_LIMITS).analyze(bundle)))


class Server:
    """A backend at work on a loop that turns while a test waits."""

    def __init__(
        self,
        code: PushedCode,
        data: Path,
        limits: Limits = DEFAULT_LIMITS,
        python: App | None = None,
    ) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self.backend = Backend(SqlitePersistence(str(data)), limits=limits)
        self.backend.use_workers(str(data))
        schema = SchemaDefinition.from_json(json.dumps(SCHEMA))
        self.backend.deploy_now((python or App({}, {})).with_javascript(code, schema))
        self.run(self._attach())

    async def _attach(self) -> None:
        self.backend.attach(asyncio.get_running_loop())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(asyncio.wait_for(work, PATIENCE_S))

    def close(self) -> None:
        self.run(self.backend.close())
        self._runner.close()

    async def ask(
        self, kind: str, path: str, args: dict[str, Any], identity: Identity = ANONYMOUS
    ) -> CallResult:
        return await self.backend.call(
            CallRequest(kind, path, json.dumps(args).encode(), identity)  # type: ignore[arg-type]
        )

    def call(
        self, kind: str, path: str, identity: Identity = ANONYMOUS, /, **args: Any
    ) -> CallResult:
        result: CallResult = self.run(self.ask(kind, path, args, identity))
        return result

    def value(self, kind: str, path: str, identity: Identity = ANONYMOUS, /, **args: Any) -> Any:
        result = self.call(kind, path, identity, **args)
        assert result.value is not None, result.error_message
        return decode(result.value)

    def query(self, path: str, /, **args: Any) -> Any:
        return self.value("query", path, **args)

    def mutation(self, path: str, /, **args: Any) -> Any:
        return self.value("mutation", path, **args)

    def action(self, path: str, /, **args: Any) -> Any:
        return self.value("action", path, **args)

    def failure(self, kind: str, path: str, identity: Identity = ANONYMOUS, /, **args: Any) -> str:
        """The text of a failure, without the request id."""
        result = self.call(kind, path, identity, **args)
        assert result.value is None, result.value[:200]
        assert result.error_message is not None
        return result.error_message.partition("Server Error\n")[2]

    def logs(self, kind: str, path: str, /, **args: Any) -> list[str]:
        lines = decode(self.call(kind, path, **args).log_lines)
        assert isinstance(lines, list)
        return lines  # type: ignore[return-value]


@pytest.fixture(scope="module")
def shared(code: PushedCode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(code, tmp_path_factory.mktemp("data") / "data.sqlite3")
    yield server
    server.close()


@pytest.fixture
def server(shared: Server) -> Server:
    """The module's deployment, without documents."""
    shared.mutation("messages:clear")
    return shared


@pytest.fixture(scope="module")
def bilingual(code: PushedCode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A deployment of functions in both languages."""
    folder = tmp_path_factory.mktemp("python")
    (folder / "functions").mkdir()
    source = (HERE / "functions.py.txt").read_text()
    (folder / "functions" / "snakes.py").write_text(source)
    server = Server(code, folder / "data.sqlite3", python=load_app(folder))
    yield server
    server.close()
