"""What dashboards and the command line see of stored files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cupola.testing import Deployment

FILES = """
    @action
    async def store(ctx: ActionCtx, text: str) -> StorageId:
        return await ctx.storage.store(text.encode(), content_type="text/plain")
"""
PAGE = {"numItems": 2, "cursor": None}


@pytest.fixture
def app(write_app: Callable[..., Path]) -> Iterator[Deployment]:
    source = "from cupola import ActionCtx, StorageId, action\n" + FILES.replace("\n    ", "\n")
    with Deployment(write_app(files=source)) as deployment:
        yield deployment


def ask(app: Deployment, name: str, /, **args: Any) -> Any:
    return app.as_admin().query(f"_system/frontend/fileStorageV2:{name}", **args)


def tell(app: Deployment, name: str, /, **args: Any) -> Any:
    return app.as_admin().mutation(f"_system/frontend/fileStorageV2:{name}", **args)


def stored(app: Deployment, *texts: str) -> list[str]:
    ids = []
    for text in texts:
        app.clock.advance(1.0)
        ids.append(app.action("files:store", text=text))
    return ids


def test_pages_show_the_newest_files_first_with_their_urls(app: Deployment) -> None:
    first, second, third = stored(app, "1", "22", "333")
    page = ask(app, "fileMetadata", paginationOpts=PAGE)
    assert [file["_id"] for file in page["page"]] == [third, second]
    assert "/api/storage/" in page["page"][0]["url"]
    rest = ask(app, "fileMetadata", paginationOpts={**PAGE, "cursor": page["continueCursor"]})
    assert [file["_id"] for file in rest["page"]] == [first]
    assert ask(app, "numFiles") == 3


def test_files_of_a_time_can_be_asked_for(app: Deployment) -> None:
    _, second, _ = stored(app, "1", "22", "333")
    at = ask(app, "getFile", storageId=second)["_creationTime"]
    filters = {"minCreationTime": at, "maxCreationTime": at}
    page = ask(app, "fileMetadata", paginationOpts=PAGE, filters=filters)
    assert [file["_id"] for file in page["page"]] == [second]


def test_a_dashboard_deletes_files(app: Deployment) -> None:
    first, second, third = stored(app, "1", "22", "333")
    tell(app, "deleteFile", storageId=first)
    tell(app, "deleteFiles", storageIds=[second, third])
    assert ask(app, "numFiles") == 0
    assert ask(app, "getFile", storageId=first) is None


def test_the_command_line_lists_files_as_a_table(app: Deployment) -> None:
    (file,) = stored(app, "1")
    path = "_system/cli/tableData:default"
    page = app.as_admin().query(path, table="_storage", order="asc", paginationOpts=PAGE)
    assert [each["_id"] for each in page["page"]] == [file]
    hidden = app.as_admin().query(path, table="_modules", order="asc", paginationOpts=PAGE)
    assert hidden["page"] == []
