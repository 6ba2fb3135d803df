"""An app: the functions and tables of one folder, as one version of code.

`APP/functions/` is imported as the package `functions`; `functions/chat/rooms.py` with `def list`
becomes the path `chat/rooms:list`. Loading again makes a new `App` and leaves the old one working.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from cupola.database.documents import StoredDocument
from cupola.database.ranges import Range
from cupola.errors import CupolaError, FunctionNotFoundError, InvalidPathError, SchemaError
from cupola.functions.conversion import value_of
from cupola.functions.database_api import fresh_document
from cupola.functions.definitions import Function
from cupola.schema import SchemaDefinition, Table, schema_of
from cupola.values import UNSET, parse_function_path

PACKAGE = "functions"


class App:
    """One version of an app's code."""

    def __init__(
        self,
        functions: Mapping[str, Function[Any, Any]],
        tables: Mapping[str, type[Table]],
        folder: Path | None = None,
        version: str = "",
    ) -> None:
        self.functions = dict(functions)
        self.tables = dict(tables)
        self.folder = folder
        self.version = version
        self._converters: dict[str, Callable[[StoredDocument], Any]] = {}
        self.table_numbers: dict[str, int] = {}
        """Numbers of the deployment's tables, kept up to date by whoever runs this app."""
        for path, function in self.functions.items():
            function.compile(path, self.table_numbers)

    @property
    def schema(self) -> SchemaDefinition:
        """What the tables' classes declare."""
        return schema_of(self.tables.values())

    def find(self, path: str) -> Function[Any, Any]:
        """The function at a path.

        Raises:
            InvalidPathError: The text is no path.
            FunctionNotFoundError: There is none.
        """
        function = self.functions.get(path)
        if function is None:
            function = self.functions.get(str(parse_function_path(path)))
        if function is None:
            raise FunctionNotFoundError(
                f"Could not find function for '{path}'.{self._nearest(path)}"
            )
        return function

    def _nearest(self, path: str) -> str:
        import difflib

        near = difflib.get_close_matches(path, self.functions, 1)
        if near:
            return f" Did you mean '{near[0]}'?"
        return " Did you forget to save or deploy it?"

    # ---------------------------------------------------------------- documents

    def body_converter(self, table: str) -> Callable[[bytes], Any]:
        """Turns stored bodies into what user code sees: instances of a class, or dicts."""
        cls = self.tables.get(table)
        return fresh_document if cls is None else cls._from_stored

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

    def to_bound(self, constraint: Any) -> Any:
        """An index constraint as values."""
        if isinstance(constraint, Range):
            bounds = {
                name: value_of(getattr(constraint, name))
                for name in ("gt", "gte", "lt", "lte")
                if getattr(constraint, name) is not ...
            }
            return Range(**bounds)
        return constraint if constraint is UNSET else value_of(constraint)


def load_app(folder: Path | str) -> App:
    """Import an app's functions.

    Raises:
        SchemaError: A module cannot be imported, or defines something that makes no sense; the
        message shows
            where. The modules that were loaded before stay in place.
    """
    folder = Path(folder).resolve()
    root = folder / PACKAGE
    if not root.is_dir():
        raise SchemaError(
            f"{folder} is no app: it has no folder `{PACKAGE}/`. `cupola new NAME` makes one.",
            code="NoFunctionsFolder",
        )
    saved = _forget_modules()
    writes_bytecode = not sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # it goes by second and size, and two saves may share both
    try:
        return App(*_import_all(folder, root), folder=folder, version=_digest(root))
    except BaseException:
        _forget_modules()
        sys.modules.update(saved)
        raise
    finally:
        sys.dont_write_bytecode = not writes_bytecode


def _forget_modules() -> dict[str, ModuleType]:
    names = [n for n in sys.modules if n == PACKAGE or n.startswith(PACKAGE + ".")]
    return {name: sys.modules.pop(name) for name in names}


def _import_all(
    folder: Path, root: Path
) -> tuple[dict[str, Function[Any, Any]], dict[str, type[Table]]]:
    if sys.path[:1] != [str(folder)]:
        sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    functions: dict[str, Function[Any, Any]] = {}
    tables: dict[str, type[Table]] = {}
    for file in sorted(root.rglob("*.py")):
        parts = file.relative_to(root).with_suffix("").parts
        if parts[-1] == "__init__" or any(part.startswith(".") for part in parts):
            continue
        module = _import(".".join((PACKAGE, *parts)), file, folder)
        for name, value in vars(module).items():
            if isinstance(value, Function) and value.handler.__module__ == module.__name__:
                functions[_path("/".join(parts), name, file)] = value
            elif isinstance(value, type) and issubclass(value, Table) and value is not Table:
                _add_table(tables, value)
    return functions, tables


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


def _add_table(tables: dict[str, type[Table]], table: type[Table]) -> None:
    name = table.__cupola_table__.name
    known = tables.setdefault(name, table)
    if known is not table:
        raise SchemaError(
            f"Table `{name}` is defined twice: as `{known.__qualname__}` in {known.__module__} "
            f"and as `{table.__qualname__}` in {table.__module__}.",
            code="DuplicateTable",
        )


def _digest(root: Path) -> str:
    """The version of the code: a digest of all its files."""
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        digest.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]
