"""Where pushed code is kept: in private tables, one document per module.

Those of a component definition have its path as `definition`. A push writes what differs, in the
transaction that puts its schema in force; so after a crash the deployment has the code and the
schema of one push, or those of the one before.
"""

from __future__ import annotations

import msgspec

from cupola.database.catalog import DEPLOYMENT, ENVIRONMENT, MODULES, Document
from cupola.database.load import load_documents
from cupola.database.transaction import Transaction
from cupola.deploy.code import DeployedCode, PushFacts
from cupola.deploy.components import DefinedComponent
from cupola.functions.bundles import AnalyzedModule, Module
from cupola.persistence import Reader
from cupola.system.deployment import PUSH_FACTS

_Key = tuple[str, str]
"""A definition ("": the app's) and the path of one of its modules."""


class StoredCode:
    """What the private tables hold. `write` and then, once that has committed, `confirm`."""

    def __init__(self, reader: Reader) -> None:
        """Read everything, once."""
        self._module_ids: dict[_Key, str] = {}
        self._push_id: str | None = None
        self.code: DeployedCode | None = None
        self._written: tuple[dict[_Key, str], str, DeployedCode] | None = None
        modules: dict[str, dict[str, Module]] = {"": {}}
        analysis: dict[str, dict[str, AnalyzedModule]] = {"": {}}
        for document_id, document in load_documents(reader, MODULES).items():
            module, definition = _module(document), str(document.get("definition", ""))
            modules.setdefault(definition, {})[module.path] = module
            self._module_ids[definition, module.path] = document_id
            if (analyzed := document["analysis"]) is not None:
                found = msgspec.json.decode(str(analyzed), type=AnalyzedModule)
                analysis.setdefault(definition, {})[module.path] = found
        for document_id, document in load_documents(reader, DEPLOYMENT).items():
            if document["name"] == PUSH_FACTS:
                self._push_id = document_id
                facts = msgspec.json.decode(str(document["value"]), type=PushFacts)
                components = {
                    path: DefinedComponent(
                        modules.get(path, {}), analysis.get(path, {}), each.schema, each.definition
                    )
                    for path, each in facts.components.items()
                }
                self.code = DeployedCode(modules[""], analysis[""], facts, components)

    def write(self, transaction: Transaction, code: DeployedCode) -> None:
        """Make `code` what is stored: documents that stay the same are left alone."""
        old = self.code
        ids = dict(self._module_ids)
        stored = _all_modules(old) if old is not None else {}
        wanted = _all_modules(code)
        for key, (module, analyzed) in wanted.items():
            if stored.get(key) != (module, analyzed):
                document = _document(key[0], module, analyzed)
                ids[key] = transaction.put_system(MODULES, ids.get(key), document)
        for key in ids.keys() - wanted.keys():
            transaction.put_system(MODULES, ids.pop(key), None)
        value = msgspec.json.encode(code.facts).decode()
        fields: Document = {"name": PUSH_FACTS, "value": value}
        push_id = transaction.put_system(DEPLOYMENT, self._push_id, fields)
        self._written = (ids, push_id, code)

    def confirm(self) -> None:
        """What was written last has committed."""
        assert self._written is not None
        self._module_ids, self._push_id, self.code = self._written


def load_environment(reader: Reader) -> dict[str, str]:
    """The variables that administrators have set."""
    documents = load_documents(reader, ENVIRONMENT).values()
    return {str(document["name"]): str(document["value"]) for document in documents}


def _all_modules(code: DeployedCode) -> dict[_Key, tuple[Module, AnalyzedModule | None]]:
    found = {("", path): (module, code.analysis.get(path)) for path, module in code.modules.items()}
    for definition, component in code.components.items():
        for path, module in component.modules.items():
            found[definition, path] = module, component.analysis.get(path)
    return found


def _document(definition: str, module: Module, analyzed: AnalyzedModule | None) -> Document:
    return {
        **({"definition": definition} if definition else {}),
        "path": module.path,
        "source": module.source,
        "sourceMap": module.source_map,
        "environment": module.environment,
        "sha256": module.sha256,
        "analysis": msgspec.json.encode(analyzed).decode() if analyzed is not None else None,
    }


def _module(document: Document) -> Module:
    return msgspec.convert(
        {
            "path": document["path"],
            "source": document["source"],
            "source_map": document["sourceMap"],
            "environment": document["environment"],
        },
        type=Module,
    )
