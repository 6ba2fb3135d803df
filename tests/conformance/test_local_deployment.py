"""npm `convex` 1.48 starts `cupola-local-backend` as its own local backend (`npx convex dev`
without an account), found where it looks for one that it has downloaded.

It asks a host of its makers for the newest version first, whatever is there; that one question is
answered here instead. Nothing else of it is changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import free_port
from .project import APP, LEFT_OUT, NODE_MODULES

pytestmark = [pytest.mark.node, pytest.mark.slow]

VERSION = "precompiled-2026-10-01-cupola"
NEWEST = f"""
const fetched = globalThis.fetch;
globalThis.fetch = (url, options) =>
  String(url) === "https://version.convex.dev/v1/local_backend_version"
    ? Promise.resolve(Response.json({{ version: "{VERSION}" }}))
    : fetched(url, options);
"""


class LocalProject:
    """A copy of the app, and the command line in it, with a home folder of its own."""

    def __init__(self, folder: Path, node: str) -> None:
        self.app = folder / "app"
        shutil.copytree(APP, self.app, ignore=LEFT_OUT)
        (self.app / "node_modules").symlink_to(NODE_MODULES)
        binaries = folder / ".cache" / "convex" / "binaries" / VERSION
        binaries.mkdir(parents=True)
        program = Path(sys.executable).with_name("cupola-local-backend")
        (binaries / "convex-local-backend").symlink_to(program)
        newest = folder / "newest.mjs"
        newest.write_text(NEWEST)
        self._node = node
        self._environment = {
            "PATH": f"{Path(node).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "CI": "1",
            "NO_COLOR": "1",
            "CONVEX_AGENT_MODE": "anonymous",
            "NODE_OPTIONS": f"--import {newest}",
        }

    def convex(self, *arguments: str) -> str:
        done = subprocess.run(
            [self._node, "node_modules/convex/bin/main.js", *arguments],
            cwd=self.app,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


def test_the_command_line_starts_it_as_its_local_backend(node: str, tmp_path: Path) -> None:
    """It makes keys, tries the flags with `--help`, starts, is found under its name, and ends with
    the command. The second start finds the data of the first.
    """
    project = LocalProject(tmp_path, node)
    port, site_port = free_port(), free_port()
    ports = ["--local-cloud-port", str(port), "--local-site-port", str(site_port)]
    once = ["dev", "--once", "--tail-logs", "disable", *ports]

    said = project.convex(*once)

    assert "Added table indexes" in said and "Convex functions ready!" in said
    assert f"http://127.0.0.1:{port}" in said
    variables = (project.app / ".env.local").read_text()
    assert "CONVEX_DEPLOYMENT=anonymous:" in variables
    assert f"CONVEX_URL=http://127.0.0.1:{port}" in variables
    assert f"CONVEX_SITE_URL=http://127.0.0.1:{site_port}" in variables
    state = project.app / ".convex" / "local" / "default"
    assert (state / "convex_local_backend.sqlite3").exists()

    again = project.convex(*once)
    assert "Convex functions ready!" in again and "Added table indexes" not in again
