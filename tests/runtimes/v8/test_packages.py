"""npm packages that "use node" modules import by name."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from cupola.errors import DeveloperError
from cupola.functions.bundles import Bundle, ExternalPackage, Module
from cupola.functions.javascript import PushedCode
from cupola.limits import DEFAULT_LIMITS
from cupola.runtimes.v8.analyzer import V8Analyzer
from cupola.runtimes.v8.packages import folder_of, installed

from ...npm_registry import NpmRegistry
from .conftest import Server

pytestmark = pytest.mark.node

PACKAGES = {
    "of-commonjs": {
        "package.json": '{"main": "main.js", "dependencies": {"inner": "1.0.0"}}',
        "main.js": 'exports.shout = (text) => require("inner").loud(text) + "!";',
    },
    "inner": {
        "package.json": '{"main": "index.js"}',
        "index.js": "exports.loud = (text) => text.toUpperCase();",
    },
    "@scope/of-modules": {
        "package.json": '{"type": "module", "exports": {".": "./a.js", "./sub": "./b.js"}}',
        "a.js": "export default 'whole'; export const variable = () => process.env.GREETING;",
        "b.js": "export const part = 'part';",
    },
    "thief": {
        "package.json": '{"main": "index.js", "scripts": {"postinstall": "touch stolen"}}',
        "index.js": """
            exports.steal = () => {
                try { return require("fs").readFileSync("/etc/passwd", "utf8"); }
                catch (error) { return error.name; }
            };
        """,
    },
}
CODE = """
import { shout } from "of-commonjs";
import whole, { variable } from "@scope/of-modules";
import { part } from "@scope/of-modules/sub";
import thief from "thief";
const invokeAction = async () => {
    const late = await import("of-commonjs");
    return JSON.stringify([
        shout("hi"), whole, variable(), part, thief.steal(), typeof late.shout,
    ]);
};
export const uses = Object.assign(async () => {}, {
    isAction: true, isPublic: true, exportArgs: () => '{"type":"any"}', exportReturns: () => "null",
    invokeAction,
});
"""


def wanted(*names: str) -> tuple[ExternalPackage, ...]:
    return tuple(ExternalPackage(name, "1.0.0") for name in names)


ALL = wanted("of-commonjs", "@scope/of-modules", "thief")


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[NpmRegistry]:
    registry = NpmRegistry(PACKAGES)
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", registry.url)
    yield registry
    registry.close()


def test_an_action_uses_packages_of_its_push(registry: NpmRegistry, tmp_path: Path) -> None:
    """They see the deployment's variables, and no file but their own."""
    modules = (Module("node.js", CODE, environment="node"),)
    bundle = Bundle(modules, {"GREETING": "hello"}, external_packages=ALL)
    root = tmp_path / "packages"
    analysis = asyncio.run(V8Analyzer(DEFAULT_LIMITS, str(root)).analyze(bundle))
    server = Server(PushedCode(bundle, analysis), tmp_path / "data.sqlite3")
    asked = len(registry.asked)
    try:
        found = server.action("node:uses")
    finally:
        server.close()
    assert found == ["HI!", "whole", "hello", "part", "NotCapable", "function"]
    assert len(registry.asked) == asked, "what is there is not installed again"
    assert not list(root.rglob("stolen")), "scripts of packages do not run"


def test_what_cannot_be_installed_is_an_error_that_says_so(
    registry: NpmRegistry, tmp_path: Path
) -> None:
    with pytest.raises(DeveloperError) as raised:
        asyncio.run(installed(str(tmp_path), wanted("of-commonjs", "nowhere"), 60))
    assert raised.value.code == "ExternalPackagesNotInstalled"
    assert "nowhere" in raised.value.message
    assert list(tmp_path.iterdir()) == []


def test_without_a_network_the_error_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:9/")
    with pytest.raises(DeveloperError, match="let the command line bundle them"):
        asyncio.run(installed(str(tmp_path), wanted("of-commonjs"), 60))


@pytest.mark.parametrize(
    "package",
    [
        ExternalPackage("../up", "1.0.0"),
        ExternalPackage("a", "file:../a"),
        ExternalPackage("a", "^1.0.0"),
        ExternalPackage("a", "npm:b@1.0.0"),
        ExternalPackage("", "1.0.0"),
    ],
)
def test_only_exact_versions_of_names_are_installed(
    package: ExternalPackage, tmp_path: Path
) -> None:
    with pytest.raises(DeveloperError, match="is no npm package at an exact version"):
        asyncio.run(installed(str(tmp_path), (package,), 60))


def test_folders_of_old_pushes_go(registry: NpmRegistry, tmp_path: Path) -> None:
    pushes = [wanted(name) for name in ("inner", "of-commonjs", "thief", "@scope/of-modules")]
    for packages in pushes:
        asyncio.run(installed(str(tmp_path), packages, 60))
    kept = {folder_of(tmp_path, packages) for packages in pushes[1:]}
    assert set(tmp_path.iterdir()) == kept
