"""Uploading and serving files over HTTP, in front of the real engine."""

from __future__ import annotations

import base64
import hashlib
import socket
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from cupola.backend import Backend
from cupola.files import LocalFiles
from cupola.functions.app import load_app
from cupola.limits import Limits
from cupola.server.file_routes import byte_range

from .conftest import RunningServer

FUNCTIONS = """
from cupola import MutationCtx, QueryCtx, StorageId, mutation, query

@mutation
def upload_url(ctx: MutationCtx) -> str:
    return ctx.storage.generate_upload_url()

@query
def url(ctx: QueryCtx, file: StorageId) -> str | None:
    return ctx.storage.get_url(file)

@mutation
def remove(ctx: MutationCtx, file: StorageId) -> None:
    ctx.storage.delete(file)
"""
DATA = bytes(range(256)) * 4096  # 1 MiB
JSON = {"Content-Type": "application/json"}


class Files:
    """A server with files, as its clients see it."""

    def __init__(self, server: RunningServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.http = httpx.Client(base_url=server.url, timeout=10)

    def call(self, kind: str, path: str, **args: Any) -> Any:
        body = {"path": path, "args": args, "format": "json"}
        answer = self.http.post(f"/api/{kind}", json=body).json()
        assert answer["status"] == "success", answer
        return answer["value"]

    def upload_url(self) -> str:
        return str(self.call("mutation", "files:upload_url"))

    def upload(self, data: Any, **headers: str) -> httpx.Response:
        return self.http.post(self.upload_url(), content=data, headers=headers)

    def stored(self, data: Any, **headers: str) -> str:
        answer = self.upload(data, **headers)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["storageId"])

    def url(self, file: str) -> str:
        return str(self.call("query", "files:url", file=file))

    @property
    def on_disk(self) -> list[Path]:
        return [file for file in self.folder.rglob("*") if file.is_file()]


@pytest.fixture
def serve(
    start_server: Callable[..., RunningServer], tmp_path: Path
) -> Iterator[Callable[..., Files]]:
    started: list[Files] = []

    def start(limits: Limits | None = None) -> Files:
        app = tmp_path / "app"
        (app / "functions").mkdir(parents=True)
        (app / "functions" / "files.py").write_text(textwrap.dedent(FUNCTIONS))
        folder = tmp_path / "files"

        def make_backend() -> Backend:
            backend = Backend(limits=limits or Limits(), files=LocalFiles(folder))
            backend.deploy_now(load_app(app))
            return backend

        files = Files(start_server(make_backend=make_backend), folder)
        started.append(files)
        return files

    yield start
    for files in started:
        files.http.close()


@pytest.fixture
def files(serve: Callable[..., Files]) -> Files:
    return serve()


# ---------------------------------------------------------------------------------------- upload


def test_a_file_goes_up_and_comes_down(files: Files) -> None:
    """The URLs are those that functions make; the whole file says what it is."""
    file = files.stored(DATA, **{"Content-Type": "image/png"})
    answer = files.http.get(files.url(file))
    assert answer.status_code == 200
    assert answer.content == DATA
    digest = hashlib.sha256(DATA)
    expected = {
        "content-type": "image/png",
        "content-length": str(len(DATA)),
        "accept-ranges": "bytes",
        "cache-control": "private, max-age=2592000",
        "etag": f'"{digest.hexdigest()}"',
        "digest": "sha-256=" + base64.b64encode(digest.digest()).decode(),
        "x-content-type-options": "nosniff",
    }
    assert {name: answer.headers.get(name) for name in expected} == expected


def test_a_body_without_length_or_type_is_a_file_too(files: Files) -> None:
    file = files.stored(iter([b"one ", b"two"]))
    answer = files.http.get(files.url(file))
    assert answer.content == b"one two"
    assert "content-type" not in answer.headers


def test_an_empty_file_is_served(files: Files) -> None:
    url = files.url(files.stored(b""))
    assert files.http.get(url).content == b""
    assert files.http.get(url, headers={"Range": "bytes=0-0"}).status_code == 416


