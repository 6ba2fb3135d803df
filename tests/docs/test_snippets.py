"""Every fenced block of the documents is run or checked; CONTRIBUTING.md says how."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

import cupola
from cupola.cli.commands import app as cupola_command
from cupola.testing import Deployment

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    + [*(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*/README.md")]
)
NODE_MODULES = ROOT / "tests" / "conformance" / "node" / "node_modules"
PORT_IN_TEXT = "3210"

_FENCE = re.compile(r"^ {0,3}(`{3,})(\w*)")
_MARKER = re.compile(r"^<!-- ([a-z ]+?)(?:: (.*))? -->$")
_FILE_NAME = re.compile(r"^(?:# |// |<!-- )([\w./-]+\.(?:py|js|ts|html))(?: -->)?$")


@dataclasses.dataclass(frozen=True)
class Snippet:
    """A fenced block. `file` is the name in its first line, if it has one."""

    page: Path
    line: int
    language: str
    text: str
    markers: dict[str, str]
    file: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def snippets_of(page: Path) -> list[Snippet]:
    lines = page.read_text().splitlines()
    found: list[Snippet] = []
    markers: dict[str, str] = {}
    number = 0
    while number < len(lines):
        opening = _FENCE.match(lines[number])
        if opening is None:
            marker = _MARKER.match(lines[number])
            if marker is not None:
                markers[marker[1]] = marker[2] or ""
            elif lines[number].strip():
                markers = {}
            number += 1
            continue
        start = number + 1
        end = next(i for i in range(start, len(lines)) if lines[i].strip() == opening[1])
        body = lines[start:end]
        name = _FILE_NAME.match(body[0]) if body else None
        text = "\n".join(body) + "\n"
        found.append(
            Snippet(page, start, opening[2], text, markers, name[1] if name is not None else None)
        )
        markers = {}
        number = end + 1
    return found


SNIPPETS = [snippet for page in PAGES for snippet in snippets_of(page)]


def select(choose: Callable[[Snippet], bool]) -> Any:
    chosen = [snippet for snippet in SNIPPETS if choose(snippet)]
    return pytest.mark.parametrize("snippet", chosen, ids=str)


def is_run(snippet: Snippet) -> bool:
    return "not run" not in snippet.markers


def page_marker(page: Path, name: str) -> str | None:
    found = re.search(rf"^<!-- {name}: (.*) -->$", page.read_text(), re.MULTILINE)
    return found[1] if found is not None else None


def write_app(page: Path, folder: Path) -> None:
    """The app of a page: what it starts with, then the files it shows."""
    if (start := page_marker(page, "app")) is not None:
        ignored = shutil.ignore_patterns(".cupola", "__pycache__")
        shutil.copytree(ROOT / start, folder, ignore=ignored, dirs_exist_ok=True)
    if (before := page_marker(page, "continues")) is not None:
        write_app(page.parent / before, folder)
    (folder / "functions").mkdir(parents=True, exist_ok=True)
    for snippet in snippets_of(page):
        if snippet.file is not None and is_run(snippet):
            file = folder / snippet.file
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(snippet.text)
    if (folder / "convex").is_dir():
        packages = page_marker(page, "packages")
        make_project(folder, NODE_MODULES if packages is None else ROOT / packages)


def make_project(folder: Path, installed: Path) -> None:
    """What `npm install convex typescript` leaves in the folder of a page."""
    packages = {"dependencies": {"convex": "1.48.0"}, "devDependencies": {"typescript": "5.9.3"}}
    (folder / "package.json").write_text(json.dumps({"name": "page", **packages}))
    if installed.is_dir() and not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(installed)


def is_fragment(snippet: Snippet) -> bool:
    """Python without a file name of its own, that runs inside a mutation."""
    if snippet.language != "python" or snippet.file is not None or not is_run(snippet):
        return False
    return not snippet.markers.keys() & {"server", "script"}


PAGES_WITH_APP = [
    page for page in PAGES if any(s.file is not None or is_fragment(s) for s in snippets_of(page))
]


# ------------------------------------------------------------------------------------------ python


def namespace() -> dict[str, Any]:
    """What a fragment finds: the names of `cupola`, and those of the app's schema."""
    names: dict[str, Any] = {name: getattr(cupola, name) for name in cupola.__all__}
    schema = sys.modules.get("functions.schema")
    names.update({k: v for k, v in vars(schema or cupola).items() if isinstance(v, type)})
    return names


def run_fragment(deployment: Deployment, snippet: Snippet) -> None:
    code = compile("\n" * snippet.line + snippet.text, str(snippet.page), "exec")
    names = namespace()
    deployment.run(lambda ctx: exec(code, {**names, "ctx": ctx}))


