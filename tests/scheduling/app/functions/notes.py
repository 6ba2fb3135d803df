"""Functions that are scheduled, and those that schedule."""

from collections.abc import Sequence

from cupola import (
    ActionCtx,
    MutationCtx,
    QueryCtx,
    action,
    internal_action,
    internal_mutation,
    mutation,
    query,
)

from .schema import Note


@query
def texts(ctx: QueryCtx) -> Sequence[str]:
    return [note.text for note in ctx.db.query(Note)]


@query
def jobs(ctx: QueryCtx) -> Sequence[dict[str, object]]:
    return ctx.db.system.query("_scheduled_functions").collect()


@query
def job(ctx: QueryCtx, id: str) -> dict[str, object] | None:
    return ctx.db.system.get(id)


@internal_mutation
def write(ctx: MutationCtx, text: str) -> None:
    ctx.db.insert(Note(text=text))


@internal_mutation
def write_who(ctx: MutationCtx) -> None:
    ctx.db.insert(Note(text=repr(ctx.auth.get_user_identity())))


@internal_mutation
def fail(ctx: MutationCtx, text: str) -> None:
    ctx.db.insert(Note(text=text))
    raise ValueError("it does not work")


@internal_mutation
def write_own_state(ctx: MutationCtx) -> None:
    (document,) = ctx.db.system.query("_scheduled_functions").collect()
    ctx.db.insert(Note(text=document["state"]["kind"]))


@internal_mutation
def cancel_itself(ctx: MutationCtx) -> None:
    (document,) = ctx.db.system.query("_scheduled_functions").collect()
    ctx.scheduler.cancel(document["_id"])


@mutation
def later(ctx: MutationCtx, delay: float, function: str, args: dict[str, object]) -> str:
    return ctx.scheduler.run_after(delay, function, **args)


@mutation
def at(ctx: MutationCtx, time: float, text: str) -> str:
    return ctx.scheduler.run_at(time, write, text=text)


@mutation
def cancel(ctx: MutationCtx, id: str) -> None:
    ctx.scheduler.cancel(id)


@mutation
def schedule_and_fail(ctx: MutationCtx) -> None:
    ctx.scheduler.run_after(0, write, text="never")
    raise ValueError("no")


@mutation
def nested(ctx: MutationCtx) -> None:
    try:
        ctx.run_mutation(schedule_and_fail)
    except ValueError:
        ctx.scheduler.run_after(0, write, text="caught")


@mutation
def many(ctx: MutationCtx, count: int) -> None:
    for number in range(count):
        ctx.scheduler.run_after(0, write, text=str(number))


@mutation
def large(ctx: MutationCtx, count: int) -> None:
    for _ in range(count):
        ctx.scheduler.run_after(0, write, text="x" * 1_000_000)


@internal_mutation
def again(ctx: MutationCtx, left: int) -> None:
    ctx.db.insert(Note(text=f"{left} left"))
    if left:
        ctx.scheduler.run_after(60, again, left=left - 1)


@internal_mutation
def forever(ctx: MutationCtx) -> None:
    ctx.scheduler.run_after(0, forever)


@action
async def act(ctx: ActionCtx, text: str) -> None:
    await ctx.run_mutation(write, text=text)


@internal_action
async def act_and_fail(ctx: ActionCtx, text: str) -> None:
    await ctx.scheduler.run_after(0, write, text=text)
    raise ValueError("the action does not work")


@action
async def act_later(ctx: ActionCtx, delay: float, text: str) -> str:
    return await ctx.scheduler.run_after(delay, write, text=text)


@internal_action
async def act_after_cancel(ctx: ActionCtx, own: list[str]) -> None:
    """Its job is canceled while it runs; what it schedules then never runs."""
    (running,) = await ctx.run_query(jobs)
    await ctx.scheduler.cancel(running["_id"])
    await ctx.scheduler.run_after(0, write, text="by the action")
    await ctx.run_mutation(many, count=1)
