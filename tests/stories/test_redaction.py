"""Who is shown why something failed, where errors are redacted: administrators, and nobody else."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from cupola import ApplicationError, QueryCtx, mutation, query
from cupola.functions.app import App
from cupola.sync.client_session import Token
from cupola.testing import Deployment

SECRET = "row 7 of `salaries`"


@query
def fails(ctx: QueryCtx) -> None:
    rows = ctx.db.query("rows").collect()
    print(f"looking at {len(rows)} rows")
    raise ValueError(f"{SECRET}, {len(rows)}")


@query
def refuses(ctx: QueryCtx) -> None:
    raise ApplicationError({"code": "TooFew", "seen": len(ctx.db.query("rows").collect())})


@query
def tells(ctx: QueryCtx) -> str:
    print(f"looking at {len(ctx.db.query('rows').collect())} rows")
    return "the same"


@mutation
def add(ctx: Any) -> None:
    ctx.db.insert("rows", {})


@pytest.fixture
def cupola() -> Any:
    functions = {"m:fails": fails, "m:refuses": refuses, "m:tells": tells, "m:add": add}
    with Deployment(App(functions, {})) as deployment:
        deployment.backend.redacts_errors = True
        yield deployment


def is_redacted(error: Any) -> bool:
    return re.fullmatch(r"\[Request ID: [0-9a-f]+\] Server Error", str(error)) is not None


def test_a_live_failure_is_told_to_administrators_and_noted_for_others(cupola: Deployment) -> None:
    """The query runs once for both; what it ended with is redacted where it is sent."""
    runs: Counter[str] = Counter()
    cupola.backend.node.watchers.append(lambda log: runs.update([log.path]))
    admin = cupola.as_admin().connect().subscribe("m:fails")
    plain = cupola.connect().subscribe("m:fails")

    assert f"ValueError: {SECRET}, 0" in str(admin.error)
    assert any("looking at 0 rows" in line for line in admin.log_lines)
    assert is_redacted(plain.error)
    assert plain.log_lines == []
    assert runs["m:fails"] == 1
    assert str(plain.error).split("]")[0] in str(admin.error), "the id by which it is found"


def test_what_only_administrators_may_see_reaches_only_them(cupola: Deployment) -> None:
    """A client is not even sent a change of a text that it is not shown."""
    admin = cupola.as_admin().connect().subscribe("m:fails")
    plain = cupola.connect().subscribe("m:fails")
    lines = cupola.connect().subscribe("m:tells")

    cupola.mutation("m:add")

    assert f"{SECRET}, 1" in str(admin.error)
    assert len(admin.updates) == 2
    assert len(plain.updates) == len(lines.updates) == 1
    assert lines.value == "the same"
    assert lines.log_lines == []


def test_the_data_of_an_application_error_is_everybodys(cupola: Deployment) -> None:
    plain = cupola.connect().subscribe("m:refuses")
    cupola.mutation("m:add")
    assert isinstance(plain.error, ApplicationError)
    assert plain.error.data == {"code": "TooFew", "seen": 1.0}


def test_whoever_becomes_an_administrator_is_shown_the_text_then(cupola: Deployment) -> None:
    client = cupola.connect()
    live = client.subscribe("m:fails")
    assert is_redacted(live.error)

    token = Token("Admin", cupola.backend.admin_keys.issue())
    client.carry_out(client.session.authenticate(token))
    cupola.settle()

    assert SECRET in str(live.error)
