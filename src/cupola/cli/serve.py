"""`cupola serve`: the server in production."""

import logging
import sys

from cupola.cli.assembly import load_and_deploy, open_backend, server_options
from cupola.cli.running import announced
from cupola.cli.settings import Settings
from cupola.server.serve import Server
from cupola.server.serve import run as run_loop
from cupola.server.serve import serve as serve_backend


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        CupolaError: The app cannot be loaded, the data or a port cannot be had.
    """
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    backend = open_backend(settings)
    try:
        load_and_deploy(backend, settings.app)
    except BaseException:
        backend.node.persistence.close()
        raise

    with announced(settings) as announce:

        def started(running: Server) -> None:
            announce(running)
            print(f"Serving {settings.app} on {running.url}", flush=True)

        run_loop(serve_backend(backend, server_options(settings), started=started))
