"""npm packages that "use node" modules import by name (`node.externalPackages` in convex.json).

The published command line sends names and exact versions. They are installed once, by Deno, into a
folder of their own beside the data: `packages/<digest of the list>/node_modules`. Deno runs no
scripts of packages while it installs, and the process that runs them may read this folder only.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cupola.errors import DeveloperError
from cupola.functions.bundles import ExternalPackage
from cupola.runtimes.v8.deno import executable

LOADER = "cupola.mjs"
"""The module that imports packages by name: names are resolved from the folder it is in."""
PACKAGES_MAX = 500
_FOLDERS_KEPT = 3
_NAME = re.compile(r"(?:@[a-z0-9~-][a-z0-9._~-]*/)?[a-zA-Z0-9~_-][a-zA-Z0-9._~-]*\Z")
_VERSION = re.compile(r"\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?\Z")
_REASON_LENGTH_MAX = 2000
_COLORS = re.compile(r"\x1b\[[0-9;]*m")


def folder_of(root: Path, packages: Sequence[ExternalPackage]) -> Path:
    """Where these packages are, or will be."""
    names = sorted(f"{package.name}@{package.version}" for package in packages)
    return root / hashlib.sha256("\n".join(names).encode()).hexdigest()[:32]


async def installed(root: str, packages: Sequence[ExternalPackage], time_s: float) -> Path:
    """The folder with these packages; they are installed first, if they are not there.

    `root`: the deployment's folder of packages, empty if it has none.

    Raises:
        DeveloperError (ExternalPackagesNotInstalled): They cannot be.
    """
    _check(packages)
    if not root:
        raise _failed(packages, "this deployment has no data folder")
    folder = folder_of(Path(root), packages)
    if not (folder / LOADER).exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        await _install(folder, packages, time_s)
        _forget_others(folder)
    return folder


def _check(packages: Sequence[ExternalPackage]) -> None:
    """What is no name or no exact version might name a file, a repository or a host."""
    if len(packages) > PACKAGES_MAX:
        raise _failed(packages, f"there are {len(packages)}, more than {PACKAGES_MAX}")
    for package in packages:
        if not _NAME.match(package.name) or not _VERSION.match(package.version):
            shown = f"{package.name[:100]}@{package.version[:100]}"
            raise _failed(packages, f"`{shown}` is no npm package at an exact version")


async def _install(folder: Path, packages: Sequence[ExternalPackage], time_s: float) -> None:
    """Install beside the folder, and move it there whole: another process may do the same."""
    place = Path(tempfile.mkdtemp(prefix=".installing-", dir=folder.parent))
    try:
        wanted = {package.name: package.version for package in packages}
        manifest = {"private": True, "type": "module", "dependencies": wanted}
        (place / "package.json").write_text(json.dumps(manifest))
        await _run_deno(place, packages, time_s)
        missing = [name for name in wanted if not (place / "node_modules" / name).exists()]
        if missing:
            raise _failed(packages, f"{', '.join(missing)} did not come")
        (place / LOADER).write_text("export const load = (name) => import(name);\n")
        shutil.rmtree(place / ".deno", ignore_errors=True)
        with contextlib.suppress(OSError):  # it is there by now
            place.rename(folder)
    finally:
        shutil.rmtree(place, ignore_errors=True)


async def _run_deno(place: Path, packages: Sequence[ExternalPackage], time_s: float) -> None:
    environment = {
        **os.environ,
        "DENO_DIR": str(place / ".deno"),
        "DENO_NO_UPDATE_CHECK": "1",
        "NO_COLOR": "1",
    }
    process = await asyncio.create_subprocess_exec(
        executable(),
        "install",
        "--node-modules-dir=auto",
        "--quiet",
        cwd=place,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(time_s):
            _, said = await process.communicate()
    except TimeoutError:
        raise _failed(packages, f"it took more than {time_s:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        reason = _COLORS.sub("", said.decode("utf-8", "replace")).strip()
        raise _failed(packages, reason[:_REASON_LENGTH_MAX] or "Deno says no more")


def _forget_others(newest: Path) -> None:
    """Keep what the newest pushes need: one that is being replaced still runs."""
    others = [each for each in newest.parent.iterdir() if each.is_dir() and each != newest]
    others = [each for each in others if not each.name.startswith(".")]
    others.sort(key=lambda each: each.stat().st_mtime, reverse=True)
    for each in others[_FOLDERS_KEPT - 1 :]:
        shutil.rmtree(each, ignore_errors=True)


def _failed(packages: Sequence[ExternalPackage], reason: str) -> DeveloperError:
    names = ", ".join(package.name[:100] for package in packages[:10])
    return DeveloperError(
        f"The npm packages of `node.externalPackages` ({names}) could not be installed: {reason}. "
        "Check names, versions and the network of the server, or let the command line bundle them "
        "by taking them out of convex.json.",
        code="ExternalPackagesNotInstalled",
    )
