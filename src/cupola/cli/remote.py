"""A running server, as commands ask it over HTTP."""

import http.client
import json
import urllib.parse
from pathlib import Path
from typing import Any

from cupola.cli.admin_key import stored_credentials
from cupola.cli.exit_codes import CommandFailed, Exit
from cupola.cli.running import find_running

_REFUSALS = (401, 403, 429, 503)


def find_server(url: str | None, admin_key: str | None, data: Path) -> "RemoteServer":
    """The server at `url`, or the one that uses the data folder; with the key given, or one made
    from that folder.

    Raises:
        CommandFailed: There is no such server, or no key for it.
    """
    return RemoteServer(url or _announced_url(data), admin_key or _own_key(data))


class RemoteServer:
    """One server and the key to show."""

    def __init__(self, url: str, admin_key: str) -> None:
        """Raises: CommandFailed: `url` is no address."""
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise CommandFailed(f"{url!r} is no http:// or https:// address.", Exit.USAGE)
        self._url = url
        self._parts = parts
        self._key = admin_key

    def ask(
        self, method: str, path: str, body: bytes | None = None, kind: str = "application/json"
    ) -> tuple[int, Any]:
        """Send a request. Returns: the status, and what the JSON of the answer says.

        Raises:
            CommandFailed: Nobody answers, it is no Cupola server, or it refuses.
        """
        status, text = self._send(method, path, body, kind)
        try:
            answer = json.loads(text)
        except ValueError:
            raise self.no_cupola(status) from None
        if status in _REFUSALS and isinstance(answer, dict):
            hint = ""
            if status == 401:
                hint = (
                    " `cupola admin-key --data FOLDER` prints a key for the server of that folder."
                )
            message = f"The server refuses: {answer.get('message')} ({answer.get('code')}).{hint}"
            raise CommandFailed(message, Exit.REFUSED)
        return status, answer

    def get(self, path: str) -> Any:
        """What a path tells. Raises: CommandFailed: as `ask`, or it tells of an error."""
        return self._value(self.ask("GET", path))

    def post(self, path: str, body: Any = None) -> Any:
        """What a path answers to a JSON body. Raises: CommandFailed: as `get`."""
        return self._value(self.ask("POST", path, json.dumps(body or {}).encode()))

    def post_bytes(self, path: str, body: bytes) -> Any:
        """The same for bytes."""
        return self._value(self.ask("POST", path, body, "application/octet-stream"))

    def query(self, path: str, args: dict[str, Any]) -> Any:
        """What a query answers. Raises: CommandFailed: as `get`, or it failed."""
        answer = self.post("/api/query", {"path": path, "args": args, "format": "json"})
        if answer.get("status") != "success":
            raise CommandFailed(str(answer.get("errorMessage")), Exit.FAILED)
        return answer["value"]

    def _value(self, answer: tuple[int, Any]) -> Any:
        status, value = answer
        if status != 200:
            known = isinstance(value, dict) and "message" in value
            raise CommandFailed(
                f"{value['message']} ({value.get('code')})" if known else f"HTTP {status}",
                Exit.FAILED,
            )
        return value

    def _send(
        self, method: str, path: str, body: bytes | None, content_type: str
    ) -> tuple[int, bytes]:
        secure = self._parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        headers = {"Content-Type": content_type, "Authorization": f"Convex {self._key}"}
        try:
            connection = kind(str(self._parts.hostname), self._parts.port)
            connection.request(method, self._parts.path.rstrip("/") + path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise CommandFailed(
                f"No server answers at {self._url} ({reason}). Start one with `cupola dev` or "
                "`cupola serve`, or name another with --url.",
                Exit.UNREACHABLE,
            ) from None

    def no_cupola(self, status: int) -> CommandFailed:
        return CommandFailed(
            f"What answers at {self._url} is no Cupola server (HTTP {status}).", Exit.UNREACHABLE
        )


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
