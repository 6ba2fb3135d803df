"""`cupola serve`: the server in production. No watching; log lines go to stderr."""

import asyncio
import json
import logging
import sys
import time
from typing import Any

from cupola.backend import ExecutionLog
from cupola.cli import supervisor
from cupola.cli.assembly import load_and_deploy, open_backend, server_options
from cupola.cli.running import announced
from cupola.cli.settings import LogFormat, Settings
from cupola.deploy import Deployer
from cupola.functions.app import App
from cupola.server.serve import Server
from cupola.server.serve import run as run_loop
from cupola.server.serve import serve as serve_backend

_LOG = logging.getLogger("cupola")
_BEAT_S = 1.0
_AUDIT = logging.getLogger("cupola.audit")
_FUNCTIONS = logging.getLogger("cupola.functions")


def serve(settings: Settings, *, log_format: LogFormat = "text", log_functions: bool) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        CupolaError: The app cannot be loaded, or the data or a port cannot be had.
    """
    _log_to_stderr(log_format)
    backend = open_backend(settings)
    try:
        deployer = Deployer(backend)
        deployer.on_push = _log_push
        load_and_deploy(backend, deployer, settings)
    except BaseException:
        backend.node.persistence.close()
        raise
    if supervisor.current is not None:
        backend.node.runtime.on_enter = supervisor.current.enter
        backend.always_in_workers(supervisor.current.stalled)
    backend.redacts_errors = settings.redact_errors
    backend.forbids_private_addresses = settings.forbid_private_addresses
    backend.node.auditors.append(_log_audits)
    if log_functions:
        backend.node.watchers.append(_log_execution)
    with announced(settings) as announce:

        def started(server: Server) -> None:
            announce(server)
            if supervisor.current is not None:
                _beat(supervisor.current, settings.limits.loop_stall_s)
            what = settings.app if settings.has_python else settings.data / settings.data_file
            _LOG.info("Serving %s on %s", what, server.url)

        run_loop(
            serve_backend(backend, server_options(settings), started=started, deployer=deployer)
        )
    _LOG.info("Stopped.")


def _beat(beacon: supervisor.Beacon, stall_s: float) -> None:
    """Tell the supervisor that the loop turns, well before it would miss the news."""
    beacon.beat(stall_s)
    every_s = min(_BEAT_S, stall_s / 4)
    asyncio.get_running_loop().call_later(every_s, _beat, beacon, stall_s)


def _log_push(app: App) -> None:
    _LOG.info("A push serves: version %s, %d functions", app.version, len(app.functions))


def _log_execution(log: ExecutionLog) -> None:
    """One line for each execution, and one for each line that it logged."""
    outcome = "failed" if log.error_message is not None else "ok"
    level = logging.INFO if log.error_message is None else logging.ERROR
    _FUNCTIONS.log(
        level,
        "%s %s %s in %.1f ms [Request ID: %s]",
        log.kind,
        log.path,
        outcome,
        log.duration_s * 1000,
        log.request_id,
    )
    for line in log.log_lines:
        _FUNCTIONS.info("%s %s", log.path, line)
    if log.error_message is not None:
        _FUNCTIONS.error("%s %s", log.path, log.error_message)


def _log_audits(log: ExecutionLog) -> None:
    """One line for each entry of an audit log."""
    for entry in log.audits:
        _AUDIT.info("%s %s %s [Request ID: %s]", log.kind, log.path, entry, log.request_id)


def _log_to_stderr(log_format: LogFormat) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO)


class TextFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.000Z INFO message`."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")


class JsonFormatter(TextFormatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)
