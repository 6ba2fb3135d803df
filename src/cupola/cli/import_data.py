"""`cupola import`: a file becomes documents of a running server, as its import API takes them."""

import json
import sys
import time
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from cupola.cli.exit_codes import CommandFailed, Exit
from cupola.cli.progress import progress_bars
from cupola.cli.remote import RemoteServer

_PART_BYTES = 5 * 2**20
_PARTS_MAX = 9999
_LOOK_EVERY_S = 0.2


Format = Literal["csv", "jsonl", "json", "zip"]
_WIRE: dict[Format, str] = {
    "csv": "csv",
    "jsonl": "jsonLines",
    "json": "jsonArray",
    "zip": "zip",
}


def import_file(
    server: RemoteServer,
    path: Path,
    table: str | None,
    chosen: Format | None,
    *,
    append: bool,
    replace: bool,
    replace_all: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Upload, ask for consent if something would be deleted, and wait until all is stored.

    Raises:
        CommandFailed: The options make no sense, nobody consented, or the import failed.
    """
    mode = _mode_of(append=append, replace=replace, replace_all=replace_all)
    form = _format_of(path, chosen)
    if not path.is_file():
        raise CommandFailed(f"There is no file {path}.", Exit.USAGE)
    settings = {"tableName": table, "mode": mode, "format": _WIRE[form]}
    import_id = _upload(server, path, {k: v for k, v in settings.items() if v is not None})
    state = _wait(server, import_id)
    if state["state"] == "waiting_for_confirmation":
        _confirm(server, import_id, state, yes=yes)
        state = _wait(server, import_id)
    if state["state"] != "completed":
        raise CommandFailed(str(state.get("error_message", "The import failed.")), Exit.FAILED)
    rows = int(state["num_rows_written"])
    if as_json:
        print(json.dumps({"importId": import_id, "rowsWritten": rows}))
    else:
        print(f"Added {rows:,} documents.")


def _mode_of(*, append: bool, replace: bool, replace_all: bool) -> str:
    modes = {"append": append, "replace": replace, "replaceAll": replace_all}
    wanted = [name for name, is_wanted in modes.items() if is_wanted]
    if len(wanted) > 1:
        raise CommandFailed("Choose one of --append, --replace and --replace-all.", Exit.USAGE)
    return wanted[0] if wanted else "requireEmpty"


def _format_of(path: Path, chosen: Format | None) -> Format:
    ending = path.suffix.lower().removeprefix(".")
    if chosen is None:
        chosen = next((form for form in _WIRE if form == ending), None)
    if chosen is None:
        endings = ", ".join(f".{form}" for form in _WIRE)
        raise CommandFailed(
            f"Choose a --format, or a name that ends with one of {endings}.", Exit.USAGE
        )
    return chosen


def _upload(server: RemoteServer, path: Path, settings: dict[str, Any]) -> str:
    token = server.post("/api/import/start_upload")["uploadToken"]
    size = path.stat().st_size
    part_bytes = max(_PART_BYTES, -(-size // _PARTS_MAX))
    parts: list[str] = []
    with progress_bars("Uploading", {path.name: size}) as told, path.open("rb") as file:
        while piece := file.read(part_bytes):
            place = f"uploadToken={token}&partNumber={len(parts) + 1}"
            parts.append(server.post_bytes(f"/api/import/upload_part?{place}", piece))
            told(path.name, file.tell())
    body = {"import": settings, "uploadToken": token, "partTokens": parts}
    return str(server.post("/api/import/finish_upload", body)["importId"])


def _wait(server: RemoteServer, import_id: str) -> dict[str, Any]:
    """Until there is something to decide, or an end. Returns: the state."""
    console = Console(file=sys.stderr)
    with console.status("Checking every row ...") as status:  # nothing, where nobody looks
        while True:
            found = server.query("_system/cli/queryImport:default", {"importId": import_id})
            state: dict[str, Any] = found["state"]
            if state["state"] not in ("uploaded", "in_progress"):
                return state
            if "progress_message" in state:
                status.update(str(state["progress_message"]))
            time.sleep(_LOOK_EVERY_S)  # this process has nothing else to do


def _confirm(server: RemoteServer, import_id: str, state: dict[str, Any], *, yes: bool) -> None:
    if state.get("require_manual_confirmation") and not yes:
        print(state["message_to_confirm"], file=sys.stderr)
        if not sys.stdin.isatty():
            server.post("/api/cancel_import", {"importId": import_id})
            raise CommandFailed("This deletes documents; give --yes to do it.", Exit.USAGE)
        if input("Do it? [y/N] ").strip().lower() not in ("y", "yes"):
            server.post("/api/cancel_import", {"importId": import_id})
            raise CommandFailed("Nothing was changed.", Exit.FAILED)
    server.post("/api/perform_import", {"importId": import_id})
