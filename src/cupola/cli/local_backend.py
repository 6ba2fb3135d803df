"""`cupola-local-backend`: started as the reference's local backend is, for tools that do so.

    cupola-local-backend [options] [DATABASE FILE]
    cupola-local-backend keygen admin-key --instance-name NAME --instance-secret HEX

All code of such a deployment is pushed. Options that only concern reports to the reference's makers
are taken and have no effect: nothing is ever reported.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from cupola.cli import _make_deterministic
from cupola.cli.exit_codes import Exit, exit_code_of
from cupola.errors import CupolaError

_PORT = 3210
_FILE = "convex_local_backend.sqlite3"
_WITHOUT_EFFECT = (
    "--sentry-identifier",
    "--beacon-tag",
    "--beacon-fields",
    "--control-plane-url",
    "--control-plane-access-token",
)


def main() -> None:
    """The console script."""
    if sys.argv[1:3] == ["keygen", "admin-key"]:
        sys.exit(_guarded(lambda: _print_key(_keygen_parser().parse_args(sys.argv[3:]))))
    arguments = server_parser().parse_args()
    _make_deterministic()
    if sys.platform == "win32":
        sys.exit(_guarded(lambda: _serve(arguments)))
    from cupola.cli import supervisor

    sys.exit(supervisor.supervise(lambda: _guarded(lambda: _serve(arguments))))


def server_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cupola-local-backend",
        description="A Cupola deployment whose code is pushed, started like the reference's local "
        "backend. `keygen admin-key` prints an admin key instead.",
    )
    add = parser.add_argument
    add("database", nargs="?", default=_FILE, metavar="DATABASE", help="the SQLite file")
    add("--port", type=int, default=_PORT, help="for the API")
    add("--site-proxy-port", type=int, default=None, help="for HTTP actions; one above --port")
    add("--interface", default="127.0.0.1", help="the address to listen on")
    add("--instance-name", default=None, help="the deployment's name")
    add("--instance-secret", default=None, metavar="HEX", help="64 hexadecimal digits")
    add("--local-storage", default=None, metavar="FOLDER", help="for stored files")
    add("--convex-origin", default=None, metavar="URL", help="where the world finds the API")
    add("--convex-site", default=None, metavar="URL", help="where it finds HTTP actions")
    add("--disable-beacon", action="store_true", help="without effect: nothing is reported")
    for option in _WITHOUT_EFFECT:
        add(option, default=None, help="without effect")
    return parser


def _keygen_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cupola-local-backend keygen admin-key")
    parser.add_argument("--instance-name", required=True)
    parser.add_argument("--instance-secret", required=True, metavar="HEX")
    return parser


def _guarded(work: Callable[[], None]) -> int:
    """The exit code of `work`, whose errors are told on one line."""
    try:
        work()
    except CupolaError as error:
        print(error.message, file=sys.stderr)
        return exit_code_of(error)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return Exit.OK


def _print_key(arguments: argparse.Namespace) -> None:
    from cupola.cli.admin_key import print_key

    name, secret = arguments.instance_name, arguments.instance_secret
    print_key(Path(), name, secret, read_only=False, as_json=False)


def _serve(arguments: argparse.Namespace) -> None:
    from cupola.cli.serve import serve
    from cupola.cli.settings import PORT_MAX, Settings, limits_from

    database = Path(arguments.database).resolve()
    port: int = arguments.port
    site_port: int | None = arguments.site_proxy_port
    settings = Settings(
        app=database.parent,
        data=database.parent,
        host=arguments.interface,
        port=port,
        site_port=site_port if site_port is not None else min(port + 1, PORT_MAX) if port else 0,
        instance_name=arguments.instance_name,
        instance_secret=arguments.instance_secret,
        limits=limits_from([]),
        data_file=database.name,
        has_python=False,
        cloud_url=arguments.convex_origin,
        site_url=arguments.convex_site,
        files=_folder(arguments.local_storage),
    )
    serve(settings, log_functions=False)


def _folder(name: str | None) -> str | None:
    return None if name is None else Path(name).resolve().as_uri()


if __name__ == "__main__":
    main()
