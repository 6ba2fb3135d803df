"""Whatever user code raises or returns, the deployment tells it and goes on."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from cupola import ApplicationError, MutationCtx, QueryCtx, action, mutation, query
from cupola.database.system_commits import Work
from cupola.database.transaction import Transaction
from cupola.errors import CupolaError, DeveloperError, OperatorError
from cupola.functions.app import App
from cupola.functions.context import ActionCtx
from cupola.testing import Deployment


class Mute(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class Endless(Exception):
    def __str__(self) -> str:
        while True:
            pass


class EndlessData(Mapping[str, Any]):
    def __getitem__(self, name: str) -> Any:
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        while True:
            pass

    def __len__(self) -> int:
        return 1


class Dated(Exception):
    def __str__(self) -> str:
        return f"at {time.time()}"


class Crooked(SyntaxError):
    """Formatting it fails inside the standard library."""

    def __init__(self) -> None:
        super().__init__("x")
        self.text = self.lineno = self.offset = self.filename = object()  # type: ignore[assignment]


class Numbered(DeveloperError):
    code = 7  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__(5)  # type: ignore[arg-type]


class Treacherous(Mapping[str, Any]):
    def __getitem__(self, name: str) -> Any:
        raise RuntimeError("no")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("no")

    def __len__(self) -> int:
        return 1


def endless() -> list[Any]:
    items: list[Any] = []
    items.append(items)
    return items


RAISED = {
    "mute": Mute,
    "crooked": Crooked,
    "numbered": Numbered,
    "treacherous": lambda: ApplicationError(Treacherous()),
    "endless": lambda: ApplicationError(endless()),
    "surrogate": lambda: ValueError("\ud800"),
    "exit": lambda: SystemExit("bye"),
    "group": lambda: BaseExceptionGroup("g", [SystemExit(1)]),
}
BOUNDED = {"endless text": Endless, "endless data": lambda: ApplicationError(EndlessData())}


def fail(ctx: QueryCtx, name: str) -> None:
    raise {**RAISED, **BOUNDED, "dated": Dated}[name]()


def fail_writing(ctx: MutationCtx, name: str) -> None:
    ctx.db.insert("things", {})
    raise {**RAISED, **BOUNDED}[name]()


async def fail_acting(ctx: ActionCtx, name: str) -> None:
    raise RAISED[name]()


@pytest.fixture
def app() -> Iterator[Deployment]:
    functions: dict[str, Any] = {
        "m:fail": query(fail),
        "m:fail_writing": mutation(fail_writing),
        "m:fail_acting": action(fail_acting),
    }
    with Deployment(App(functions, {})) as app:
        yield app


@pytest.mark.parametrize("name", RAISED)
@pytest.mark.parametrize("kind", ["query", "mutation", "action"])
def test_no_error_of_an_app_stops_the_deployment(app: Deployment, kind: str, name: str) -> None:
    call = {"query": app.query, "mutation": app.mutation, "action": app.action}[kind]
    path = {"query": "m:fail", "mutation": "m:fail_writing", "action": "m:fail_acting"}[kind]
    with pytest.raises((CupolaError, ApplicationError)):
        call(path, name=name)
    assert app.backend.state == "ready"


@pytest.mark.parametrize("name", BOUNDED)
@pytest.mark.parametrize("path", ["m:fail", "m:fail_writing"])
def test_what_an_error_says_of_itself_counts_as_the_call_s_time(
    app: Deployment, path: str, name: str
) -> None:
    app.backend.node.runtime.time_s = 0.1
    call = app.query if path == "m:fail" else app.mutation
    with pytest.raises(CupolaError) as caught:
        call(path, name=name)
    assert caught.value.code == "FunctionTimeout"


def test_what_an_error_says_of_itself_is_said_inside_the_guard(app: Deployment) -> None:
    now_s = app.clock.now_ns() / 1e9
    with pytest.raises(CupolaError, match=f"Dated: at {now_s}"):
        app.query("m:fail", name="dated")


def test_an_action_whose_own_task_was_cancelled_is_answered(app: Deployment) -> None:
    """Only a cancellation of the action itself ends it without an answer."""
    import asyncio

    async def impatient(ctx: ActionCtx) -> None:
        task = asyncio.get_running_loop().create_task(asyncio.sleep(60))
        task.cancel()
        await task

    function = app.backend.app.functions["m:impatient"] = action(impatient)
    function.compile("m:impatient", {})
    with pytest.raises(CupolaError, match="CancelledError"):
        app.action("m:impatient")


def test_validators_of_an_app_see_the_same_world_as_its_functions(app: Deployment) -> None:
    """A default that asks for the time or for randomness gets what the call gets."""
    pydantic = pytest.importorskip("pydantic")
    import random
    import time

    class Draft(pydantic.BaseModel):  # type: ignore[name-defined,misc]
        made: float = pydantic.Field(default_factory=time.time)
        luck: float = pydantic.Field(default_factory=random.random)

    def same(ctx: QueryCtx, draft: Draft) -> bool:
        return draft.made == time.time() == app.clock.now_ns() / 1e9

    function = app.backend.app.functions["m:same"] = query(same)
    same.__annotations__ = {"ctx": QueryCtx, "draft": Draft, "return": bool}
    function.compile("m:same", {})
    assert app.query("m:same", draft={}) is True


@pytest.mark.parametrize("where", ["in a transaction", "between two"])
def test_no_error_of_long_work_stops_the_deployment(app: Deployment, where: str) -> None:
    """An import that meets what nobody has thought of ends; those beside it go on."""

    def works() -> Iterator[Work]:
        yield lambda transaction: create(transaction, "before")
        if where == "between two":
            raise KeyError("no")
        yield lambda transaction: create(transaction, "before")  # an assertion: it is there

    def create(transaction: Transaction, name: str) -> None:
        assert transaction.table(name) is None
        transaction.create_table(name)

    ends: list[BaseException | None] = []
    app.backend.pushes.commit_in_slices("test", works(), ends.append)
    app.backend.pushes.commit_in_slices("test", [lambda t: create(t, "beside")], ends.append)
    app.settle()

    assert isinstance(ends[0], OperatorError) and ends[1:] == [None]
    assert app.backend.state == "ready"
    assert {"before", "beside"} <= app.backend.node.committer.catalog.by_name.keys()
