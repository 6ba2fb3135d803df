"""`cupola run`: one function call over HTTP (the HTTP API, section 3.5)."""

import json
import sys
from pathlib import Path
from typing import Any

from cupola.cli.exit_codes import CommandFailed, Exit
from cupola.cli.remote import RemoteServer, find_server


def call(
    function: str,
    arguments: str,
    url: str | None,
    admin_key: str | None,
    data: Path,
    *,
    as_json: bool,
) -> Exit:
    """Print the result, or on stderr why there is none. Returns: the exit code.

    Raises:
        CommandFailed: The call could not be made.
    """
    body = {"path": function, "args": _object(arguments), "format": "json"}
    answer = _post(find_server(url, admin_key, data), json.dumps(body).encode())
    failed = answer.get("status") != "success"
    if as_json:
        print(json.dumps(answer))
        return Exit.FAILED if failed else Exit.OK
    for line in answer.get("logLines", ()):
        print(line, file=sys.stderr)
    if failed:
        print(answer.get("errorMessage", "The call failed."), file=sys.stderr)
        if "errorData" in answer:
            print(f"Data: {json.dumps(answer['errorData'], ensure_ascii=False)}", file=sys.stderr)
        return Exit.FAILED
    print(json.dumps(answer.get("value"), indent=2, ensure_ascii=False))
    return Exit.OK


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise CommandFailed(
            f"The arguments are not JSON ({error}). Quote them for the shell: "
            """'{"channel": "general"}'.""",
            Exit.USAGE,
        ) from None
    if not isinstance(value, dict):
        raise CommandFailed(
            """The arguments must be a JSON object, such as '{"channel": "general"}'.""",
            Exit.USAGE,
        )
    return value


def _post(server: RemoteServer, body: bytes) -> dict[str, Any]:
    """The body of the answer. Raises: CommandFailed: as `RemoteServer.ask`."""
    status, answer = server.ask("POST", "/api/function", body)
    if not isinstance(answer, dict):
        raise server.no_cupola(status)
    if status != 200:
        message = f"{answer.get('message')} ({answer.get('code')})"
        return {"status": "error", "errorMessage": message}
    return answer