def test_a_declared_digest_is_checked(files: Files) -> None:
    digest = base64.b64encode(hashlib.sha256(b"data").digest()).decode()
    assert files.upload(b"data", Digest=f"sha-256={digest}").status_code == 200
    wrong = files.upload(b"other", Digest=f"sha-256={digest}")
    assert (wrong.status_code, wrong.json()["code"]) == (400, "DigestMismatch")
    for malformed in ("sha-256=x", "md5=AAAA", "sha-256"):
        refused = files.upload(b"data", Digest=malformed)
        assert (refused.status_code, refused.json()["code"]) == (400, "BadHeader")
    assert len(files.on_disk) == 1


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [("", 400, "BadQueryArgs"), ("?token=", 401, "InvalidStorageToken"),
     ("?token=AAAA", 401, "InvalidStorageToken")],
)  # fmt: skip
def test_without_a_token_of_this_deployment_nothing_is_stored(
    files: Files, query: str, status: int, code: str
) -> None:
    answer = files.http.post(f"/api/storage/upload{query}", content=DATA)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert files.on_disk == []


def test_an_upload_url_expires(serve: Callable[..., Files]) -> None:
    files = serve(Limits(upload_url_age_s=0.0))
    answer = files.upload(b"late")
    assert (answer.status_code, answer.json()["code"]) == (401, "StorageTokenExpired")


def test_a_file_above_the_limit_is_refused_and_leaves_nothing(serve: Callable[..., Files]) -> None:
    """The client hears why, although it was still sending; its connection goes on."""
    files = serve(Limits(file_size_bytes_max=1000))
    answer = files.upload(DATA)
    assert (answer.status_code, answer.json()["code"]) == (413, "FileTooLarge")
    assert files.on_disk == []
    assert files.stored(b"x" * 1000)


def test_too_many_uploads_at_a_time_are_refused(serve: Callable[..., Files]) -> None:
    files = serve(Limits(concurrent_uploads_max=0))
    answer = files.upload(b"data")
    assert (answer.status_code, answer.json()["code"]) == (503, "TooManyConcurrentUploads")


def test_a_client_that_goes_away_leaves_nothing(files: Files) -> None:
    url = urlsplit(files.upload_url())
    head = f"POST {url.path}?{url.query} HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", files.server.server.port)) as connection:
        connection.sendall(head.encode() + bytes(2_000_000))
        files.server.eventually(lambda: bool(files.on_disk))
    files.server.eventually(lambda: not files.on_disk)


def test_a_client_that_stands_still_is_answered(serve: Callable[..., Files]) -> None:
    files = serve(Limits(upload_stall_s=0.05))
    url = urlsplit(files.upload_url())
    head = f"POST {url.path}?{url.query} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
    with socket.create_connection(("127.0.0.1", files.server.server.port), 10) as connection:
        connection.sendall(head.encode() + b"half")
        assert connection.recv(100).startswith(b"HTTP/1.1 408 ")
    files.server.eventually(lambda: not files.on_disk)


# ----------------------------------------------------------------------------------------- serve


def test_head_tells_all_but_the_bytes(files: Files) -> None:
    url = files.url(files.stored(DATA))
    head, whole = files.http.head(url), files.http.get(url)
    assert head.status_code == 200
    assert head.content == b""
    leave_out = ("date",)
    assert {n: v for n, v in head.headers.items() if n not in leave_out} == {
        n: v for n, v in whole.headers.items() if n not in leave_out
    }


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [("bytes=0-0", 0, 1), ("bytes=5-9", 5, 10), ("bytes=1048570-", 1048570, len(DATA)),
     ("bytes=-3", len(DATA) - 3, len(DATA)), ("bytes=10-99999999", 10, len(DATA))],
)  # fmt: skip
def test_one_range_is_served_as_such(files: Files, wanted: str, start: int, end: int) -> None:
    answer = files.http.get(files.url(files.stored(DATA)), headers={"Range": wanted})
    assert answer.status_code == 206
    assert answer.content == DATA[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(DATA)}"
    assert answer.headers["content-length"] == str(end - start)
    assert "digest" not in answer.headers, "a digest of the whole would be wrong here"


@pytest.mark.parametrize("wanted", ["bytes=1048576-", "bytes=0-1,3-4", "bytes=-0"])
def test_ranges_that_cannot_be_served_are_416(files: Files, wanted: str) -> None:
    answer = files.http.get(files.url(files.stored(DATA)), headers={"Range": wanted})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(DATA)}"


