"""Data that goes as a whole: tables, and all that a component has left when it is taken out.

Documents go in many small transactions, between which others go on. Tables stay, empty: what is
kept of earlier days still says which table it was of. Nothing is drawn along by references.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Final

from cupola.backend import Backend
from cupola.database.system_commits import Work
from cupola.deploy.import_works import deletions
from cupola.deploy.system_calls import commit_all
from cupola.deploy.zip_export import FILES, user_tables
from cupola.errors import BadRequestError
from cupola.system.events import note, of_component
from cupola.values import is_component_path, qualified

JOBS: Final = "_component_scheduled_functions"


async def delete_tables(backend: Backend, names: Sequence[str], component: str) -> None:
    """Empty tables of the app, or of a component.

    Raises:
        BadRequestError: There is no such table; nothing was deleted.
    """
    if not is_component_path(component):
        raise BadRequestError("That is no path of a component.", code="ComponentNotFound")
    tables = {each.name for each in user_tables(backend.node.committer.catalog)}
    for name in names:
        if qualified(component, name) not in tables:
            raise BadRequestError(f"There is no table `{name[:80]}`.", code="TableNotFound")
    works = itertools.chain.from_iterable(deletions(qualified(component, n)) for n in names)
    told = _note(backend, "delete_tables", component, table_names=list(names))
    await commit_all(backend, "_system:deleteTables", itertools.chain(works, [told]))


async def delete_component(backend: Backend, component: str) -> None:
    """Delete the documents, files and scheduled functions of a component that is in use no more.

    Raises:
        BadRequestError: It is in use, or was never there; nothing was deleted.
    """
    _require_unused(backend, component)
    tables = [
        table.name
        for table in user_tables(backend.node.committer.catalog)
        if table.component == component
    ]
    if not component or not tables:
        raise BadRequestError(
            f"There is no component `{component[:80]}` that has left data behind.",
            code="ComponentNotFound",
        )
    names = [*tables, qualified(component, FILES), qualified(component, JOBS)]

    def works() -> Iterator[Work]:
        for work in itertools.chain.from_iterable(deletions(name) for name in names):
            _require_unused(backend, component)  # a push may have come in between
            yield work
        yield _note(backend, "delete_component", component)

    await commit_all(backend, "_system:deleteComponent", works())


def _require_unused(backend: Backend, component: str) -> None:
    code = backend.node.app.javascript
    if code is not None and any(each.path == component for each in code.components):
        raise BadRequestError(
            f"The component `{component}` is in use. Leave it out of convex.config.ts and push; "
            "then its data can be deleted.",
            code="ComponentMustBeUnmounted",
        )


def _note(backend: Backend, action: str, component: str, **metadata: Any) -> Work:
    """The event that tells of it, once it is done."""
    whole = {**of_component(component), **metadata}
    return lambda transaction: note(transaction, backend.limits, action, whole)
