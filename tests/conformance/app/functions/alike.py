"""What app_in_typescript/convex/alike.ts is, in Python: a client must not be able to tell."""

import builtins
import logging
from typing import Any, Literal

from cupola import (
    UNSET,
    ActionCtx,
    ApplicationError,
    CupolaError,
    Id,
    Int64,
    MutationCtx,
    QueryCtx,
    Range,
    UnsetType,
    action,
    mutation,
    query,
)

from .schema import Counter, Message


@query
def lines(ctx: QueryCtx, text: str, number: float) -> None:
    print(text)
    print("two", "words", number)
    print("several\nlines")
    print("")


@query
def values_in_lines(ctx: QueryCtx) -> None:
    print(2.0, True, None, [1.5], {"a": 1})


@query
def levels(ctx: QueryCtx) -> None:
    logging.debug("debug")
    logging.info("info")
    logging.warning("warning")
    logging.error("error")


@mutation
def nested_lines(ctx: MutationCtx) -> str:
    """Lines of a nested call stand where it was made."""
    print("before")
    value = ctx.run_query("alike:typed", text="nested", choice="a")
    ctx.run_mutation("messages:send", channel="alike lines", author="n", body="b")
    print("after")
    return str(value["text"])


@action
async def action_lines(ctx: ActionCtx) -> None:
    print("in the action")
    await ctx.run_mutation("messages:send", channel="alike lines", author="n", body="b")


@query
def typed(
    ctx: QueryCtx,
    text: str,
    choice: Literal["a", "b"],
    large: Int64 | UnsetType = UNSET,
    maybe: str | UnsetType | None = UNSET,
    items: builtins.list[float] | UnsetType = UNSET,
    id: Id[Message] | UnsetType = UNSET,
    raw: bytes | UnsetType = UNSET,
) -> dict[str, Any]:
    """Its arguments, to see each refusal."""
    return {"text": text, "choice": choice}


@mutation
def caught(ctx: MutationCtx) -> builtins.list[str]:
    """What a nested call wrote before it failed is taken back; what the caller wrote stays."""
    ctx.db.insert(Message(channel="alike caught", author="a", body="kept"))
    try:
        ctx.run_mutation("errors:application_mutation", channel="alike caught")
    except ApplicationError as error:
        found = str(error.data["code"])
    all = ctx.db.query(Message).with_index("by_channel", channel="alike caught").collect()
    return [found, *(message.body for message in all)]


@mutation
def uncaught(ctx: MutationCtx) -> None:
    """The data of a nested failure reaches the client."""
    ctx.run_mutation("errors:application_mutation", channel="alike uncaught")


@mutation
def misuse(ctx: MutationCtx, how: str) -> Any:
    """The database refuses; the text is what the function can catch."""
    id = ctx.db.insert(Message(channel="alike misuse", author="a", body="b"))
    counter = ctx.db.insert(Counter(name="alike misuse", value=1))
    match how:
        case "delete twice":
            ctx.db.delete(id)
            ctx.db.delete(id)
        case "patch deleted":
            ctx.db.delete(id)
            ctx.db.patch(id, {"body": "c"})
        case "replace deleted":
            ctx.db.delete(id)
            ctx.db.replace(id, {"channel": "c", "author": "a", "body": "b"})
        case "wrong field":
            ctx.db.insert("messages", {"channel": "c", "author": "a", "body": 7})
        case "missing field":
            ctx.db.insert("messages", {"channel": "c", "author": "a"})
        case "extra field":
            ctx.db.patch(id, {"extra": 1})
        case "not unique":
            ctx.db.insert(Counter(name="alike misuse", value=1))
            ctx.db.query(Counter).with_index("by_name", name="alike misuse").unique()
        case "no index":
            ctx.db.query("messages").with_index("by_nothing", channel="c").collect()
        case "no table":
            return ctx.db.query("nowhere").collect()
        case "bad id":
            return ctx.db.get("no id at all")
        case "id of another table":
            return ctx.db.normalize_id("messages", counter)
        case "not a function":
            ctx.run_query("alike:nowhere")
        case "wrong kind":
            ctx.run_query("counters:increment", name="a")
        case "bad argument":
            ctx.run_query("counters:get", name=7)
    return "allowed"


@mutation
def catch_misuse(ctx: MutationCtx, how: str) -> str:
    """What a function can catch of a failure in another one."""
    try:
        ctx.run_mutation("alike:misuse", how=how)
    except CupolaError:
        return "caught"
    return "nothing to catch"


@mutation
def seed(ctx: MutationCtx) -> None:
    for number in range(6):
        ctx.db.insert(Counter(name="alike" if number % 2 else "alike too", value=number))


@query
def ranges(ctx: QueryCtx) -> dict[str, Any]:
    def values(query: Any) -> builtins.list[int]:
        return [counter.value for counter in query]

    counters = ctx.db.query(Counter)
    one = counters.with_index("by_name", name="alike")
    return {
        "equal": values(one.collect()),
        "descending": values(one.order("desc").take(2)),
        "between": values(
            counters.with_index("by_name", name=Range(gte="alike", lt="alike tp")).collect()
        ),
        "filtered": values(one.filter(lambda counter: counter.value > 1).collect()),
        "first": one.first().value,  # type: ignore[union-attr]
        "nobody": counters.with_index("by_name", name="alike nobody").first(),
        "absent": ctx.db.normalize_id("counters", "nonsense"),
    }


@query
def random_and_time(ctx: QueryCtx) -> builtins.list[bool]:
    """Both are the same throughout a call."""
    import time

    return [time.time() == time.time(), time.time() > 1_700_000_000]


@query
def fails_with(ctx: QueryCtx, data: Any) -> None:
    raise ApplicationError(data)