@pytest.mark.parametrize(
    "wanted", [b"lines=1-2", b"bytes=", b"bytes=-", b"bytes=a-b", b"bytes=9-1"]
)
def test_headers_that_are_no_range_are_ignored(wanted: bytes) -> None:
    """RFC 9110, 14.2: an invalid Range is as none."""
    assert byte_range(wanted, 100) is None


def test_a_client_that_has_the_file_is_told_so(files: Files) -> None:
    url = files.url(files.stored(b"data"))
    etag = files.http.get(url).headers["etag"]
    for has in (etag, f'"x", W/{etag}', "*"):
        answer = files.http.get(url, headers={"If-None-Match": has})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == etag
    assert files.http.get(url, headers={"If-None-Match": '"x"'}).status_code == 200


def test_a_range_of_another_version_is_the_whole(files: Files) -> None:
    url = files.url(files.stored(b"data"))
    etag = files.http.get(url).headers["etag"]
    for has, status in ((etag, 206), ('"x"', 200)):
        answer = files.http.get(url, headers={"Range": "bytes=0-1", "If-Range": has})
        assert answer.status_code == status


def test_a_deleted_file_is_404_and_its_bytes_go(files: Files) -> None:
    file = files.stored(b"data")
    url = files.url(file)
    files.call("mutation", "files:remove", file=file)
    answer = files.http.get(url)
    assert (answer.status_code, answer.json()["code"]) == (404, "NotFound")
    files.server.eventually(lambda: not files.on_disk)


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=5-"}], ids=["whole", "a range"])
def test_a_place_of_files_that_fails_is_told(files: Files, headers: dict[str, str]) -> None:
    url = files.url(files.stored(DATA))
    (file,) = files.on_disk
    file.unlink()
    answer = files.http.get(url, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (503, "FileStoreError")


def test_an_id_is_no_url(files: Files) -> None:
    answer = files.http.get(f"/api/storage/{files.stored(b'data')}")
    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidStoragePath")


@pytest.mark.parametrize(
    "name", ["", "x", "..%2f..%2fetc", "00000000-0000-0000-0000-000000000000", "a/b"]
)
def test_nothing_else_is_served(files: Files, name: str) -> None:
    assert files.http.get(f"/api/storage/{name}").status_code == 404


@pytest.mark.parametrize(
    "kind", ["text/html", "TEXT/HTML; charset=utf-8", "image/svg+xml", "application/xml"]
)
def test_an_uploaded_page_cannot_act_in_the_name_of_the_app(files: Files, kind: str) -> None:
    """The app's own page has the same origin: scripts in files must not run there."""
    url = files.url(files.stored(b"<script>", **{"Content-Type": kind}))
    assert files.http.get(url).headers["content-security-policy"] == "sandbox"


def test_browsers_of_any_origin_may_upload_and_read(files: Files) -> None:
    asks = {"Origin": "https://app.example", "Access-Control-Request-Headers": "content-type"}
    preflight = files.http.options(files.upload_url(), headers=asks)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-headers"] == "content-type"
    answer = files.upload(b"data", Origin="https://app.example")
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    url = files.url(answer.json()["storageId"])
    read = files.http.get(url, headers={"Origin": "https://app.example"})
    assert read.headers["access-control-allow-origin"] == "https://app.example"


def test_a_reader_that_goes_away_ends_the_reading(files: Files) -> None:
    """Otherwise the server would read gigabytes for nobody."""
    url = urlsplit(files.url(files.stored(DATA * 32)))
    pieces = []
    store = files.server.backend.files.store
    plain_read = store.read

    async def counted(*place: Any) -> Any:
        try:
            async for piece in plain_read(*place):
                pieces.append(piece)
                yield piece
        finally:
            pieces.append(None)

    store.read = counted
    with socket.create_connection(("127.0.0.1", files.server.server.port)) as connection:
        connection.sendall(f"GET {url.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        connection.recv(10)
    files.server.eventually(lambda: bool(pieces) and pieces[-1] is None)
    assert len(pieces) < 32
