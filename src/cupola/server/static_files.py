"""Files of a folder over HTTP: our browser client, and the pages in an app's `public/`."""

import mimetypes
from collections.abc import AsyncGenerator
from pathlib import Path
from stat import S_ISREG
from urllib.parse import quote

from cupola.server.messages import TEXT, Request, Response

_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".map": "application/json",
    ".mjs": "text/javascript",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
_HELD_BYTES_MAX = 256 * 1024
_PART_BYTES = 256 * 1024


class StaticFiles:
    """Serves the files below `root` and nothing else; `/` and `/folder/` mean their index.html.

    Files are looked up anew for each request, so an edit shows at once. Browsers keep a copy and
    ask whether it still holds (ETag), which costs them a round trip and us a stat.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def answer(self, request: Request) -> Response | None:
        """The file, 304 if the client has it, a redirect for a folder; None if there is nothing."""
        try:
            return self._answer(request)
        except (OSError, ValueError):  # gone meanwhile, unreadable, or a name no file can have
            return None

    def _answer(self, request: Request) -> Response | None:
        file = self._file_of(request.path)
        if file is None:
            return None
        if file.is_dir():
            if not (file / "index.html").is_file():
                return None
            return Response(308, b"", TEXT, [(b"location", quote(request.path).encode() + b"/")])
        status = file.stat()
        if not S_ISREG(status.st_mode):
            return None
        etag = b'"%x-%x"' % (status.st_mtime_ns, status.st_size)
        headers = [
            (b"etag", etag),
            (b"cache-control", b"no-cache"),
            (b"x-content-type-options", b"nosniff"),
        ]
        if _holds(request.headers.get(b"if-none-match", b""), etag):
            return Response(304, b"", _type_of(file), headers)
        if status.st_size <= _HELD_BYTES_MAX:
            return Response(200, file.read_bytes(), _type_of(file), headers)
        return Response(
            200, b"", _type_of(file), headers, stream=_parts(file), length=status.st_size
        )

    def _file_of(self, path: str) -> Path | None:
        """The place a URL path means; None if that is outside of the root, or hidden."""
        pieces = path.strip("/").split("/") if path.strip("/") else []
        if any(not piece or piece.startswith(".") or "\\" in piece for piece in pieces):
            return None
        file = self._root.joinpath(*pieces)
        if path.endswith("/"):
            file /= "index.html"
        resolved = file.resolve(strict=True)  # follows links: they may not lead out either
        return resolved if resolved.is_relative_to(self._root.resolve()) else None


async def _parts(file: Path) -> AsyncGenerator[bytes, None]:
    with file.open("rb") as opened:
        while part := opened.read(_PART_BYTES):
            yield part


def _type_of(file: Path) -> bytes:
    kind = _TYPES.get(file.suffix.lower()) or mimetypes.guess_type(file.name)[0]
    kind = kind or "application/octet-stream"
    if kind.startswith("text/"):
        kind += "; charset=utf-8"
    return kind.encode()


def _holds(if_none_match: bytes, etag: bytes) -> bool:
    candidates = [candidate.strip() for candidate in if_none_match.split(b",")]
    return etag in (candidate.removeprefix(b"W/") for candidate in candidates) or candidates == [
        b"*"
    ]
