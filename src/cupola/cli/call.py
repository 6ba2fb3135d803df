"""`cupola run`: one function call over HTTP (the HTTP API, section 3.5)."""

import http.client
import json
import sys
import urllib.parse
from pathlib import Path
from typing import Any

from cupola.cli.admin_key import stored_credentials
from cupola.cli.exit_codes import CommandFailed, Exit
from cupola.cli.running import find_running

_REFUSALS = (401, 403, 429, 503)


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
    url = url or _announced_url(data)
    answer = _post(url, json.dumps(body).encode(), admin_key or _own_key(data))
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


def _announced_url(data: Path) -> str:
    running = find_running(data)
    if running is None:
        raise CommandFailed(
            f"No server uses {data} now. Start one with `cupola dev`, or name one with --url.",
            Exit.UNREACHABLE,
        )
    return running.url


def _own_key(data: Path) -> str:
    credentials = stored_credentials(data)
    if credentials is None:
        raise CommandFailed(
            f"Calls need an admin key, and {data} has no credentials to make one from. Give "
            "--admin-key, or set CUPOLA_ADMIN_KEY.",
            Exit.CONFIGURATION,
        )
    return credentials.admin_keys().issue()


def _post(url: str, body: bytes, admin_key: str) -> dict[str, Any]:
    """The body of the answer.

    Raises:
        CommandFailed: Nobody answers, it is no Cupola server, or it refuses.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CommandFailed(f"{url!r} is no http:// or https:// address.", Exit.USAGE)
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    headers = {"Content-Type": "application/json", "Authorization": f"Convex {admin_key}"}
    try:
        connection = kind(parts.hostname, parts.port)
        connection.request("POST", parts.path.rstrip("/") + "/api/function", body, headers)
        response = connection.getresponse()
        text = response.read()
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise CommandFailed(
            f"No server answers at {url} ({reason}). Start one with `cupola dev` or `cupola "
            "serve`, or name another with --url.",
            Exit.UNREACHABLE,
        ) from None
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise CommandFailed(
            f"What answers at {url} is no Cupola server (HTTP {response.status}).",
            Exit.UNREACHABLE,
        )
    if response.status in _REFUSALS:
        hint = ""
        if response.status == 401:
            hint = " `cupola admin-key --data FOLDER` prints a key for the server of that folder."
        message = f"The server refuses: {answer.get('message')} ({answer.get('code')}).{hint}"
        raise CommandFailed(message, Exit.REFUSED)
    if response.status != 200:
        message = f"{answer.get('message')} ({answer.get('code')})"
        return {"status": "error", "errorMessage": message}
    return answer
