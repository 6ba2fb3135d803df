"""A registry of npm packages on this machine, for tests: packages are given as texts of files."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class NpmRegistry:
    """Serves each package at one version, `1.0.0`, until it is closed."""

    def __init__(self, packages: Mapping[str, Mapping[str, str]]) -> None:
        """`packages`: the files of each package by its name, `package.json` without name and
        version among them."""
        self.asked: list[str] = []
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.asked.append(self.path)
                found = registry.answers.get(self.path.partition("?")[0])
                self.send_response(200 if found is not None else 404)
                self.send_header("content-length", str(len(found or b"")))
                self.end_headers()
                self.wfile.write(found or b"")

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self.answers: dict[str, bytes] = {}
        for name, files in packages.items():
            self._add(name, files)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _add(self, name: str, files: Mapping[str, str]) -> None:
        manifest = {**json.loads(files["package.json"]), "name": name, "version": "1.0.0"}
        data = _tarball({**files, "package.json": json.dumps(manifest)})
        digest = base64.b64encode(hashlib.sha512(data).digest()).decode()
        address = f"{self.url}{name}/-/it-1.0.0.tgz"
        versions = {
            "1.0.0": {**manifest, "dist": {"tarball": address, "integrity": f"sha512-{digest}"}}
        }
        about = {"name": name, "dist-tags": {"latest": "1.0.0"}, "versions": versions}
        self.answers[f"/{name}"] = json.dumps(about).encode()
        self.answers[f"/{name.replace('/', '%2f')}"] = json.dumps(about).encode()
        self.answers[f"/{name}/-/it-1.0.0.tgz"] = data

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _tarball(files: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, text in files.items():
            member = tarfile.TarInfo(f"package/{path}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()
