"""What `jobs.ts` does, in Python."""

from typing import Any

from cupola import ActionCtx, MutationCtx, QueryCtx, action, internal_mutation, mutation, query


@internal_mutation
def note(ctx: MutationCtx, text: str) -> None:
    if text == "bad":
        raise ValueError("a bad note")
    identity = ctx.auth.get_user_identity()
    user = None if identity is None else str(identity["subject"])
    ctx.db.insert("notes", {"text": text, "user": user})


@mutation
def later(ctx: MutationCtx, text: str, ms: float, fails: bool) -> str:
    job = ctx.scheduler.run_after(ms / 1000, note, text=text)
    if fails:
        raise ValueError("nothing of this is kept")
    return job


@action
async def laterInAction(ctx: ActionCtx, text: str) -> None:  # as in TypeScript
    await ctx.scheduler.run_after(0, note, text=text)
    raise ValueError("what was scheduled stays")


@mutation
def many(ctx: MutationCtx, count: float) -> None:
    for _ in range(int(count)):
        ctx.scheduler.run_after(3600, note, text="many")


@mutation
def cancel(ctx: MutationCtx, id: str) -> None:
    ctx.scheduler.cancel(id)


@query
def job(ctx: QueryCtx, id: str) -> Any:
    return ctx.db.system.get(id)


@query
def texts(ctx: QueryCtx) -> list[str]:
    return [each["text"] for each in ctx.db.query("notes").collect()]


@query
def users(ctx: QueryCtx) -> list[str | None]:
    return [each["user"] for each in ctx.db.query("notes").collect()]


@query
def who(ctx: QueryCtx) -> str | None:
    identity = ctx.auth.get_user_identity()
    return None if identity is None else str(identity["subject"])
