"""Words are tested: whatever can be typed is documented, and so is every way to end."""

from __future__ import annotations

import re
from pathlib import Path

import typer

from cupola.cli import commands
from cupola.cli.exit_codes import Exit

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "commands.md").read_text()


def test_every_command_option_and_variable_is_documented() -> None:
    group = typer.main.get_command(commands.app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        assert f"## cupola {name}\n" in PAGE
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--") and option != "--help":
                    assert f"`{option}" in PAGE, (name, option)
            if parameter.envvar:
                assert f"`{parameter.envvar}`" in PAGE, (name, parameter.envvar)


def test_every_exit_code_is_documented() -> None:
    documented = re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)
    assert documented == [str(int(code)) for code in Exit]
