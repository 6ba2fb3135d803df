"""The commands and their options, as typer shows them; each does its work in a module of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from cupola.cli.exit_codes import CommandFailed, Exit, exit_code_of
from cupola.errors import CupolaError

app = typer.Typer(
    name="cupola",
    help="A reactive backend in one package: live data from Python functions.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

AppFolder = Annotated[
    Path,
    typer.Argument(metavar="[APP]", help="The folder that has functions/.", envvar="CUPOLA_APP"),
]
Port = Annotated[int, typer.Option(envvar="CUPOLA_PORT", help="0 takes any free one.")]
SitePort = Annotated[
    Optional[int],
    typer.Option(envvar="CUPOLA_SITE_PORT", help="For HTTP actions; by default one above --port."),
]
Host = Annotated[str, typer.Option(envvar="CUPOLA_HOST", help="The address to listen on.")]
Data = Annotated[
    Optional[Path],
    typer.Option(envvar="CUPOLA_DATA", help="The data folder; by default APP/.cupola."),
]
InstanceName = Annotated[
    Optional[str], typer.Option(envvar="CUPOLA_INSTANCE_NAME", help="The deployment's name.")
]
InstanceSecret = Annotated[
    Optional[str],
    typer.Option(envvar="CUPOLA_INSTANCE_SECRET", help="64 hexadecimal digits; made if not given."),
]
LimitOption = Annotated[
    Optional[list[str]],
    typer.Option("--limit", metavar="NAME=VALUE", help="Set a limit; may be repeated."),
]


@app.command()
def serve(
    folder: AppFolder = Path("."),
    port: Port = 3210,
    site_port: SitePort = None,
    host: Host = "127.0.0.1",
    data: Data = None,
    instance_name: InstanceName = None,
    instance_secret: InstanceSecret = None,
    limit: LimitOption = None,
) -> None:
    """Serve an app: no watching, plain log lines."""
    from cupola.cli import serve as work

    work.serve(
        _settings(folder, port, site_port, host, data, instance_name, instance_secret, limit)
    )


@app.command()
def dev(
    folder: AppFolder = Path("."),
    port: Port = 3210,
    site_port: SitePort = None,
    host: Host = "127.0.0.1",
    data: Data = None,
    instance_name: InstanceName = None,
    instance_secret: InstanceSecret = None,
    limit: LimitOption = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the app's page.")] = False,
) -> None:
    """Serve an app, and reload it whenever a file is saved."""
    from cupola.cli import dev as work

    work.dev(
        _settings(folder, port, site_port, host, data, instance_name, instance_secret, limit),
        open_browser=open_browser,
    )


@app.command("admin-key")
def admin_key(
    folder: AppFolder = Path("."),
    data: Data = None,
    instance_name: InstanceName = None,
    instance_secret: InstanceSecret = None,
    read_only: Annotated[bool, typer.Option(help="The key may only read.")] = False,
) -> None:
    """Print an admin key."""
    from cupola.cli.assembly import open_credentials
    from cupola.cli.settings import DATA_FOLDER

    credentials = open_credentials(data or folder / DATA_FOLDER, instance_name, instance_secret)
    print(credentials.admin_keys().issue(read_only))


def _settings(
    folder: Path,
    port: int,
    site_port: int | None,
    host: str,
    data: Path | None,
    instance_name: str | None,
    instance_secret: str | None,
    limits: list[str] | None,
) -> "Settings":
    from cupola.cli.settings import DATA_FOLDER, Settings, default_site_port, limits_from

    return Settings(
        app=folder.resolve(),
        data=(data or folder / DATA_FOLDER).resolve(),
        host=host,
        port=port,
        site_port=default_site_port(port) if site_port is None else site_port,
        instance_name=instance_name,
        instance_secret=instance_secret,
        limits=limits_from(limit for limit in limits or []),
    )


def run() -> int:
    """Run the command of the command line. Returns: its exit code."""
    try:
        app(standalone_mode=False)
        return Exit.OK
    except CommandFailed as error:
        print(f"cupola: {error.message}", file=sys.stderr)
        return error.code
    except CupolaError as error:
        print(f"cupola: {error.message}", file=sys.stderr)
        return exit_code_of(error)
