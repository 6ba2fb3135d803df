"""The commands and their options, for typer; each does its work in a module of its own.

What an option means to a server is said in settings.py. `serve` with nothing unusual on its command
line does not come here: see quick.py, which knows the same options.
"""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cupola.cli.settings import DEFAULT_HOST, DEFAULT_PORT, PORT_MAX, data_folder, settings_of

app = typer.Typer(
    name="cupola",
    help="A reactive backend in one package: live data from Python functions.",
    epilog="Exit codes: 0 fine, 1 the function failed or doctor found something, 2 usage, "
    "3 configuration or app, 4 data, 5 no server answers, 6 the server refused.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class LogFormats(StrEnum):
    TEXT = "text"
    JSON = "json"


class ExportFormats(StrEnum):
    ZIP = "zip"
    PARQUET = "parquet"
    SQLITE = "sqlite"
    SQL = "sql"


class ImportFormats(StrEnum):
    CSV = "csv"
    JSON_LINES = "jsonl"
    JSON_ARRAY = "json"
    ZIP = "zip"


AppFolder = Annotated[
    Path,
    typer.Argument(metavar="APP", help="The folder with functions/.", envvar="CUPOLA_APP"),
]
Port = Annotated[
    int, typer.Option(envvar="CUPOLA_PORT", min=0, max=PORT_MAX, help="0 takes any free one.")
]
SitePort = Annotated[
    int | None,
    typer.Option(
        envvar="CUPOLA_SITE_PORT",
        min=0,
        max=PORT_MAX,
        help="For HTTP actions.  [default: one above --port]",
    ),
]
Host = Annotated[str, typer.Option(envvar="CUPOLA_HOST", help="The address to listen on.")]
Data = Annotated[
    Path | None,
    typer.Option(envvar="CUPOLA_DATA", help="The data folder.  [default: APP/.cupola]"),
]
InstanceName = Annotated[
    str | None,
    typer.Option(
        envvar="CUPOLA_INSTANCE_NAME",
        help="The deployment's name.  [default: as stored, else convex-self-hosted]",
    ),
]
InstanceSecret = Annotated[
    str | None,
    typer.Option(
        envvar="CUPOLA_INSTANCE_SECRET",
        metavar="HEX",
        help="64 hexadecimal digits.  [default: as stored, else made]",
    ),
]
FilesAddress = Annotated[
    str | None,
    typer.Option(
        envvar="CUPOLA_FILES",
        metavar="ADDRESS",
        help="Where stored files are, such as s3://bucket/folder.  [default: in the data folder]",
    ),
]
CloudUrl = Annotated[
    str | None,
    typer.Option(
        envvar="CUPOLA_CLOUD_URL",
        metavar="URL",
        help="Where the world finds the port, behind a proxy.  [default: at this host]",
    ),
]
SiteUrl = Annotated[
    str | None,
    typer.Option(
        envvar="CUPOLA_SITE_URL",
        metavar="URL",
        help="Where the world finds HTTP actions.  [default: at this host]",
    ),
]
LimitOptions = Annotated[
    list[str] | None,
    typer.Option("--limit", metavar="NAME=VALUE", help="Set a limit; may be repeated."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")]


@app.command()
def new(
    name: Annotated[Path, typer.Argument(metavar="NAME", help="The folder to make.")],
) -> None:
    """Make a small app that runs."""
    from cupola.cli.new import make_app

    make_app(name)


@app.command()
def dev(
    folder: AppFolder = Path("."),
    port: Port = DEFAULT_PORT,
    site_port: SitePort = None,
    host: Host = DEFAULT_HOST,
    data: Data = None,
    instance_name: InstanceName = None,
    instance_secret: InstanceSecret = None,
    files: FilesAddress = None,
    cloud_url: CloudUrl = None,
    site_url: SiteUrl = None,
    limit: LimitOptions = None,
    open_page: Annotated[
        bool, typer.Option("--open", envvar="CUPOLA_OPEN", help="Open a browser, if there is one.")
    ] = False,
) -> None:
    """Serve an app while you write it: reload on save, show what functions log."""
    from cupola.cli import dev as work

    settings = settings_of(
        folder,
        port=port,
        site_port=site_port,
        host=host,
        data=data,
        instance_name=instance_name,
        instance_secret=instance_secret,
        limits=limit or [],
        files=files,
        cloud_url=cloud_url,
        site_url=site_url,
    )
    work.dev(settings, open_page=open_page)


@app.command()
def serve(
    folder: AppFolder = Path("."),
    port: Port = DEFAULT_PORT,
    site_port: SitePort = None,
    host: Host = DEFAULT_HOST,
    data: Data = None,
    instance_name: InstanceName = None,
    instance_secret: InstanceSecret = None,
    files: FilesAddress = None,
    cloud_url: CloudUrl = None,
    site_url: SiteUrl = None,
    limit: LimitOptions = None,
    log_format: Annotated[
        LogFormats, typer.Option(envvar="CUPOLA_LOG_FORMAT", help="How log lines look.")
    ] = LogFormats.TEXT,
    log_functions: Annotated[
        bool,
        typer.Option("--log-functions", envvar="CUPOLA_LOG_FUNCTIONS", help="Log executions too."),
    ] = False,
    redact_errors: Annotated[
        bool,
        typer.Option(
            "--redact-errors",
            envvar="CUPOLA_REDACT_ERRORS",
            help="Show clients no texts of errors and no log lines.",
        ),
    ] = False,
    forbid_private_addresses: Annotated[
        bool,
        typer.Option(
            "--forbid-private-addresses",
            envvar="CUPOLA_FORBID_PRIVATE_ADDRESSES",
            help="Keep actions in TypeScript from this machine and private networks.",
        ),
    ] = False,
    trusted_proxies: Annotated[
        str | None,
        typer.Option(
            envvar="CUPOLA_TRUSTED_PROXIES",
            metavar="ADDRESSES",
            help="Whose X-Forwarded-For counts, such as 10.0.0.0/8,fd00::/8.  "
            "[default: those of this machine]",
        ),
    ] = None,
) -> None:
    """Serve an app in production: no watching, plain log lines."""
    from cupola.cli import serve as work

    settings = settings_of(
        folder,
        port=port,
        site_port=site_port,
        host=host,
        data=data,
        instance_name=instance_name,
        instance_secret=instance_secret,
        limits=limit or [],
        files=files,
        cloud_url=cloud_url,
        site_url=site_url,
        redact_errors=redact_errors,
        forbid_private_addresses=forbid_private_addresses,
        trusted_proxies=trusted_proxies,
    )
    work.serve(settings, log_format=log_format.value, log_functions=log_functions)


@app.command()
def run(
    function: Annotated[str, typer.Argument(help="Its path, such as messages:send.")],
    arguments: Annotated[
        str, typer.Argument(metavar="JSON", help="Its arguments, as a JSON object.")
    ] = "{}",
    url: Annotated[
        str | None,
        typer.Option(
            envvar="CUPOLA_URL", help="The server.  [default: the one that uses the data folder]"
        ),
    ] = None,
    admin_key: Annotated[
        str | None,
        typer.Option(envvar="CUPOLA_ADMIN_KEY", help="[default: one made in the data folder]"),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(envvar="CUPOLA_DATA", help="The data folder.  [default: ./.cupola]"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the server's whole answer, failures too.")
    ] = False,
) -> None:
    """Call a function on a running server, and print its result as JSON."""
    from cupola.cli.call import call

    folder = data_folder(Path("."), data)
    raise typer.Exit(call(function, arguments, url, admin_key, folder, as_json=as_json))


ServerUrl = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="CUPOLA_URL",
        help="The server.  [default: the one that uses the data folder]",
    ),
]
AdminKey = Annotated[
    str | None,
    typer.Option(envvar="CUPOLA_ADMIN_KEY", help="[default: one made in the data folder]"),
]
OwnData = Annotated[
    Path | None,
    typer.Option("--data", envvar="CUPOLA_DATA", help="The data folder.  [default: ./.cupola]"),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before deleting.")]


@app.command("export")
def export_data(
    path: Annotated[Path, typer.Argument(help="What to write.")],
    kind: Annotated[
        ExportFormats | None,
        typer.Option("--format", help="What it becomes.  [default: by the ending of PATH]"),
    ] = None,
    data: OwnData = None,
    files: FilesAddress = None,
    include_files: Annotated[
        bool, typer.Option("--include-file-storage", help="Stored files too (ZIP only).")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write all documents of one moment: a ZIP, Parquet files, an SQLite file, or SQL."""
    from cupola.cli.export_data import export

    folder = data_folder(Path("."), data)
    export(
        path,
        kind.value if kind is not None else None,
        folder,
        files or None,
        include_files=include_files,
        as_json=as_json,
    )


@app.command("import")
def import_data(
    path: Annotated[Path, typer.Argument(help="A CSV, JSON lines or JSON file, or a ZIP.")],
    table: Annotated[
        str | None, typer.Option(help="The table; a ZIP names its tables itself.")
    ] = None,
    kind: Annotated[
        ImportFormats | None,
        typer.Option("--format", help="What it is.  [default: by the ending of PATH]"),
    ] = None,
    append: Annotated[bool, typer.Option(help="Add to what is there.")] = False,
    replace: Annotated[bool, typer.Option(help="Replace the tables of the file.")] = False,
    replace_all: Annotated[bool, typer.Option("--replace-all", help="Replace all tables.")] = False,
    yes: Yes = False,
    url: ServerUrl = None,
    admin_key: AdminKey = None,
    data: OwnData = None,
    as_json: Json = False,
) -> None:
    """Store a file's rows as documents of a running server. Nothing is stored if a row is bad."""
    from cupola.cli.import_data import import_file
    from cupola.cli.remote import find_server

    import_file(
        find_server(url, admin_key, data_folder(Path("."), data)),
        path,
        table,
        kind.value if kind is not None else None,
        append=append,
        replace=replace,
        replace_all=replace_all,
        yes=yes,
        as_json=as_json,
    )


@app.command()
def logs(
    function: Annotated[
        str | None, typer.Argument(help="Only this one, or those whose paths begin so.")
    ] = None,
    errors: Annotated[bool, typer.Option("--errors", help="Only what failed.")] = False,
    history: Annotated[
        int, typer.Option(min=0, help="How many of the past, as far as they are remembered.")
    ] = 20,
    follow: Annotated[bool, typer.Option(help="Go on with what happens from now on.")] = True,
    url: ServerUrl = None,
    admin_key: AdminKey = None,
    data: OwnData = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line.")
    ] = False,
) -> None:
    """Show what functions of a running server do and log."""
    from cupola.cli.logs import show
    from cupola.cli.remote import find_server

    show(
        find_server(url, admin_key, data_folder(Path("."), data)),
        function,
        errors=errors,
        history=history,
        follow=follow,
        as_json=as_json,
    )


@app.command()
def pause(url: ServerUrl = None, admin_key: AdminKey = None, data: OwnData = None) -> None:
    """Let no function of the app run, on a running server, until it is resumed."""
    from cupola.cli.remote import find_server

    find_server(url, admin_key, data_folder(Path("."), data)).post("/api/v1/pause_deployment")
    print("Paused. Calls fail and scheduled functions wait; resume with `cupola resume`.")


@app.command()
def resume(url: ServerUrl = None, admin_key: AdminKey = None, data: OwnData = None) -> None:
    """Let functions run again after a pause."""
    from cupola.cli.remote import find_server

    find_server(url, admin_key, data_folder(Path("."), data)).post("/api/v1/unpause_deployment")
    print("Running again.")


@app.command("admin-key")
def admin_key(
    folder: AppFolder = Path("."),
    data: Data = None,
    instance_name: InstanceName = None,
    instance_secret: InstanceSecret = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Its holder may run queries only.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print a new admin key, for the data folder's deployment or for a name and a secret."""
    from cupola.cli.admin_key import print_key

    print_key(
        data_folder(folder, data),
        instance_name or None,
        instance_secret or None,
        read_only=read_only,
        as_json=as_json,
    )


@app.command()
def doctor(
    folder: AppFolder = Path("."),
    port: Port = DEFAULT_PORT,
    site_port: SitePort = None,
    host: Host = DEFAULT_HOST,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Check whether an app can be served here, and say what to do if not."""
    from cupola.cli.doctor import examine

    settings = settings_of(
        folder,
        port=port,
        site_port=site_port,
        host=host,
        data=data,
        instance_name=None,
        instance_secret=None,
        limits=[],
    )
    raise typer.Exit(examine(settings, as_json=as_json))


def _print_version(wanted: bool) -> None:
    if wanted:
        from cupola import __version__

        print(f"cupola {__version__} on Python {sys.version.split()[0]}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version, and end."
        ),
    ] = False,
) -> None:
    """A reactive backend in one package: live data from Python functions."""
