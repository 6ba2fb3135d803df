"""Bodies of HTTP actions in TypeScript, as streams over real sockets; and files from them."""

import os
from collections.abc import Iterator

import httpx
import pytest

from cupola.backend import Backend
from cupola.files import LocalFiles
from cupola.functions.app import App
from cupola.persistence.sqlite import SqlitePersistence

from ...server.conftest import running_servers

pytestmark = pytest.mark.node


@pytest.fixture(scope="module")
def server(code, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    file = os.fspath(folder / "data.sqlite3")

    def make_backend() -> Backend:
        backend = Backend(SqlitePersistence(file), files=LocalFiles(folder / "files"))
        backend.use_workers(file)
        backend.deploy_now(App({}, {}).with_javascript(code))
        return backend

    with running_servers() as start:
        yield start(make_backend=make_backend)


@pytest.fixture
def site(server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.server.site_url, timeout=60) as client:
        yield client


def test_a_large_body_is_streamed_in(site) -> None:
    assert site.post("/count", content=iter([bytes(700_000)] * 3)).text == "2100000"


def test_a_body_past_the_limit_is_refused(site) -> None:
    answer = site.post("/count", content=iter([bytes(1 << 20)] * 21))
    assert (answer.status_code, answer.json()["code"]) == (413, "BodyTooLarge")


def test_a_form_with_a_file_is_read_and_kept(site) -> None:
    """As browsers send it."""
    sent = {"file": ("a.txt", b"hello", "text/plain")}
    answer = site.post("/form", data={"text": "ä"}, files=sent)
    assert answer.json() == ["ä", "a.txt", "text/plain", "hello"], answer.text


def test_an_answer_past_the_limit_is_cut(site) -> None:
    assert len(site.get("/large").content) == 20 << 20


def test_prefixes_are_routed(site) -> None:
    assert site.get("/files/a/b").text == "below /files/a/b"
    assert site.head("/files/a").status_code == 200
    assert site.get("/files").text == "No matching routes found"


def test_what_is_posted_can_be_stored(site, server) -> None:
    data = bytes(range(256)) * 3000
    found = site.post("/upload", content=data, headers={"Content-Type": "x/y"}).json()
    assert found["url"].startswith(f"{server.url}/api/storage/")
    served = httpx.get(found["url"])
    assert (served.content, served.headers["content-type"]) == (data, "x/y")


def test_what_is_no_response_is_told(site) -> None:
    assert "must return a Response" in site.get("/nothing").json()["code"]