@pytest.mark.parametrize("page", PAGES_WITH_APP, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    """Its files make an app that loads, and its fragments run inside a mutation, in order."""
    write_app(page, tmp_path)
    with Deployment(tmp_path) as deployment:
        for snippet in snippets_of(page):
            if is_fragment(snippet):
                run_fragment(deployment, snippet)


@select(lambda s: s.file is not None and s.file.startswith("tests/test_") and is_run(s))
def test_tests_that_are_shown_pass(snippet: Snippet, tmp_path: Path) -> None:
    write_app(snippet.page, tmp_path)
    run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", snippet.file], tmp_path)


@select(lambda s: "script" in s.markers)
def test_scripts_run(snippet: Snippet, tmp_path: Path) -> None:
    write_app(snippet.page, tmp_path)
    run([sys.executable, "-c", snippet.text], tmp_path)


# ----------------------------------------------------------------------------- beside a real server


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], Path]]:
    """Gives the folder of a page's app, with a server beside it; one server per page."""
    folders: dict[Path, Path] = {}
    processes: list[subprocess.Popen[str]] = []

    def serve(page: Path) -> Path:
        if page not in folders:
            folder = folders[page] = tmp_path_factory.mktemp(page.stem)
            write_app(page, folder)
            command = [sys.executable, "-m", "cupola", "serve", ".", "--port", "0"]
            process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
            processes.append(process)
            assert process.stderr is not None
            said = iter(process.stderr.readline, "")
            assert any(" Serving " in line for line in said), f"no server for {page.name}"
        return folders[page]

    yield serve
    for process in processes:
        process.terminate()
    for process in processes:
        process.communicate(timeout=60)


def port_of(folder: Path) -> str:
    return str(json.loads((folder / ".cupola" / "server.json").read_text())["port"])


@select(lambda s: "server" in s.markers and s.language == "python")
def test_python_runs_beside_a_server(snippet: Snippet, servers: Callable[[Path], Path]) -> None:
    folder = servers(snippet.page)
    run([sys.executable, "-c", snippet.text.replace(PORT_IN_TEXT, port_of(folder))], folder)


@select(lambda s: "server" in s.markers and s.language == "sh")
def test_shell_runs_beside_a_server(
    snippet: Snippet, servers: Callable[[Path], Path], request: pytest.FixtureRequest
) -> None:
    if "curl" in snippet.text and shutil.which("curl") is None:
        pytest.skip("needs curl")
    if "npx convex" in snippet.text:
        request.getfixturevalue("node")
    folder = servers(snippet.page)
    text = snippet.text.replace(PORT_IN_TEXT, port_of(folder))
    printed = run(["bash", "-euo", "pipefail", "-c", text], folder)
    assert '"status":"error"' not in printed and '"code"' not in printed


@pytest.mark.node
@select(lambda s: "server" in s.markers and s.language == "js")
def test_javascript_runs_beside_a_server(
    snippet: Snippet, servers: Callable[[Path], Path], node: str
) -> None:
    """With the published npm package, as its users write it."""
    folder = servers(snippet.page)
    if not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(NODE_MODULES)
    script = folder / f"snippet_{snippet.line}.mjs"
    ending = "\nif (typeof client !== 'undefined') await client.close();\n"
    script.write_text(snippet.text.replace(PORT_IN_TEXT, port_of(folder)) + ending)
    assert "hi" in run([node, str(script)], folder)


@pytest.mark.browser
@pytest.mark.node
def test_the_page_of_the_readme_updates_live(
    servers: Callable[[Path], Path], node: str, chromium: str
) -> None:
    """The README's claim: each window shows what the other one sends."""
    folder = servers(ROOT / "README.md")
    script = Path(__file__).parent / "two_windows.mjs"
    run([node, str(script), f"http://127.0.0.1:{port_of(folder)}", chromium], folder)


# ------------------------------------------------------------------------------------- only checked


@pytest.mark.node
@select(lambda s: s.language in ("js", "html"))
def test_javascript_parses(snippet: Snippet, tmp_path: Path, node: str) -> None:
    text = snippet.text
    if snippet.language == "html":
        text = "\n".join(re.findall(r'<script type="module">(.*?)</script>', text, re.DOTALL))
    (tmp_path / "snippet.mjs").write_text(text)
    run([node, "--check", "snippet.mjs"], tmp_path)


@select(lambda s: s.language == "json")
def test_json_parses(snippet: Snippet) -> None:
    json.loads(snippet.text)


@select(lambda s: s.language in ("sh", "ini", ""))
def test_commands_exist(snippet: Snippet) -> None:
    """Each `cupola` and `make` command, with its options."""
    text = snippet.text.replace("\\\n", " ")
    for line in re.split(r"\n|&&|\|", text):
        if not re.search(r"\b(cupola|make) ", line):
            continue
        words = shlex.split(line.partition("ExecStart=")[2] or line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        if words and Path(words[0]).name == "cupola":
            check_cupola(words[1:])
        elif words and words[0] == "make":
            check_make(words[1:])


def check_cupola(words: list[str]) -> None:
    group: Any = typer.main.get_command(cupola_command)
    command = group
    if words and not words[0].startswith("-"):
        assert words[0] in group.commands, f"there is no command `cupola {words[0]}`"
        command = group.commands[words[0]]
    known = {name for parameter in command.params for name in parameter.opts} | {"--help", "-h"}
    for word in words[1:]:
        if word.startswith("--"):
            assert word.partition("=")[0] in known, f"`cupola {words[0]}` has no option {word}"


def check_make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for word in words:
        if "=" not in word:
            assert re.search(rf"^{re.escape(word)}:", makefile, re.MULTILINE), word
        else:
            assert re.search(rf"\$\({word.partition('=')[0]}\)", makefile), word


def run(command: list[str | None], folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={**os.environ, "PATH": path, "NO_COLOR": "1", "CI": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
