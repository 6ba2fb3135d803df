"""What options and variables mean: the same to typer and to the quick reader of `serve`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cupola.cli import commands, quick
from cupola.cli import serve as serve_command
from cupola.cli.exit_codes import CommandFailed
from cupola.cli.settings import limits_from
from cupola.limits import DEFAULT_LIMITS, Limits

PLAIN = [
    "",
    "my/app",
    "my/app --port 0",
    "--port=4000 my/app --data=/tmp/d",
    "--port 65535",
    "--port 3300 --site-port 3400 --host 0.0.0.0",
    "--instance-name a --instance-secret bb --log-format json --log-functions",
    "--limit user_time_s=3 --limit tables-max=7",
]
UNUSUAL = [
    "--help",
    "-h",
    "a b",
    "--prot 1",
    "--port x",
    "--port 70000",
    "--port",
    "--log-format xml",
]


def through_typer(words: list[str], monkeypatch: Any, environment: dict[str, str]) -> Any:
    seen: list[Any] = []

    def serve(settings: Any, *, log_format: str, log_functions: bool) -> None:
        seen.append((settings, log_format, log_functions))

    monkeypatch.setattr(serve_command, "serve", serve)
    outcome = CliRunner().invoke(commands.app, ["serve", *words], env=environment)
    assert outcome.exit_code == 0, outcome.output
    return seen[0]


@pytest.mark.parametrize("line", PLAIN)
def test_both_readers_agree(line: str, monkeypatch: Any) -> None:
    """The quick one is only faster."""
    assert quick.read(line.split(), {}) == through_typer(line.split(), monkeypatch, {})


@pytest.mark.parametrize(
    "environment",
    [
        {"CUPOLA_PORT": "0", "CUPOLA_APP": "here", "CUPOLA_DATA": "there"},
        {"CUPOLA_SITE_PORT": "99", "CUPOLA_HOST": "::1", "CUPOLA_LOG_FORMAT": "json"},
        {"CUPOLA_INSTANCE_NAME": "a", "CUPOLA_INSTANCE_SECRET": "bb"},
    ],
)
def test_both_readers_see_the_same_variables(environment: dict[str, str], monkeypatch: Any) -> None:
    assert quick.read([], environment) == through_typer([], monkeypatch, environment)


@pytest.mark.parametrize("line", UNUSUAL)
def test_whatever_is_unusual_is_left_to_typer(line: str) -> None:
    assert quick.read(line.split(), {}) is None


def test_the_quick_reader_knows_every_option() -> None:
    """An option that it did not know would only be slow; one that is gone must not linger."""
    serve = typer.main.get_command(commands.app).commands["serve"]  # type: ignore[attr-defined]
    names = {option for parameter in serve.params for option in parameter.opts}
    known = {f"--{name}" for name in (*quick.TEXTS, *quick.FLAGS, "limit")}
    assert known == {name for name in names if name.startswith("--")} - {"--help"}


def test_the_data_folder_lies_in_the_app() -> None:
    read = quick.read(["my/app"], {})

    assert read is not None
    assert read[0].data == Path("my/app/.cupola").resolve()


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Limits)])
def test_every_limit_can_be_set(field: str) -> None:
    by_option = limits_from([f"{field}=7"], {})
    by_variable = limits_from([], {f"CUPOLA_LIMIT_{field.upper()}": "7"})

    assert by_option == by_variable == dataclasses.replace(DEFAULT_LIMITS, **{field: 7})


def test_an_option_is_stronger_than_a_variable() -> None:
    limits = limits_from(["tables_max=2"], {"CUPOLA_LIMIT_TABLES_MAX": "3"})

    assert limits.tables_max == 2


def test_a_variable_that_is_no_limit_is_named() -> None:
    with pytest.raises(CommandFailed, match=r"CUPOLA_LIMIT_TABLE_MAX: .*nearest is `tables_max`"):
        limits_from([], {"CUPOLA_LIMIT_TABLE_MAX": "3"})
