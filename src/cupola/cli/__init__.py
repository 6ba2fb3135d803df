"""The `cupola` command.

`main` decides as little as possible before the work starts: a server first makes its process
deterministic, and each command imports only what it needs.
"""

import os
import sys

_DETERMINISTIC = ("dev", "serve", "doctor")


def main() -> None:
    """The console script."""
    if len(sys.argv) > 1 and sys.argv[1] in _DETERMINISTIC:
        _make_deterministic()
    if sys.argv[1:2] == ["serve"] and "--help" not in sys.argv and sys.platform != "win32":
        from cupola.cli import supervisor

        sys.exit(supervisor.supervise(_run))
    sys.exit(_run())


def _make_deterministic() -> None:
    """Start this process again, if the order of sets or the local time could differ in another.

    Python fixes its hash seed when it starts, so nothing else can. It costs one interpreter start,
    and nothing heavy is imported yet.
    """
    if sys.flags.ignore_environment:  # `python -E`: the variables would not be seen
        return
    if sys.flags.hash_randomization == 0 and os.environ.get("TZ") == "UTC":
        return
    environment = {**os.environ, "PYTHONHASHSEED": "0", "TZ": "UTC"}
    environment["CUPOLA_LOCAL_TZ"] = os.environ.get("TZ", "")  # for people who read `cupola dev`
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def _run() -> int:
    from cupola.cli.exit_codes import CommandFailed, Exit, exit_code_of
    from cupola.errors import CupolaError

    try:
        if sys.argv[1:2] == ["serve"] and _serve_quickly():
            return Exit.OK
        from cupola.cli.commands import app

        app(prog_name="cupola")
        return Exit.OK
    except CommandFailed as error:
        message, code = error.message, error.code
    except CupolaError as error:
        message, code = error.message, exit_code_of(error)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    from cupola.cli.console import print_error

    print_error(message)
    return code


def _serve_quickly() -> bool:
    """Whether the command line was plain enough; then the server has run, and ended."""
    from cupola.cli import quick

    read = quick.read(sys.argv[2:])
    if read is None:
        return False
    from cupola.cli.serve import serve

    settings, log_format, log_functions = read
    serve(settings, log_format=log_format, log_functions=log_functions)
    return True
