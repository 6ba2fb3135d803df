"""What a server is told by options and environment variables, checked.

Every option of `cupola dev` and `cupola serve` can be given as a variable: `--site-port` is
CUPOLA_SITE_PORT, `--limit NAME=VALUE` is CUPOLA_LIMIT_<NAME>. Options are stronger.
"""

import dataclasses
import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, get_args

from cupola.cli.exit_codes import CommandFailed, Exit
from cupola.limits import DEFAULT_LIMITS, Limits

VARIABLE = "CUPOLA_"
LIMIT_VARIABLE = "CUPOLA_LIMIT_"
DATA_FOLDER = ".cupola"
DATA_FILE = "data.sqlite3"
FILES_FOLDER = "files"
DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 3210
PORT_MAX = 65535

LogFormat = Literal["text", "json"]
LOG_FORMATS: tuple[str, ...] = get_args(LogFormat)


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """One deployment as `cupola dev` and `cupola serve` run it.

    `instance_name` and `instance_secret` (hexadecimal) are None where the data folder decides.
    `has_python` False: all code is pushed, and `app` is no app's folder. `cloud_url` and
    `site_url`: where the world finds the two ports, if not at this host. `files`: the address of
    the file store, if not the folder `files` beside the data. `trusted_proxies`: see
    `server.origins`.
    """

    app: Path
    data: Path
    host: str
    port: int
    site_port: int
    instance_name: str | None
    instance_secret: str | None
    limits: Limits
    data_file: str = DATA_FILE
    has_python: bool = True
    cloud_url: str | None = None
    site_url: str | None = None
    files: str | None = None
    redact_errors: bool = False
    forbid_private_addresses: bool = False
    trusted_proxies: str | None = None


def settings_of(
    app: Path,
    *,
    port: int,
    site_port: int | None,
    host: str,
    data: Path | None,
    instance_name: str | None,
    instance_secret: str | None,
    limits: Iterable[str],
    files: str | None = None,
    cloud_url: str | None = None,
    site_url: str | None = None,
    redact_errors: bool = False,
    forbid_private_addresses: bool = False,
    trusted_proxies: str | None = None,
) -> Settings:
    """Settings from what the command line says; None and empty mean that it says nothing.

    Raises:
        CommandFailed: A limit makes no sense.
    """
    return Settings(
        app=app.resolve(),
        data=data_folder(app, data),
        host=host,
        port=port,
        site_port=site_port if site_port is not None else min(port + 1, PORT_MAX) if port else 0,
        instance_name=instance_name or None,
        instance_secret=instance_secret or None,
        limits=limits_from(limits),
        files=files or None,
        cloud_url=(cloud_url or "").rstrip("/") or None,
        site_url=(site_url or "").rstrip("/") or None,
        redact_errors=redact_errors,
        forbid_private_addresses=forbid_private_addresses,
        trusted_proxies=trusted_proxies or None,
    )


def data_folder(app: Path, data: Path | None) -> Path:
    """Where a deployment keeps everything: the given folder, or `.cupola` in the app's."""
    return (data or app / DATA_FOLDER).resolve()


def limits_from(assignments: Iterable[str], environment: Mapping[str, str] = os.environ) -> Limits:
    """Limits from `CUPOLA_LIMIT_<NAME>` variables and, stronger, from `NAME=VALUE` options.

    Raises:
        CommandFailed: A name that is no limit (the nearest one is named), or a bad number.
    """
    texts = {
        name.removeprefix(LIMIT_VARIABLE).lower(): (value, name)
        for name, value in environment.items()
        if name.startswith(LIMIT_VARIABLE)
    }
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise CommandFailed(f"--limit {assignment}: write it as NAME=VALUE.", Exit.USAGE)
        texts[name.strip().lower().replace("-", "_")] = (value, f"--limit {name}")
    fields = {field.name: field for field in dataclasses.fields(Limits)}
    changes: dict[str, int | float] = {}
    for name, (value, where) in texts.items():
        if name not in fields:
            near = difflib.get_close_matches(name, fields, 1, cutoff=0.0)
            raise CommandFailed(
                f"{where}: there is no limit `{name}`; the nearest is `{near[0]}`.", Exit.USAGE
            )
        changes[name] = _number(value, fields[name].type is int, where)
    return dataclasses.replace(DEFAULT_LIMITS, **changes)  # type: ignore[arg-type]


def _number(text: str, whole: bool, where: str) -> int | float:
    try:
        number: int | float = int(text) if whole else float(text)
    except ValueError:
        number = -1
    if not 0 < number < float("inf"):
        kind = "a whole number above 0" if whole else "a number above 0"
        raise CommandFailed(f"{where}: {text!r} is not {kind}.", Exit.USAGE)
    return number
