"""HTTP actions in TypeScript, by the published router, over real sockets."""

import os

import httpx
import pytest

from cupola.backend import Backend
from cupola.files import LocalFiles
from cupola.functions.app import App
from cupola.persistence.sqlite import SqlitePersistence

from ...server.conftest import running_servers

pytestmark = pytest.mark.node


@pytest.fixture(scope="module")
def site(code, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    file = os.fspath(folder / "data.sqlite3")

    def make_backend() -> Backend:
        backend = Backend(SqlitePersistence(file), files=LocalFiles(folder / "files"))
        backend.use_workers(file)
        backend.deploy_now(App({}, {}).with_javascript(code))
        return backend

    with running_servers() as start:
        server = start(make_backend=make_backend)
        with httpx.Client(base_url=server.server.site_url, timeout=60) as client:
            client.running = server
            yield client


def test_a_request_arrives_whole_and_so_does_its_answer(site) -> None:
    headers = {"X-Test": "t", "Host": "app.example"}
    answer = site.post("/echo?a=1", content="hello", headers=headers)
    assert answer.status_code == 201
    assert answer.headers["x-made-by"] == "test"
    assert answer.headers["content-type"] == "text/x"
    assert answer.text == "POST http://app.example/echo?a=1 t hello"


def test_a_large_body_is_streamed_in(site) -> None:
    assert site.post("/count", content=iter([bytes(700_000)] * 3)).text == "2100000"


def test_prefixes_and_head_are_routed(site) -> None:
    assert site.get("/files/a/b").text == "below /files/a/b"
    assert site.head("/files/a").status_code == 200
    assert site.get("/files").text == "No matching routes found"


def test_a_streamed_answer_arrives_while_it_is_made(site) -> None:
    with site.stream("GET", "/slowly") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "first"
        with httpx.Client(base_url=site.base_url, timeout=60) as other:
            assert other.post("/add", content="go on").status_code == 204
        assert list(lines) == ["second"]


def test_what_is_posted_can_be_stored(site) -> None:
    data = bytes(range(256)) * 3000
    found = site.post("/upload", content=data, headers={"Content-Type": "x/y"}).json()
    served = httpx.get(found["url"].replace("http://127.0.0.1:3210", site.running.url))
    assert (served.content, served.headers["content-type"]) == (data, "x/y")


def test_errors_are_told_as_json(site) -> None:
    answer = site.get("/broken")
    assert answer.status_code == 500
    assert "Uncaught Error: no idea" in answer.json()["code"]
    assert "app/http.ts" in answer.json()["trace"]
    assert "must return a Response" in site.get("/nothing").json()["code"]


def test_an_authorization_that_proves_nothing_is_an_error_only_if_asked_for(site) -> None:
    basic = {"Authorization": "Basic dXNlcjpwYXNz"}
    assert site.get("/who").json() is None
    assert site.get("/files/x", headers=basic).status_code == 200
    assert site.get("/who", headers=basic).status_code == 500


def test_a_client_that_goes_away_ends_the_action(site) -> None:
    """In the middle of an answer that has no end of its own."""
    with site.stream("GET", "/endless") as answer:
        assert next(answer.iter_lines()) == "more"
    backend = site.running.backend
    site.running.eventually(lambda: backend.status()["runningActions"] == 0)
