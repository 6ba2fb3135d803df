"""The plain command lines of `cupola serve`, read without typer.

Typer and what it imports cost a fifth of the time from process start to the first answer. Here is
what a service manager writes: options that exist, with values that fit. Whatever else stands there
(`--help`, a misspelt option, a bad number) is left to typer, which says what is wrong.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from cupola.cli import settings
from cupola.cli.settings import Settings

TEXTS = (
    "port",
    "site-port",
    "host",
    "data",
    "instance-name",
    "instance-secret",
    "files",
    "cloud-url",
    "site-url",
    "trusted-proxies",
    "log-format",
)
FLAGS = ("log-functions", "redact-errors", "forbid-private-addresses")


def read(
    words: Sequence[str], environment: Mapping[str, str] = os.environ
) -> tuple[Settings, settings.LogFormat, bool] | None:
    """Settings, log format and whether functions are logged; None where typer must look.

    `words`: what follows `serve` on the command line.
    """
    read = _split(words)
    if read is None:
        return None
    given, limits, folder = read
    values = {name: environment.get(_variable(name), "") for name in (*TEXTS, "app")} | given
    if any(environment.get(_variable(flag)) for flag in FLAGS):
        return None
    port = values["port"] or str(settings.DEFAULT_PORT)
    site_port = values["site-port"]
    log_format = values["log-format"] or "text"
    if not _is_port(port) or (site_port and not _is_port(site_port)):
        return None
    if log_format not in settings.LOG_FORMATS:
        return None
    return (
        settings.settings_of(
            Path(folder or values["app"] or "."),
            port=int(port),
            site_port=int(site_port) if site_port else None,
            host=values["host"] or settings.DEFAULT_HOST,
            data=Path(values["data"]) if values["data"] else None,
            instance_name=values["instance-name"],
            instance_secret=values["instance-secret"],
            limits=limits,
            files=values["files"],
            cloud_url=values["cloud-url"],
            site_url=values["site-url"],
            redact_errors="redact-errors" in values,
            forbid_private_addresses="forbid-private-addresses" in values,
            trusted_proxies=values["trusted-proxies"],
        ),
        "json" if log_format == "json" else "text",
        "log-functions" in values,
    )


def _split(words: Sequence[str]) -> tuple[dict[str, str], list[str], str] | None:
    """Options, limits and the folder; None if something is not as expected."""
    given: dict[str, str] = {}
    limits: list[str] = []
    folder = ""
    rest = iter(words)
    for word in rest:
        if not word.startswith("-") and not folder:
            folder = word
            continue
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or (name not in TEXTS and name not in (*FLAGS, "limit")):
            return None
        if name in FLAGS:
            if equals:
                return None
        elif not equals:
            value = next(rest, "")
            if not value or value.startswith("-"):
                return None
        if name == "limit":
            limits.append(value)
        else:
            given[name] = value
    return given, limits, folder


def _variable(name: str) -> str:
    return settings.VARIABLE + name.upper().replace("-", "_")


def _is_port(text: str) -> bool:
    return text.isdecimal() and text.isascii() and int(text) <= settings.PORT_MAX
