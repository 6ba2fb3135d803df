"""Files of an app's public folder, and nothing beside it."""

import os
import socket

import httpx
import pytest


@pytest.fixture
def public(tmp_path):
    root = tmp_path / "public"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "index.html").write_text("<h1>hello</h1>")
    (root / "deep" / "index.html").write_text("deep")
    (root / "deep" / "er" / "page.js").write_text("export {}")
    (root / "a b.txt").write_text("blank")
    (root / "image.png").write_bytes(b"\x89PNG" + bytes(600_000))
    (root / ".env").write_text("SECRET=1")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("secret")
    (tmp_path / "secret.txt").write_text("secret")
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    return root


@pytest.fixture
def http(start_server, public):
    with httpx.Client(base_url=start_server(public=public).url) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "kind", "start"),
    [
        ("/", "text/html; charset=utf-8", b"<h1>hello"),
        ("/index.html", "text/html; charset=utf-8", b"<h1>hello"),
        ("/deep/", "text/html; charset=utf-8", b"deep"),
        ("/deep/er/page.js", "text/javascript; charset=utf-8", b"export"),
        ("/a%20b.txt", "text/plain; charset=utf-8", b"blank"),
        ("/image.png", "image/png", b"\x89PNG"),
    ],
)
def test_a_file_is_served_with_its_type(http, path, kind, start):
    response = http.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == kind
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.content.startswith(start)
    assert len(response.content) == int(response.headers["content-length"])
    head = http.head(path)
    assert head.headers["content-length"] == response.headers["content-length"]


@pytest.mark.parametrize(
    "path",
    [
        "/missing", "/deep/missing.html", "/.env", "/.git/config", "/../secret.txt",
        "/%2e%2e/secret.txt", "/deep/..%2f..%2f..%2fsecret.txt", "/..%5csecret.txt", "/link.txt",
        "/deep//index.html", "/%00", "/deep/er", "/deep/er/", "/" + "x" * 5000, "/index.html/",
        "/%ff%fe",
    ],
)  # fmt: skip
def test_everything_else_is_not_there(http, path):
    """Raw paths, since a polite client would tidy them first."""
    address = (http.base_url.host, http.base_url.port)
    with socket.create_connection(address, timeout=10) as peer:
        peer.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while data := peer.recv(65536):
            answer += data
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"secret" not in answer.partition(b"\r\n\r\n")[2].lower().replace(b"secret.txt", b"")


def test_a_browser_that_holds_a_file_is_told_that_it_still_holds(http, public):
    first = http.get("/")
    again = http.get("/", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    weak = http.get("/", headers={"If-None-Match": f'"x", W/{first.headers["etag"]}'})
    assert weak.status_code == 304
    (public / "index.html").write_text("<h1>changed</h1>")
    os.utime(public / "index.html", ns=(1, 1))
    changed = http.get("/", headers={"If-None-Match": first.headers["etag"]})
    assert (changed.status_code, changed.content) == (200, b"<h1>changed</h1>")


def test_a_folder_redirects_to_its_page(http):
    response = http.get("/deep")
    assert response.status_code == 308
    assert response.headers["location"] == "/deep/"


def test_a_redirect_never_leaves_this_host(http, public):
    (public / "evil.test").mkdir()
    (public / "evil.test" / "index.html").write_text("")
    address = (http.base_url.host, http.base_url.port)
    with socket.create_connection(address, timeout=10) as peer:
        peer.sendall(b"GET //evil.test HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"location: /evil.test/\r\n" in peer.recv(65536)


def test_routes_of_the_server_come_first(http, public):
    (public / "version").write_text("mine")
    assert http.get("/version").text != "mine"


def test_a_public_folder_may_be_missing(start_server, tmp_path):
    server = start_server(public=tmp_path / "none")
    assert "running" in httpx.get(f"{server.url}/").text
    assert httpx.get(f"{server.url}/x").status_code == 404


def test_the_browser_client_is_served_to_any_page(http):
    response = http.get("/cupola.js", headers={"Origin": "https://app.test"})
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/javascript; charset=utf-8"
    assert response.headers["access-control-allow-origin"] == "https://app.test"
    assert (
        http.get("/cupola.js", headers={"If-None-Match": response.headers["etag"]}).status_code
        == 304
    )
