"""Programs as data: what a transaction does is decided by a test, and reported as what it read."""

from typing import Any

from cupola import ApplicationError, MutationCtx, QueryCtx, Range, mutation, query

from .schema import Row


@mutation
def run(ctx: MutationCtx, ops: list[Any], fails: bool = False) -> list[Any]:
    """Returns: what the steps read, in order. A program that fails tells it in its error."""
    reads: list[Any] = []
    for op in ops:
        _step(ctx, op, reads)
    if fails:
        raise ApplicationError(reads)
    return reads


@query
def look(ctx: QueryCtx, low: int, high: int) -> list[Any]:
    return [[row.name, row.value] for row in _range(ctx, low, high)]


def _range(ctx: QueryCtx, low: float, high: float) -> Any:
    return ctx.db.query(Row).with_index("by_value", value=Range(gte=low, lt=high))


def _named(ctx: QueryCtx, name: str) -> Row | None:
    return ctx.db.query(Row).with_index("by_name", name=name).unique()


def _step(ctx: MutationCtx, op: dict[str, Any], reads: list[Any]) -> None:
    match op["op"]:
        case "get":
            found = _named(ctx, op["name"])
            reads.append(None if found is None else ctx.db.get(found._id).value)
        case "peek":
            seen = ctx.db.get(op["id"])
            reads.append(None if seen is None else seen.value)
        case "range":
            rows = _range(ctx, op["low"], op["high"]).order(op["order"]).take(int(op["take"]))
            reads.append([[row.name, row.value] for row in rows])
        case "count":
            reads.append(_range(ctx, op["low"], op["high"]).count())
        case "insert":
            ctx.db.insert(Row(name=op["name"], value=int(op["value"])))
        case "patch":
            found = _named(ctx, op["name"])
            if found is not None:
                ctx.db.patch(found._id, value=int(op["value"]))
        case "delete":
            found = _named(ctx, op["name"])
            if found is not None:
                ctx.db.delete(found._id)
        case "add_up":  # write skew: reads much, writes little
            total = sum(row.value for row in _range(ctx, op["low"], op["high"]))
            found = _named(ctx, op["name"])
            if found is not None:
                ctx.db.patch(found._id, value=total % 7)
        case "each":  # writes, and sub-transactions, while a scan is under way
            for row in _range(ctx, op["low"], op["high"]):
                reads.append(row.name)
                _nested(ctx, op, reads)
        case "nested":
            _nested(ctx, op, reads)


def _nested(ctx: MutationCtx, op: dict[str, Any], reads: list[Any]) -> None:
    try:
        reads.append(ctx.run_mutation(run, ops=op["ops"], fails=op["fails"]))
    except ApplicationError as error:
        reads.append(error.data)
