"""A project as developers have it: an app, its npm packages, and the published command line."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .conftest import HERE, ServerProcess

APP = HERE / "typescript"
NODE_MODULES = HERE / "node" / "node_modules"
PUSH_WITHIN_S = 60.0
LEFT_OUT = shutil.ignore_patterns(
    "_generated", "__pycache__", "node_modules", ".cupola", ".env.local"
)


class Project:
    """A copy of the app beside a server, and the command line in it."""

    def __init__(
        self, folder: Path, node: str, app: Path = APP, packages: Path = NODE_MODULES
    ) -> None:
        """`folder`: where the copy is made. `packages`: the `node_modules` it uses."""
        shutil.copytree(app, folder, ignore=LEFT_OUT)
        (folder / "node_modules").symlink_to(packages)
        self.folder = folder
        self.server = ServerProcess(folder, folder.parent)
        self.said = ""
        """What the first push printed, where one was made."""
        self._node = node
        self._processes: list[subprocess.Popen[str]] = []

    def start(self) -> None:
        self.server.start()
        self.use(
            {
                "CONVEX_SELF_HOSTED_URL": self.server.url,
                "CONVEX_SELF_HOSTED_ADMIN_KEY": self.server.admin_key(),
            }
        )

    def use(self, variables: dict[str, str]) -> None:
        """What the command line finds in its environment."""
        self.variables = variables
        home = self.folder.parent / "home"
        home.mkdir(exist_ok=True)
        self._environment = {
            "PATH": f"{Path(self._node).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "CI": "1",
            "NO_COLOR": "1",
            **variables,
        }

    def convex(self, *arguments: str, fails: bool = False) -> str:
        """Run `npx convex …`; what it printed on both streams. It fails exactly if `fails`."""
        done = self.run("convex/bin/main.js", *arguments)
        said = done.stdout + done.stderr
        assert (done.returncode != 0) is fails, f"{said}\nthe server says:\n{self.server.log()}"
        return said

    def answer(self, *arguments: str) -> Any:
        """Run `npx convex run …`, and read what it printed on stdout."""
        done = self.run("convex/bin/main.js", "run", *arguments)
        assert done.returncode == 0, f"{done.stderr}\nthe server says:\n{self.server.log()}"
        return json.loads(done.stdout)

    def typecheck(self, *arguments: str) -> str:
        """Run `tsc`; what it complains of."""
        return self.run("typescript/bin/tsc", "--noEmit", *arguments).stdout

    def bundle(self, source: str, target: str) -> None:
        """Bundle a page for the browser, as a build tool would."""
        options = {
            "entryPoints": [source],
            "outfile": target,
            "bundle": True,
            "format": "esm",
            "jsx": "automatic",
        }
        script = f"require('esbuild').buildSync({json.dumps(options)})"
        subprocess.run([self._node, "-e", script], cwd=self.folder, check=True)

    def start_convex(self, *arguments: str) -> subprocess.Popen[str]:
        """Run `npx convex …` beside the test, which reads what it says on both streams."""
        return self.start_script("convex/bin/main.js", *arguments)

    def start_tool(self, script: str, *arguments: str) -> subprocess.Popen[str]:
        """Run a script of the packages that speaks on its standard streams, until `stop`."""
        return self._start(script, arguments, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def start_script(self, script: str, *arguments: str) -> subprocess.Popen[str]:
        """Run a script of the packages beside the test, until `stop`."""
        return self._start(script, arguments, stdin=None, stderr=subprocess.STDOUT)

    def _start(
        self, script: str, arguments: tuple[str, ...], *, stdin: int | None, stderr: int
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [self._node, str(self.folder / "node_modules" / script), *arguments],
            cwd=self.folder,
            env=self._environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        self._processes.append(process)
        return process

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()
        self.server.stop()

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a script of the packages in the project, to its end."""
        return subprocess.run(
            [self._node, str(self.folder / "node_modules" / script), *arguments],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=PUSH_WITHIN_S,
        )

    def run_node(self, *words: str) -> str:
        """Run Node in the project; it must succeed. Returns: what it printed on both streams."""
        done = subprocess.run(
            [self._node, *words],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PUSH_WITHIN_S,
        )
        assert done.returncode == 0, f"{done.stdout}\nthe server says:\n{self.server.log()}"
        return done.stdout

    def change(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert old in text, f"{file} has no {old!r}"
        path.write_text(text.replace(old, new))

    def post(self, path: str) -> None:
        """Ask something of the server as its administrator."""
        key = self._environment["CONVEX_SELF_HOSTED_ADMIN_KEY"]
        headers = {"Authorization": f"Convex {key}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.server.url + path, b"{}", headers)
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200

    def upload_url(self) -> str:
        """Where a file may be POSTed, from the system's own function."""
        url = self.answer("_system/frontend/fileStorageV2:generateUploadUrl", "{}")
        assert isinstance(url, str)
        return url

    def stored_files(self) -> Any:
        """What is known of all files."""
        args = {"table": "_storage", "paginationOpts": {"numItems": 100, "cursor": None}}
        page = self.answer("_system/cli/tableData:default", json.dumps(args))
        return sorted(page["page"], key=lambda file: file["_id"])

    def send(self, channel: str, body: str) -> None:
        args = {"channel": channel, "author": "a", "body": body}
        self.answer("messages:send", json.dumps(args))

    def list(self, channel: str) -> Any:
        return self.answer("messages:list", json.dumps({"channel": channel}))


def push_app(folder: Path, node: str) -> ServerProcess:
    """A server of the app that the drivers expect, as it is written in TypeScript."""
    project = Project(folder, node, HERE / "app_in_typescript")
    try:
        project.start()
        project.convex("deploy", "--yes", "--typecheck", "disable")
    except BaseException:
        project.stop()
        raise
    return project.server


@contextlib.contextmanager
def pushed_project(folder: Path, node: str, app: Path = APP) -> Iterator[Project]:
    """A project that was pushed already; `said` is what was printed."""
    project = Project(folder, node, app)
    project.start()
    try:
        project.said = project.convex("dev", "--once", "--tail-logs", "disable")
        yield project
    finally:
        project.stop()
