"""Pushed code is kept with the data: what is read back is what was written, and nothing else."""

from __future__ import annotations

from cupola.backend import Backend
from cupola.clock import ManualClock
from cupola.database.catalog import MODULES
from cupola.deploy.code import DeployedCode, PushFacts
from cupola.deploy.storage import StoredCode
from cupola.functions.app import App
from cupola.functions.bundles import AnalyzedFunction, AnalyzedModule, ExternalPackage, Module
from cupola.schema import SchemaDefinition

FACTS = PushFacts(
    "convex/",
    "1.48.0",
    b"s" * 32,
    1_700_000_000_000,
    schema='{"tables":[],"schemaValidation":true}',
    auth=[{"domain": "https://issuer.example", "applicationID": "app"}],
    definition={"path": ""},
    external_packages=[ExternalPackage("ws", "8.21.0")],
)
ANALYZED = AnalyzedModule((AnalyzedFunction("list", "query", "public", '{"type":"any"}', "null"),))


def code(**sources: str) -> DeployedCode:
    modules = {f"{name}.js": Module(f"{name}.js", source, "{}") for name, source in sources.items()}
    return DeployedCode(modules, dict.fromkeys(modules, ANALYZED), FACTS)


class Store:
    """A deployment, and what it stores."""

    def __init__(self) -> None:
        self.backend = Backend(clock=ManualClock())
        self.backend.deploy_now(App({}, {}))
        self.stored = StoredCode(self.backend.node.persistence.reader)

    def push(self, pushed: DeployedCode) -> None:
        outcome: list[BaseException | None] = []
        push = self.backend.pushes.stage(SchemaDefinition(), lambda error: None)
        self.backend.pushes.accept(
            push, App({}, {}), lambda t: self.stored.write(t, pushed), outcome.append
        )
        self.backend.run_until_idle()
        assert outcome == [None]
        self.stored.confirm()

    def read_back(self) -> DeployedCode | None:
        return StoredCode(self.backend.node.persistence.reader).code

    def versions(self) -> dict[str, int]:
        """The version number of each module's document."""
        table = self.backend.node.committer.catalog.by_number[MODULES]
        rows = self.backend.node.persistence.reader.scan(
            table.primary.number, b"", None, descending=False, limit=100
        )
        return {body.decode().partition('"path":"')[2].split('"')[0]: v for _, v, body in rows}


def test_what_was_pushed_is_read_back_whole() -> None:
    store = Store()
    assert store.read_back() is None
    pushed = code(messages="export const list = 1;", users="// ünïcode \U0001f600 \\n")
    store.push(pushed)
    assert store.read_back() == pushed


def test_a_push_writes_only_what_differs() -> None:
    store = Store()
    store.push(code(same="1", changed="1", removed="1"))
    before = store.versions()
    store.push(code(same="1", changed="2", added="1"))
    after = store.versions()

    assert set(after) == {"same.js", "changed.js", "added.js"}
    assert after["same.js"] == before["same.js"]
    assert after["changed.js"] != before["changed.js"]
    assert store.read_back() == code(same="1", changed="2", added="1")


def test_more_than_a_transaction_of_an_app_may_read_can_be_replaced() -> None:
    store = Store()
    large = {f"m{number}": "x" * 5_000_000 for number in range(5)}
    store.push(code(**large))
    store.push(code(**{name: text + "y" for name, text in large.items()}))
    found = store.read_back()
    assert found is not None and all(len(m.source) == 5_000_001 for m in found.modules.values())
