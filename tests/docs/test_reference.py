"""The reference names everything that exists, and nothing else; ARCHITECTURE.md is true."""

from __future__ import annotations

import ast
import dataclasses
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

import cupola
from cupola.backend import Backend
from cupola.backend.metrics import NodeCollector
from cupola.cli.commands import app as cupola_command
from cupola.cli.exit_codes import Exit
from cupola.functions.context import ActionCtx, MutationCtx
from cupola.functions.database_api import DatabaseWriter
from cupola.functions.table_query import Query
from cupola.limits import Limits
from cupola.persistence import MemoryPersistence
from cupola.persistence.sqlite import SqlitePersistence
from cupola.server.app import App
from cupola.server.metrics import ServerMetrics

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "cupola"
REFERENCE = ROOT / "docs" / "reference"
MiB = 2**20


def text_of(page: str) -> str:
    return (REFERENCE / page).read_text()


def first_cells(page: str) -> list[str]:
    """What stands in backquotes in the first cell of each row of a page's tables."""
    cells = re.findall(r"^\| (.*?) \|", text_of(page), re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


# ------------------------------------------------------------------------------------------ limits


def shown(value: int | float) -> str:
    if isinstance(value, float):
        return f"{value:,g} s" if value < 1e5 else f"{value:,.0f} s"
    return f"{value // MiB} MiB" if value % MiB == 0 else f"{value:,}"


def test_every_limit_is_listed_with_its_default_and_its_use() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \| (.+) \|$", text_of("limits.md"), re.MULTILINE)
    listed = {name: default for name, default, _ in rows}
    assert listed == {f.name: shown(f.default) for f in dataclasses.fields(Limits)}


def test_limits_are_reserved_exactly_if_nothing_reads_them() -> None:
    """A limit that nothing enforces says so; the day it is enforced, the page has to change."""
    source = "".join(f.read_text() for f in SOURCE.rglob("*.py") if f.name != "limits.py")
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\| (.+) \|$", text_of("limits.md"), re.MULTILINE)
    reserved = {name for name, meaning in rows if meaning.startswith("*Reserved:*")}
    assert reserved == {name for name, _ in rows if not re.search(rf"\b{name}\b", source, re.I)}


# ------------------------------------------------------------------------------------------ errors


def string_of(node: ast.expr | None) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def codes_in(tree: ast.AST) -> Iterator[str]:
    """Codes of errors: `code="…"`, `code = "…"`, and arguments of those who pass a code on."""
    for node in ast.walk(tree):
        match node:
            case ast.keyword(arg="code"):
                yield from string_of(node.value)
            case (
                ast.Assign(targets=[ast.Name(id="code")])
                | ast.AnnAssign(target=ast.Name(id="code"))
            ):
                yield from string_of(node.value)
            case ast.Call(func=ast.Name(id="Refusal" | "_check_name"), args=[*_, last]):
                yield from string_of(last)
            case ast.Call(func=ast.Attribute(attr="close"), args=[_, reason]):
                yield from string_of(reason)


def test_every_error_code_is_listed() -> None:
    found = {
        code
        for file in SOURCE.rglob("*.py")
        for code in codes_in(ast.parse(file.read_text()))
        if re.fullmatch(r"[A-Z][A-Za-z]+", code)
    }
    listed = re.findall(r"^\| `(\w+)` \|", text_of("errors.md"), re.MULTILINE)
    assert sorted(listed) == sorted(set(listed)), "a code is listed twice"
    assert set(listed) == found


def test_every_error_says_who_must_act() -> None:
    """Nothing is raised as a plain CupolaError: each code belongs to one family."""
    plain = [
        f"{file.name}:{node.lineno}"
        for file in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "CupolaError"
    ]
    assert plain == []


# ------------------------------------------------------------------------------------------ metrics


def test_every_metric_is_listed(tmp_path: Path) -> None:
    persistence = SqlitePersistence(str(tmp_path / "data.sqlite3"))
    backend = Backend(persistence)
    families = [*NodeCollector(backend).collect(), *ServerMetrics().collect()]
    persistence.close()

    names = {f"{f.name}_total" if f.type == "counter" else f.name for f in families}
    assert set(first_cells("metrics.md")) == names
    assert {f.name for f in families if "_log_" in f.name and f.type == "counter"} == {
        "cupola_log_wal_written_bytes",
        "cupola_log_syncs",
        "cupola_log_checkpoints",
        "cupola_log_checkpoints_blocked",
        "cupola_log_checkpoint_errors",
    }
    for name in MemoryPersistence().statistics():
        assert f"`cupola_log_{name}`" in text_of("metrics.md")


# ---------------------------------------------------------------------------------------- commands


def parameters() -> Iterator[tuple[str, Any]]:
    group: Any = typer.main.get_command(cupola_command)
    for parameter in group.params:
        if "completion" not in parameter.name:
            yield "", parameter
    for name, command in group.commands.items():
        for parameter in command.params:
            yield name, parameter


def variables_of(parameter: Any) -> list[str]:
    variables = parameter.envvar or []
    return [variables] if isinstance(variables, str) else list(variables)


def test_every_setting_is_listed() -> None:
    options = {o for _, p in parameters() for o in p.opts if o.startswith("--")} | {"--help"}
    variables = {v for _, p in parameters() for v in variables_of(p)}
    text = text_of("settings.md")
    assert set(re.findall(r"`(--[a-z-]+)", text)) == options | set(re.findall(r"(--help)", text))
    listed = set(re.findall(r"`(CUPOLA_[A-Z_]+)`", text))
    assert listed == variables


def test_every_command_option_and_exit_code_is_described() -> None:
    text = text_of("commands.md")
    for command, parameter in parameters():
        assert f"cupola {command}".strip() in text
        for option in parameter.opts:
            assert option in text or not option.startswith("--"), f"cupola {command} {option}"
    for code in Exit:
        assert re.search(rf"^\| `?{code.value}`? \|", text, re.MULTILINE), code


# --------------------------------------------------------------------------------------- functions


def public_members(kind: type) -> set[str]:
    own = {name for name in dir(kind) if not name.startswith("_")}
    return own | {name for base in kind.__mro__ for name in vars(base).get("__annotations__", {})}


@pytest.mark.parametrize("kind", [MutationCtx, ActionCtx, DatabaseWriter, Query])
def test_everything_that_ctx_offers_is_described(kind: type) -> None:
    text = text_of("functions.md")
    for name in public_members(kind):
        assert re.search(rf"\b{name}\b", text), f"{kind.__name__}.{name}"


def test_every_public_name_is_described() -> None:
    pages = "".join(page.read_text() for page in (ROOT / "docs").rglob("*.md"))
    for name in cupola.__all__:
        assert name == "__version__" or re.search(rf"`[^`\n]*\b{name}\b[^`\n]*`", pages), name


def test_every_http_path_is_listed() -> None:
    routes = App(Backend())._routes
    listed = {
        (method, path)
        for cell in first_cells("http-api.md")
        for method, path in re.findall(r"(GET|POST|PUT) (/[\w./]*)$", cell.partition("?")[0])
    }
    assert {(m, p) for p, methods in routes.items() for m in methods} - listed == set()
    assert {(m, p) for m, p in listed if p in routes} == {
        (m, p) for p, methods in routes.items() for m in methods
    }
    others = {p for _, p in listed} - set(routes)
    assert others == {"/api/sync"}


# ------------------------------------------------------------------------------------- architecture


def names_in(file: Path) -> set[str]:
    """`Class`, `function` and `Class.method` of a module."""
    names: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
            for member in ast.iter_child_nodes(node):
                if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef):
                    names.add(f"{node.name}.{member.name}")
    return names


def test_the_table_of_places_tells_the_truth() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    table = text[text.index("| To see… |") : text.index("## Words")]
    rows = [re.findall(r"`([^`]+)`", row) for row in table.splitlines()[2:] if row]
    assert rows
    for places in rows:
        file = None
        for place in places:
            if "/" in place:
                file = SOURCE / place
                assert file.exists(), place
            else:
                assert file is not None and place in names_in(file), f"{file}: {place}"


def test_the_architecture_page_is_short_and_has_the_real_layers() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    assert len(text.splitlines()) < 300
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (contract,) = project["tool"]["importlinter"]["contracts"]
    assert "\n".join(contract["layers"]) in text


def test_the_changelog_has_this_version() -> None:
    assert cupola.__version__ in (ROOT / "CHANGELOG.md").read_text()
