"""Python functions find the deployment's variables in `os.environ`, wherever they run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cupola.deploy.requests import VariableChange
from cupola.functions.app import App, load_app

from .conftest import Pushing, module

CODE = """
import os
from cupola import ActionCtx, MutationCtx, QueryCtx, action, mutation, query

@query
def asked(ctx: QueryCtx) -> str | None:
    return os.environ.get("GREETING")

@query
def asked_in_a_worker(ctx: QueryCtx) -> str | None:
    return os.environ.get("GREETING")

@mutation
def changed(ctx: MutationCtx) -> str | None:
    return os.environ.get("GREETING")

@mutation
def changed_in_a_worker(ctx: MutationCtx) -> str | None:
    return os.environ.get("GREETING")

@action
async def done(ctx: ActionCtx) -> str | None:
    return os.environ.get("GREETING")

@action
async def also_seen(ctx: ActionCtx) -> list[bool]:
    return [name in os.environ for name in ("PATH", "ODD", "EVEN")]
"""
PATHS = ["asked", "asked_in_a_worker", "changed", "changed_in_a_worker", "done"]
PUSHED = module("m.js", "export const f = query(async () => 1);")


@pytest.fixture
def python(tmp_path: Path) -> App:
    folder = tmp_path / "functions"
    folder.mkdir()
    (folder / "look.py").write_text(CODE)
    return load_app(tmp_path)


async def seen(at: Pushing) -> set[str | None]:
    return {await at.value(f"look:{name}") for name in PATHS}


async def set_to(at: Pushing, value: str | None) -> None:
    await at.deployer.update_environment([VariableChange("GREETING", value)])


@pytest.mark.parametrize("pushed", [None, PUSHED], ids=["python", "both"])
def test_each_kind_of_function_sees_each_change(
    tell: Callable[..., None], python: App, pushed: object
) -> None:
    async def story(at: Pushing) -> None:
        offload = at.backend.mutations.offload
        offload.stalled += ["look:asked_in_a_worker", "look:changed_in_a_worker"]
        if pushed is not None:
            await at.push(pushed)
        await set_to(at, "hello")
        assert await seen(at) == {"hello"}
        await set_to(at, "good bye")
        assert await seen(at) == {"good bye"}
        await set_to(at, None)
        assert await seen(at) == {None}

    tell(story, python)


def test_actions_see_the_variables_of_the_process_beside_them(
    tell: Callable[..., None], python: App
) -> None:
    """What no process can have in its environment is left out, and stops nothing."""

    async def story(at: Pushing) -> None:
        changes = [VariableChange("ODD", "nul \0 inside"), VariableChange("EVEN", "")]
        await at.deployer.update_environment(changes)
        assert await at.value("look:also_seen") == [True, False, True]

    tell(story, python)
