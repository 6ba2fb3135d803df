"""An app: the functions and tables of one folder, as one version of code.

`APP/functions/` is imported as the package `functions`; `functions/chat/rooms.py` with `def list`
becomes the path `chat/rooms:list`. Loading again makes a new `App` and leaves the old one working.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from cupola.auth.providers import JwtProvider, OidcProvider, Provider
from cupola.database.documents import StoredDocument
from cupola.database.ranges import Range
from cupola.errors import (
    AuthConfigError,
    CupolaError,
    FunctionNotFoundError,
    InvalidPathError,
    SchemaError,
)
from cupola.functions.conversion import value_of
from cupola.functions.crons import CronJob, Crons, joined_crons, pushed_crons
from cupola.functions.database_api import fresh_document, fresh_documents
from cupola.functions.definitions import Function, FunctionGroup
from cupola.functions.handles import FunctionHandles
from cupola.functions.http import (
    JAVASCRIPT_ROUTER,
    AnyHttpAction,
    HttpAction,
    JavaScriptRoute,
    Route,
    Routes,
)
from cupola.functions.javascript import (
    JavaScriptFunction,
    PushedCode,
    functions_of,
    functions_of_component,
)
from cupola.schema import SchemaDefinition, Table, ValidationError, schema_of
from cupola.schema.codecs import Codec
from cupola.values import UNSET, parse_function_path, qualified, split_qualified

PACKAGE = "functions"
AUTH_CONFIG = "auth_config"


class SystemFunctions(Protocol):
    """Functions that every deployment has, whatever its app."""

    @property
    def functions(self) -> Mapping[str, Function[Any, Any]]: ...


class App:
    """One version of an app's code."""

    def __init__(
        self,
        functions: Mapping[str, Function[Any, Any]],
        tables: Mapping[str, type[Table]],
        folder: Path | None = None,
        version: str = "",
        sources: Mapping[str, bytes] | None = None,
        javascript: PushedCode | None = None,
        schema: SchemaDefinition | None = None,
        table_numbers: dict[str, int] | None = None,
        crons: Sequence[CronJob] = (),
        http_actions: Iterable[HttpAction] = (),
    ) -> None:
        """`functions`: all of them, those of `javascript` included. `schema`: instead of what the
        tables' classes declare.
        """
        self.functions = dict(functions)
        self.tables = dict(tables)
        self.folder = folder
        self.version = version
        self.sources = dict(sources or {})
        """The code, by path below `functions/`: what workers load, whatever is on disk then."""
        self.javascript = javascript
        self.auth_providers: tuple[Provider, ...] = ()
        """Who issues the tokens of this app's users."""
        self.handles = FunctionHandles(b"")
        """Those of the deployment, set by whoever runs this app."""
        self.system: SystemFunctions | None = None
        """The functions at `_system/…`, set by whoever runs this app."""
        self.python_crons = tuple(crons)
        pushed = () if javascript is None else _crons_of(javascript, functions)
        self.crons = joined_crons(crons, pushed)
        components = () if javascript is None else javascript.components
        self.http_actions = {action.path: action for action in http_actions}
        answering: list[AnyHttpAction] = [*self.http_actions.values(), *_routes_of(javascript)]
        self.routes: Routes[AnyHttpAction] = Routes(
            [Route(each.method, each.route, each) for each in answering],
            [each.mount for each in components if each.mount is not None],
        )
        self._schema = schema
        self._converters: dict[str, Callable[[StoredDocument], Any]] = {}
        self.table_numbers = {} if table_numbers is None else table_numbers
        """Numbers of the deployment's tables, kept up to date by whoever runs this app."""
        self.api_key_exchange = next(
            (path for path, function in self.functions.items() if function.exchanges_api_keys), None
        )
        """The function that says whose an API key is, if the app has API keys."""
        for path, function in self.functions.items():
            function.compile(path, self.table_numbers)

    @property
    def schema(self) -> SchemaDefinition:
        """What the tables' classes declare, or what was pushed."""
        return self._schema or schema_of(self.tables.values())

    def with_javascript(self, code: PushedCode, schema: SchemaDefinition | None = None) -> App:
        """This app with other pushed code, as another version. `schema` replaces the one of
        the classes.

        Raises:
            SchemaError: A function is defined in both languages, or a validator makes no sense.
        """
        functions = {
            path: function
            for path, function in self.functions.items()
            if not isinstance(function, JavaScriptFunction)
        }
        pushed = functions_of(code.bundle, code.analysis)
        of_node = {each.path for each in code.bundle.modules if each.environment == "node"}
        for component in code.components:
            pushed |= functions_of_component(component, of_node)
        if twice := sorted(functions.keys() & pushed.keys()):
            raise SchemaError(
                f"`{twice[0]}` is defined in Python and in JavaScript; rename one.",
                code="InvalidModules",
            )
        version = f"{self.version.partition('+')[0]}+{code.bundle.digest[:16]}"
        return App(
            {**functions, **pushed},
            self.tables,
            self.folder,
            version,
            self.sources,
            code,
            schema,
            self.table_numbers,  # the functions of Python are shared with this app
            self.python_crons,
            self.http_actions.values(),
        )

    def find(self, path: str) -> Function[Any, Any]:
        """The function at a path.

        Raises:
            InvalidPathError: The text is no path.
            FunctionNotFoundError: There is none.
        """
        function = self.functions.get(path)
        if function is None:
            component, name = split_qualified(path)
            own_path = str(parse_function_path(name))
            function = self.functions.get(qualified(component, own_path))
            if function is None and self.system is not None:
                function = self.system.functions.get(own_path)
                if function is not None and component:
                    function = self._within(component, function)
        if function is None:
            raise FunctionNotFoundError(
                f"Could not find function for '{path}'.{self._nearest(path)}"
            )
        return function

    def _within(self, component: str, function: Function[Any, Any]) -> Function[Any, Any] | None:
        """A function of the system as it looks at a component; None if there is no such one."""
        if not self._has(component):
            return None
        looking = copy.copy(function)
        looking.component, looking.path = component, qualified(component, function.path)
        return looking

    def _has(self, component: str) -> bool:
        code = self.javascript
        return code is not None and any(each.path == component for each in code.components)

    def _nearest(self, path: str) -> str:
        import difflib

        component, _ = split_qualified(path)
        if component and not self._has(component):
            return f" This app has no component `{component}`."
        own = [path for path, each in self.functions.items() if each.component == component]
        near = difflib.get_close_matches(path, own, 1)
        if near:
            return f" Did you mean '{near[0]}'?"
        return " Did you forget to save or deploy it?"

    # ---------------------------------------------------------------- documents

    def body_converter(self, table: str) -> Callable[[bytes], Any]:
        """Turns stored bodies into what user code sees: instances of a class, or dicts."""
        cls = self.tables.get(table)
        return fresh_document if cls is None else cls._from_stored

    def bodies_converter(self, table: str) -> Callable[[list[bytes]], list[Any]]:
        """The same for many."""
        cls = self.tables.get(table)
        return fresh_documents if cls is None else cls._all_from_stored

    def converter(self, table: str) -> Callable[[StoredDocument], Any]:
        """The same for stored rows."""
        found = self._converters.get(table)
        if found is None:
            from_body = self.body_converter(table)

            def found(stored: StoredDocument) -> Any:
                return from_body(stored.body)

            self._converters[table] = found
        return found

    def to_python(self, table: str, stored: StoredDocument) -> Any:
        return self.converter(table)(stored)

    def to_fields(self, table: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of a write, as values. Declared types decide where a table has a class."""
        cls = self.tables.get(table)
        fields = cls.__cupola_table__.fields if cls is not None else {}
        result: dict[str, Any] = {}
        for name, value in document.items():
            codec = fields.get(name)
            if value is UNSET:
                result[name] = UNSET
            elif codec is not None:
                result[name] = codec.to_value(value)
            else:
                result[name] = value_of(value)
        return result

    def to_number(self, table: str, field: str, number: float) -> float:
        """A whole number as the table's class has the field: int where it declares that."""
        cls = self.tables.get(table)
        codec = cls.__cupola_table__.fields.get(field) if cls is not None else None
        is_whole = codec is not None and type(codec.to_python(0.0)) is int
        return int(number) if is_whole else number

    def to_bounds(self, table: str, constraints: Mapping[str, Any]) -> dict[str, Any]:
        """What fields are compared with, as values: of the types that are declared for them."""
        cls = self.tables.get(table)
        fields = cls.__cupola_table__.fields if cls is not None else {}
        return {name: _bounds(fields.get(name), each) for name, each in constraints.items()}


def _bounds(codec: Codec | None, constraint: Any) -> Any:
    if not isinstance(constraint, Range):
        return _bound(codec, constraint)
    bounds = {
        name: _bound(codec, getattr(constraint, name))
        for name in ("gt", "gte", "lt", "lte")
        if getattr(constraint, name) is not ...
    }
    return Range(**bounds)


def _bound(codec: Codec | None, value: Any) -> Any:
    if value is UNSET:
        return value
    if codec is not None:
        with contextlib.suppress(ValidationError):  # whole numbers may be compared with 2.5
            value = codec.to_value(value)
    return value_of(value)


def _routes_of(code: PushedCode | None) -> list[JavaScriptRoute]:
    found: list[JavaScriptRoute] = []
    for component in (code.component(""), *code.components) if code is not None else ():
        router = component.analysis.get(JAVASCRIPT_ROUTER)
        if router is not None and component.mount is not None:
            below = component.mount.removesuffix("/")
            found += [
                JavaScriptRoute(each.method, below + each.path, component.path)
                for each in router.routes or ()
            ]
    return found


def _crons_of(code: PushedCode, functions: Mapping[str, Function[Any, Any]]) -> list[CronJob]:
    own = (code.component(""), *code.components)
    return [job for each in own for job in pushed_crons(each.analysis, functions, each.path)]


def load_app(folder: Path | str, sources: Mapping[str, bytes] | None = None) -> App:
    """Import an app's functions. `sources`: as in `App.sources`; by default those on disk.

    Raises:
        SchemaError: A module cannot be imported, or defines something that makes no sense; the
        message shows
            where. The modules that were loaded before stay in place.
    """
    folder = Path(folder).resolve()
    root = folder / PACKAGE
    if sources is None and not root.is_dir():
        raise SchemaError(
            f"{folder} is no app: it has no folder `{PACKAGE}/`, nor `convex/` for code that is "
            "pushed. `cupola new NAME` makes one.",
            code="NoFunctionsFolder",
        )
    if sources is None:
        files = sorted(root.rglob("*.py"))
        sources = {file.relative_to(root).as_posix(): file.read_bytes() for file in files}
    saved = _forget_modules()
    finder = _Finder(root, sources)
    sys.meta_path.insert(0, finder)
    try:
        functions, tables, http = _import_all(folder, root, sources)
        version = _digest(sources)
        app = App(functions, tables, folder, version, sources, http_actions=http)
        app.auth_providers = _auth_providers()
        app.crons = app.python_crons = _crons(functions)  # functions know their paths now
        return app
    except BaseException:
        _forget_modules()
        sys.modules.update(saved)
        raise
    finally:
        sys.meta_path.remove(finder)


def _forget_modules() -> dict[str, ModuleType]:
    names = [n for n in sys.modules if n == PACKAGE or n.startswith(PACKAGE + ".")]
    return {name: sys.modules.pop(name) for name in names}


class _Finder(importlib.abc.MetaPathFinder):
    """Imports the package from sources in memory: one consistent state, no stale bytecode."""

    def __init__(self, root: Path, sources: Mapping[str, bytes]) -> None:
        self._root = root
        self._sources = sources

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        package, *parts = name.split(".")
        if package != PACKAGE:
            return None
        folder = self._root.joinpath(*parts)
        for file in ("/".join((*parts, "__init__.py")), "/".join(parts) + ".py"):
            if file in self._sources:
                loader = _Loader(name, str(self._root / file), self._sources[file])
                return importlib.util.spec_from_file_location(name, loader.path, loader=loader)
        if parts and not any(file.startswith("/".join(parts) + "/") for file in self._sources):
            return None
        spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    """One module from its source in memory."""

    def __init__(self, name: str, path: str, source: bytes) -> None:
        super().__init__(name, path)
        self._source = source

    def get_data(self, path: str) -> bytes:
        return self._source if path == self.path else super().get_data(path)

    def get_code(self, fullname: str) -> Any:
        return self.source_to_code(self._source, self.path)


def _import_all(
    folder: Path, root: Path, sources: Mapping[str, bytes]
) -> tuple[dict[str, Function[Any, Any]], dict[str, type[Table]], list[HttpAction]]:
    if sys.path[:1] != [str(folder)]:
        sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    functions: dict[str, Function[Any, Any]] = {}
    tables: dict[str, type[Table]] = {}
    http: list[HttpAction] = []
    for name_below in sorted(sources):
        file = root / name_below
        parts = file.relative_to(root).with_suffix("").parts
        if parts[-1] == "__init__" or any(part.startswith(".") for part in parts):
            continue
        module = _import(".".join((PACKAGE, *parts)), file, folder)
        for name, value in vars(module).items():
            if isinstance(value, Function) and value.handler.__module__ == module.__name__:
                functions[_path("/".join(parts), name, file)] = value
            elif isinstance(value, FunctionGroup):
                for own_name, function in value.functions.items():
                    functions[_path("/".join(parts), own_name, file)] = function
                for table in value.tables:
                    _add_table(tables, table)
            elif isinstance(value, HttpAction) and value.handler.__module__ == module.__name__:
                value.path = _path("/".join(parts), name, file)
                http.append(value)
            elif isinstance(value, type) and issubclass(value, Table) and value is not Table:
                _add_table(tables, value)
    return functions, tables, http


def _crons(functions: Mapping[str, Function[Any, Any]]) -> tuple[CronJob, ...]:
    """What `functions/crons.py` declares."""
    module = sys.modules.get(f"{PACKAGE}.crons")
    tables = (
        [value for value in vars(module).values() if isinstance(value, Crons)] if module else []
    )
    return joined_crons([job for table in tables for job in table.jobs(functions)], ())


def _import(name: str, file: Path, folder: Path) -> ModuleType:
    try:
        return importlib.import_module(name)
    except CupolaError as error:
        if isinstance(error, SchemaError) and str(folder) in error.message:
            raise
        raise SchemaError(
            f"{file.relative_to(folder)}: {error.message}", code=error.code
        ) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # user code runs here, and may raise SystemExit too
        text = "".join(traceback.format_exception(error, limit=-4)).rstrip()
        raise SchemaError(
            f"{file.relative_to(folder)} cannot be imported:\n{text}", code="ImportFailed"
        ) from error


def _path(module: str, name: str, file: Path) -> str:
    try:
        return str(parse_function_path(f"{module}:{name}"))
    except InvalidPathError as error:
        raise SchemaError(f"{file}: {error.message}", code="BadFunction") from error


def _auth_providers() -> tuple[Provider, ...]:
    """`providers` of `functions/auth_config.py`, if there is such a module."""
    module = sys.modules.get(f"{PACKAGE}.{AUTH_CONFIG}")
    providers = getattr(module, "providers", None)
    if module is None:
        return ()
    if not isinstance(providers, list | tuple) or not all(
        isinstance(each, OidcProvider | JwtProvider) for each in providers
    ):
        raise AuthConfigError(
            f"{PACKAGE}/{AUTH_CONFIG}.py needs `providers = [...]`, "
            "a list of OidcProvider and JwtProvider."
        )
    return tuple(providers)


def _add_table(tables: dict[str, type[Table]], table: type[Table]) -> None:
    name = table.__cupola_table__.name
    known = tables.setdefault(name, table)
    if known is not table:
        raise SchemaError(
            f"Table `{name}` is defined twice: as `{known.__qualname__}` in {known.__module__} "
            f"and as `{table.__qualname__}` in {table.__module__}.",
            code="DuplicateTable",
        )


def _digest(sources: Mapping[str, bytes]) -> str:
    """The version of the code: a digest of all its files."""
    digest = hashlib.sha256()
    for name in sorted(sources):
        digest.update(name.encode() + b"\0" + sources[name])
    return digest.hexdigest()[:16]
