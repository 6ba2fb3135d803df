"""`node.externalPackages` in convex.json: the command line sends names, the server installs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..npm_registry import NpmRegistry
from .project import NODE_MODULES, Project

pytestmark = [pytest.mark.node, pytest.mark.slow]

FILES = {
    "package.json": '{"main": "main.js"}',
    "main.js": "exports.shout = (text) => `${text.toUpperCase()}!`; exports.place = __dirname;",
}
CODE = """
"use node";
import { shout, place } from "of-commonjs";
import { action } from "./_generated/server";
export const uses = action({ args: {}, handler: async () => [shout("hi"), place] });
"""


@pytest.fixture
def project(node: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """The app, with a package that is installed where it is written, too."""
    registry = NpmRegistry({"of-commonjs": FILES})
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", registry.url)
    project = Project(tmp_path / "app", node)
    modules = project.folder / "node_modules"
    modules.unlink()
    modules.mkdir()
    for each in NODE_MODULES.iterdir():
        (modules / each.name).symlink_to(each)
    (modules / "of-commonjs").mkdir()
    for name, text in FILES.items():
        (modules / "of-commonjs" / name).write_text(text)
    about = json.dumps({"name": "of-commonjs", "version": "1.0.0", "main": "main.js"})
    (modules / "of-commonjs" / "package.json").write_text(about)
    manifest = json.loads((project.folder / "package.json").read_text())
    manifest["dependencies"]["of-commonjs"] = "1.0.0"
    (project.folder / "package.json").write_text(json.dumps(manifest))
    convex_json = json.dumps({"node": {"externalPackages": ["*"]}})
    (project.folder / "convex.json").write_text(convex_json)
    (project.folder / "convex" / "node.ts").write_text(CODE.lstrip())
    project.start()
    yield project
    project.stop()
    registry.close()


def test_a_package_that_is_not_bundled_is_installed_by_the_server(project: Project) -> None:
    project.convex("dev", "--once", "--tail-logs", "disable", "--typecheck", "disable")
    shouted, place = project.answer("node:uses")
    assert shouted == "HI!"
    assert Path(place).is_relative_to(project.server.data / "packages")


def test_a_push_whose_packages_do_not_come_changes_nothing(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.server.stop()
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:9/")
    project.server.start()
    options = ("--once", "--tail-logs", "disable", "--typecheck", "disable")
    said = project.convex("dev", *options, fails=True)
    assert "of-commonjs" in said and "could not be installed" in said
