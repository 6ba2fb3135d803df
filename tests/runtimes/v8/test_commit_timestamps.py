"""`db.vars.commitTs` and `meta.getSnapshotTs()` of the published package."""

import asyncio
import json

import pytest

from cupola.values import Int64, decode, encode

pytestmark = pytest.mark.node


def integer(number: int):
    """An int64 as it crosses the wire."""
    return json.loads(encode(Int64(number)))


def after(server, at):
    return server.query("messages:stampedAfter", at=integer(at))


def test_a_mutation_reads_back_what_it_wrote_and_its_caller_gets_the_timestamp(server):
    told = server.mutation("messages:stamp", body="one")

    assert told.pop("at") == server.backend.status()["headTs"]
    assert told == {"same": True, "text": "[unresolved commit timestamp]", "above": 1.0}
    (stored,) = after(server, 0)
    assert stored == {"at": server.backend.status()["headTs"], "body": "one"}


def test_who_follows_the_index_never_misses_a_row(server):
    """Eight write at once, and one reads on from the last timestamp it has seen."""
    rows = 120

    async def write(writer):
        for number in range(rows // 8):
            await server.ask("mutation", "messages:stamp", {"body": f"{writer}.{number}"})

    async def follow():
        seen, newest = [], 0
        while len(seen) < rows:
            answer = await server.ask("query", "messages:stampedAfter", {"at": integer(newest)})
            for row in decode(answer.value):
                seen.append(row["body"])
                newest = row["at"]
        return seen

    async def all_of_them():
        *_, seen = await asyncio.gather(*map(write, range(8)), follow())
        return seen

    seen = server.run(all_of_them())

    assert sorted(seen) == sorted(f"{w}.{n}" for w in range(8) for n in range(rows // 8))
    assert len(set(seen)) == rows


def test_the_snapshot_is_on_the_same_clock(server):
    first = server.mutation("messages:stamp", body="one")["at"]
    snapshot = server.query("messages:snapshotTs")
    second = server.mutation("messages:stamp", body="two")["at"]
    assert first <= snapshot < second


def test_it_is_no_number_yet(server):
    text = server.failure("mutation", "messages:stampAsNumber")
    assert "commit timestamp is unresolved" in text


def test_it_does_not_leave_its_transaction(server):
    text = server.failure("mutation", "messages:stampLater")
    assert "`$commitTs`" in text
    text = server.failure("query", "messages:echoStamp", at={"$commitTs": None})
    assert "`$commitTs` starts with `$`" in text
