"""What the command line sends while it pushes (spec: deploy API, sections 4.2, 4.6 and 4.7)."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import msgspec

from cupola.errors import BadRequestError
from cupola.functions.bundles import ExternalPackage, Module

MODULES_MAX = 4096


class SentModule(msgspec.Struct, frozen=True, rename="camel"):
    path: str
    source: str
    source_map: str | None = None
    environment: Literal["isolate", "node"] = "isolate"

    def module(self) -> Module:
        return Module(self.path, self.source, self.source_map, self.environment)


class UnchangedModule(msgspec.Struct, frozen=True):
    """A module that the deployment has already, by the hash that it told."""

    path: str
    environment: str
    sha256: str


class AppDefinition(msgspec.Struct, frozen=True, rename="camel"):
    """`functions`: what command lines before 1.32 call `changed_modules`."""

    definition: SentModule | None = None
    dependencies: list[str] = []
    schema: SentModule | None = None
    changed_modules: list[SentModule] | None = None
    functions: list[SentModule] = []
    unchanged_module_hashes: list[UnchangedModule] = []
    udf_server_version: str | None = None

    @property
    def changed(self) -> list[SentModule]:
        return self.functions if self.changed_modules is None else self.changed_modules


class ComponentDefinition(msgspec.Struct, frozen=True, rename="camel"):
    definition_path: str
    definition: SentModule
    dependencies: list[str] = []
    schema: SentModule | None = None
    functions: list[SentModule] = []
    udf_server_version: str | None = None


class StartPush(msgspec.Struct, frozen=True, rename="camel"):
    """Everything that a push consists of."""

    app_definition: AppDefinition
    admin_key: str | None = None
    dry_run: bool = False
    functions: str = "convex/"
    component_definitions: list[ComponentDefinition] = []
    node_dependencies: list[ExternalPackage] = []
    node_version: str | None = None
    for_codegen: bool = False


class PushReference(msgspec.Struct, frozen=True):
    """What leads from an echoed answer back to the push; the rest of the echo is not trusted."""

    push_id: str | None = msgspec.field(default=None, name="cupolaPushId")


class WaitForSchema(msgspec.Struct, frozen=True, rename="camel"):
    schema_change: PushReference
    admin_key: str | None = None
    timeout_ms: float = 10_000
    dry_run: bool = False


class FinishPush(msgspec.Struct, frozen=True, rename="camel"):
    start_push: PushReference
    admin_key: str | None = None
    dry_run: bool = False
    message: str | None = None


class AdminRequest(msgspec.Struct, frozen=True, rename="camel"):
    """Any other body: all that matters is the key in it."""

    admin_key: str | None = None


class VariableChange(msgspec.Struct, frozen=True):
    name: str
    value: str | None = None


class CancelJob(msgspec.Struct, frozen=True, rename="camel"):
    """`component_id`: the path of the component whose job it is."""

    id: str
    component_id: str | None = None


class DeleteTables(msgspec.Struct, frozen=True, rename="camel"):
    table_names: list[str]
    component_id: str | None = None


class InComponent(msgspec.Struct, frozen=True, rename="camel"):
    """`component_id`: a component's path; None or "": the app."""

    component_id: str | None = None


class ChangeState(msgspec.Struct, frozen=True, rename="camel"):
    new_state: Literal["running", "paused"]


Due = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class CancelAllJobs(msgspec.Struct, frozen=True, rename="camel"):
    """`udf_path`: of the one function whose jobs are meant, as their documents name it.
    `component_id`: the path of the component whose jobs they are. `start_next_ts` (inclusive),
    `end_next_ts` (exclusive): when they are due, ns since the Unix epoch, as their pages show it.
    """

    udf_path: str | None = None
    component_id: str | None = None
    start_next_ts: Due | None = None
    end_next_ts: Due | None = None


class UpdateEnvironment(msgspec.Struct, frozen=True):
    changes: list[VariableChange]


Body = TypeVar("Body")


def read(kind: type[Body], body: bytes) -> Body:
    """The body as a struct.

    Raises:
        BadRequestError (BadJsonBody): It is another one.
    """
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequestError(
            f"The request body is not as expected: {error}.", code="BadJsonBody"
        ) from None
