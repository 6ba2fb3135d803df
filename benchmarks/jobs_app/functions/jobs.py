"""What `benchmarks.jobs` schedules."""

from cupola import ActionCtx, MutationCtx, internal_action, internal_mutation, mutation


@mutation
def schedule(ctx: MutationCtx, count: int, delay: float, function: str) -> None:
    for number in range(count):
        ctx.scheduler.run_after(delay, function, number=number)


@internal_mutation
def run(ctx: MutationCtx, number: int) -> None:
    ctx.db.insert("ran", {"number": number})


@internal_action
async def act(ctx: ActionCtx, number: int) -> None:
    pass
