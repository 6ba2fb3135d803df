"""What a server is told by options and environment variables, checked."""

import dataclasses
import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from cupola.errors import ConfigurationError
from cupola.limits import DEFAULT_LIMITS, Limits

LIMIT_VARIABLE = "CUPOLA_LIMIT_"
DATA_FOLDER = ".cupola"


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """One deployment as `cupola dev` and `cupola serve` run it.

    `instance_name` and `instance_secret` (hexadecimal) are None where the data folder decides.
    """

    app: Path
    data: Path
    host: str = "127.0.0.1"
    port: int = 3210
    site_port: int = 3211
    instance_name: str | None = None
    instance_secret: str | None = None
    limits: Limits = DEFAULT_LIMITS


def default_site_port(port: int) -> int:
    """The port beside: 3211 for 3210, any free one for any free one."""
    return port + 1 if port else 0


def limits_from(assignments: Iterable[str], environment: Mapping[str, str] = os.environ) -> Limits:
    """Limits from `CUPOLA_LIMIT_<NAME>` variables and, stronger, from `NAME=VALUE` options.

    Raises:
        ConfigurationError: A name that is no limit (the nearest one is named), or a bad number.
    """
    texts = {
        name.removeprefix(LIMIT_VARIABLE).lower(): (value, f"the variable {name}")
        for name, value in environment.items()
        if name.startswith(LIMIT_VARIABLE)
    }
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigurationError(f"--limit {assignment}: write it as NAME=VALUE.")
        texts[name.strip().lower().replace("-", "_")] = (value, f"--limit {assignment}")
    fields = {field.name: field for field in dataclasses.fields(Limits)}
    changes: dict[str, int | float] = {}
    for name, (value, where) in texts.items():
        if name not in fields:
            near = difflib.get_close_matches(name, fields, 1, cutoff=0.0)
            raise ConfigurationError(
                f"{where}: there is no limit `{name}`; the nearest is `{near[0]}`."
            )
        changes[name] = _number(value, fields[name].type is int, where)
    return dataclasses.replace(DEFAULT_LIMITS, **changes)


def _number(text: str, whole: bool, where: str) -> int | float:
    try:
        number = int(text.replace("_", "")) if whole else float(text)
    except ValueError:
        number = -1
    if not 0 < number < float("inf"):
        kind = "a whole number above 0" if whole else "a number above 0"
        raise ConfigurationError(f"{where}: {text!r} is not {kind}.")
    return number
