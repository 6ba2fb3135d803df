"""Pushed JavaScript: the modules of a bundle, and what analysing them finds.

What the published CLI sends for an app, or for one component, are ES modules, already bundled, with
relative imports between them (spec: function runtime, section 2). A bundle has those of the app
and, in folders of their own, those of its components. Nothing here runs it; an `Analyzer` does, in
a process of its own, and says what the modules define (section 4).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from cupola.errors import DeveloperError

Environment = Literal["isolate", "node"]
FunctionKind = Literal["query", "mutation", "action"]
FunctionVisibility = Literal["public", "internal"]


class Module(msgspec.Struct, frozen=True):
    """One ES module. `path`: relative to the functions' folder, with `/`, ending in `.js`."""

    path: str
    source: str
    source_map: str | None = None
    environment: Environment = "isolate"

    @property
    def is_dependency(self) -> bool:
        """A chunk that others import: never analysed, never called."""
        return self.path.startswith(("_deps/", "actions/_deps/"))

    @property
    def sha256(self) -> str:
        """The hash that the CLI compares: of the source, then the source map, in UTF-8."""
        text = self.source + (self.source_map or "")
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class ExternalPackage(msgspec.Struct, frozen=True):
    """An npm package that "use node" modules import by name, at an exact version."""

    name: str
    version: str


class Bundle(msgspec.Struct, frozen=True):
    """The code of an app, and all else that decides what it does.

    `environment`: the variables that `process.env` answers; `environments`: the same for each
    installed component, by path. `import_seed` (32 bytes) and `import_time_ms` (whole ms since the
    Unix epoch): what randomness and clocks answer while modules are evaluated; they stay the same
    from push to push.
    """

    modules: tuple[Module, ...]
    environment: dict[str, str] = {}
    import_seed: bytes = bytes(32)
    import_time_ms: int = 0
    environments: dict[str, dict[str, str]] = {}
    external_packages: tuple[ExternalPackage, ...] = ()

    @property
    def digest(self) -> str:
        """What tells this bundle from others, its variables included: 32 hexadecimal digits."""
        return hashlib.sha256(msgspec.msgpack.encode(self)).hexdigest()[:32]

    def module(self, path: str) -> Module | None:
        return next((module for module in self.modules if module.path == path), None)


# ------------------------------------------------------------------------------ what analysis finds


class Position(msgspec.Struct, frozen=True):
    """Where something is defined. `path`: the source's, from the source map; both start at 1."""

    path: str
    line: int
    column: int


class AnalyzedFunction(msgspec.Struct, frozen=True):
    """A function that a module exports. `args` and `returns`: JSON texts of validators, as the
    package writes them; `{"type":"any"}` and `null` where the function declares none.
    """

    name: str
    kind: FunctionKind
    visibility: FunctionVisibility | None
    args: str | None
    returns: str | None
    position: Position | None = None


class HttpRoute(msgspec.Struct, frozen=True):
    """A route of `http.js`. `path` ends in `*` where it is a prefix."""

    path: str
    method: str
    position: Position | None = None


class CronJob(msgspec.Struct, frozen=True):
    """An entry of `crons.js`. `function`: as written, `folder/module:name`. `args`: encoded values,
    a JSON text. `schedule`: checked, in the shape of the spec's section 4.3.
    """

    identifier: str
    function: str
    args: str
    schedule: dict[str, Any]


class AnalyzedModule(msgspec.Struct, frozen=True):
    """What a module defines. `routes` and `crons` are None where it is no router or cron table.

    `source_index`: which of its source map's sources is the module itself.
    """

    functions: tuple[AnalyzedFunction, ...] = ()
    routes: tuple[HttpRoute, ...] | None = None
    crons: tuple[CronJob, ...] | None = None
    source_index: int | None = None


class AnalysisError(DeveloperError):
    """A pushed module cannot be evaluated, or what it exports makes no sense.

    `code` is one that the CLI knows: InvalidModules, InvalidSchema and so on. `module`: its path.
    `stack`: JavaScript frames, mapped to the sources, one per line; the message ends with them.
    """

    code = "InvalidModules"

    def __init__(
        self, message: str, *, code: str | None = None, module: str = "", stack: str = ""
    ) -> None:
        super().__init__(message, code=code)
        self.module = module
        self.stack = stack


class Analyzer(Protocol):
    """Evaluates pushed modules in a sandbox of its own: no data, no network, bounded time.

    Every method that evaluates raises AnalysisError for what the developer must change.
    """

    async def warm_up(self) -> None:
        """Questions will come soon."""
        ...

    def close(self) -> None:
        """No more questions will come."""
        ...

    async def analyze(self, bundle: Bundle) -> dict[str, AnalyzedModule]:
        """What each module defines, by its path; chunks are left out, node modules are included."""
        ...

    async def evaluate_schema(self, bundle: Bundle, schema: Module) -> str:
        """What `schema.js` exports: a JSON text as in the spec's section 4.5, not yet checked for
        sense. Seed and time are those of `bundle`.
        """
        ...

    async def evaluate_auth_config(self, bundle: Bundle, auth_config: Module) -> str:
        """What `auth.config.js` exports, as a JSON text. An unset environment variable is an error
        with the code AuthConfigMissingEnvironmentVariable.
        """
        ...

    async def evaluate_definitions(
        self,
        definitions: Mapping[str, Module],
        dependencies: Mapping[str, Sequence[str]],
        environment: Mapping[str, str],
    ) -> dict[str, str]:
        """What each `convex.config.js` exports, as JSON texts with `path` added, by definition path
        ("" is the app's). `dependencies`: the definitions that each imports.
        """
        ...
