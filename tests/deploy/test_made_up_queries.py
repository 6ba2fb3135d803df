"""Queries that nobody deploys: they read everything there is to read, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from cupola.auth import Identity
from cupola.deploy.made_up_queries import MadeUpQuery, SentQuery
from cupola.errors import CupolaError

from .conftest import Pushing, module, notes, schema

Tell = Callable[..., None]

ADD = module("n.js", "export const add = mutation(async (ctx) => insert('notes', ctx));")
IMPORT = 'import { query, internalQuery } from "convex:/_system/repl/wrappers.js";\n'


async def run(at: Pushing, body: str) -> Any:
    source = f"{IMPORT}export default query({{ handler: async (ctx) => {{ {body} }} }});"
    return await send(at, source)


async def send(at: Pushing, source: str, path: str = "testQuery.js") -> Any:
    sent = MadeUpQuery(SentQuery(path, source))
    return await at.deployer.run_made_up_query(sent, Identity("admin"))


async def value(at: Pushing, body: str) -> Any:
    result = await run(at, body)
    assert result.value is not None, result.error_message
    return msgspec.json.decode(result.value)


async def push(at: Pushing) -> list[str]:
    await at.push(ADD, app={"schema": schema(notes(indexes=("by_body",)))})
    return [
        str(msgspec.json.decode(await at.value("n:add", b'{"body":"%s"}' % body))["_id"])
        for body in (b"a", b"b", b"c", b"d")
    ]


READS = {
    "return (await ctx.db.query('notes').collect()).map((n) => n.body)": ["a", "b", "c", "d"],
    "return (await ctx.db.query('notes').order('desc').take(2)).map((n) => n.body)": ["d", "c"],
    "return (await ctx.db.query('notes').first()).body": "a",
    "return await ctx.db.query('notes').withIndex('by_body', (q) => q.eq('body', 'x'))"
    ".first()": None,
    "return (await ctx.db.query('notes').withIndex('by_body', (q) => q.gt('body', 'a')"
    ".lte('body', 'c')).collect()).length": 2,
    "return (await ctx.db.query('notes').withIndex('by_body', (q) => q.eq('body', 'b'))"
    ".unique()).body": "b",
    "return (await ctx.db.query('notes').filter((q) => q.or(q.eq(q.field('body'), 'a'),"
    " q.not(q.lt(q.field('body'), 'd')))).collect()).map((n) => n.body)": ["a", "d"],
    "const p = await ctx.db.query('notes').paginate({ cursor: null, numItems: 3 });"
    " const r = await ctx.db.query('nothing').collect(); return [p.page.length, p.isDone, r]": [
        3,
        False,
        [],
    ],
    "for await (const n of ctx.db.query('notes')) return n.body": "a",
    "return (await ctx.runQuery('m:f'))": 1,
    "return await ctx.auth.getUserIdentity()": None,
    "return process.env.COLOUR ?? null": None,
    "return [1n, -0, NaN, new Uint8Array([0, 255]).buffer, undefined === null]": [
        {"$integer": "AQAAAAAAAAA="},
        {"$float": "AAAAAAAAAIA="},
        {"$float": "AAAAAAAA+H8="},
        {"$bytes": "AP8="},
        False,
    ],
}


def test_every_way_to_read(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        ids = await push(at)
        one = module("m.js", "export const f = query(async () => 1);")
        await at.push(ADD, one, app={"schema": schema(notes(indexes=("by_body",)))})
        for body, expected in READS.items():
            assert await value(at, body) == expected, body
        found = await value(
            at,
            f"return [await ctx.db.get('{ids[2]}'), await ctx.db.get('notes', "
            f"'{ids[3]}'), ctx.db.normalizeId('notes', '{ids[0]}')]",
        )
        assert [found[0]["body"], found[1]["body"], found[2]] == ["c", "d", ids[0]]
        assert at.deployer.code is not None and set(at.deployer.code.modules) == {"m.js", "n.js"}

    tell(story)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (IMPORT + "export const other = query(async () => 1);", "as `default`"),
        (
            IMPORT + "export default query(() => 1); export const b = query(() => 1);",
            "nothing else",
        ),
        ("export default 5;", "as `default`"),
        ("export default = 5;", "testQuery"),
        ("throw new Error('boom');", "boom"),
    ],
)
def test_what_is_no_query_is_refused(tell: Tell, source: str, words: str) -> None:
    async def story(at: Pushing) -> None:
        with pytest.raises(CupolaError, match=words) as caught:
            await send(at, source)
        assert caught.value.http_status == 400

    tell(story)


def test_it_cannot_stand_in_for_deployed_code(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        await push(at)
        with pytest.raises(CupolaError, match=r"`n\.js` cannot be the path"):
            await send(at, IMPORT + "export default query(() => 1);", "n.js")

    tell(story)


def test_it_cannot_write_and_its_failure_is_told(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        await push(at)
        insert = "JSON.stringify({ table: 'notes', value: { body: 'x' } })"
        result = await run(at, f"return await Convex.asyncSyscall('1.0/insert', {insert})")
        assert result.value is None and "write" in str(result.error_message)
        result = await run(at, "console.log('before'); throw new Error('boom')")
        assert "boom" in str(result.error_message) and b"before" in result.log_lines
        result = await run(at, "for (;;) {}")
        assert "timed out" in str(result.error_message)
        assert await value(at, "return (await ctx.db.query('notes').collect()).length") == 4

    tell(story)
