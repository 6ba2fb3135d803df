"""`ctx.storage`: files are documents of the transaction; their bytes come before and go after."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from cupola.errors import ApplicationError, CupolaError
from cupola.testing import Deployment
from cupola.values import encode

APP = """
from collections.abc import Sequence
from typing import Any
from cupola import (
    ActionCtx, ApplicationError, FileMetadata, Id, MutationCtx, QueryCtx, StorageId, Table,
    action, mutation, query,
)

class Picture(Table, name="pictures"):
    file: StorageId

@action
async def store(ctx: ActionCtx, data: bytes, kind: str | None = None) -> StorageId:
    return await ctx.storage.store(data, content_type=kind)

@action
async def load(ctx: ActionCtx, file: StorageId) -> bytes | None:
    found = await ctx.storage.get(file)
    return None if found is None else await found.read()

@action
async def kind(ctx: ActionCtx, file: StorageId) -> str | None:
    found = await ctx.storage.get(file)
    return found and found.content_type

@action
async def remove_in_action(ctx: ActionCtx, file: StorageId) -> str | None:
    await ctx.storage.delete(file)
    return await ctx.storage.get_url(file)

@action
async def upload_url_of_action(ctx: ActionCtx) -> str:
    return await ctx.storage.generate_upload_url()

@query
def files_of_pictures(ctx: QueryCtx) -> list[str | None]:
    return [picture.file for picture in ctx.db.query(Picture).collect()]

@mutation
def upload_url(ctx: MutationCtx) -> str:
    return ctx.storage.generate_upload_url()

@query
def url(ctx: QueryCtx, file: StorageId) -> str | None:
    return ctx.storage.get_url(file)

@query
def about(ctx: QueryCtx, file: StorageId) -> FileMetadata | None:
    return ctx.storage.get_metadata(file)

@query
def document(ctx: QueryCtx, file: StorageId) -> Any:
    return ctx.db.get(file)

@query
def sizes(ctx: QueryCtx) -> Sequence[int]:
    return [int(file["size"]) for file in ctx.db.query("_storage").collect()]

@mutation
def keep(ctx: MutationCtx, file: StorageId) -> Id[Picture]:
    return ctx.db.insert(Picture(file=file))

@mutation
def remove(ctx: MutationCtx, file: StorageId) -> str | None:
    ctx.storage.delete(file)
    return ctx.storage.get_url(file)

@mutation
def remove_and_fail(ctx: MutationCtx, file: StorageId) -> None:
    ctx.storage.delete(file)
    raise ApplicationError("never mind")

@mutation
def write(ctx: MutationCtx, file: StorageId) -> None:
    ctx.db.patch(file, size=1)
"""


@pytest.fixture
def app(deploy: Callable[..., Deployment]) -> Deployment:
    return deploy(files=APP)


def stored_names(app: Deployment) -> set[str]:
    store = app.backend.files.store

    async def names() -> set[str]:
        await app.backend.files.settle()
        return {name async for some in store.names() for name in some}

    return asyncio.run(names())


def test_bytes_make_the_round_trip_through_an_action(app: Deployment) -> None:
    file = app.action("files:store", data=b"hello", kind="text/plain")
    assert app.action("files:load", file=file) == b"hello"
    assert app.action("files:kind", file=file) == "text/plain"


def test_what_is_known_of_a_file_is_a_document(app: Deployment) -> None:
    """The document has the digest in base64, as the reference's; the look-up in hexadecimal."""
    file = app.action("files:store", data=b"hello", kind="text/plain")
    digest = hashlib.sha256(b"hello")
    assert app.query("files:about", file=file) == {
        "storageId": file,
        "sha256": digest.hexdigest(),
        "size": 5,
        "contentType": "text/plain",
    }
    document = app.query("files:document", file=file)
    assert document.keys() == {"_id", "_creationTime", "sha256", "size", "contentType"}
    assert document["sha256"] == "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="
    assert document["size"] == 5.0


def test_a_file_without_a_type_has_no_such_field(app: Deployment) -> None:
    file = app.action("files:store", data=b"")
    assert app.query("files:about", file=file) == {
        "storageId": file,
        "sha256": hashlib.sha256(b"").hexdigest(),
        "size": 0,
    }


def test_ids_of_files_are_a_type_like_others(app: Deployment) -> None:
    file = app.action("files:store", data=b"x")
    picture = app.mutation("files:keep", file=file)
    with pytest.raises(CupolaError, match="ArgumentValidationError"):
        app.query("files:url", file=picture)


def test_a_list_of_files_is_live(app: Deployment) -> None:
    """A file appears when it is stored, and leaves when it is deleted."""
    client = app.connect()
    sizes = client.subscribe("files:sizes")
    assert sizes.value == []
    file = app.action("files:store", data=b"four")
    assert sizes.value == [4]
    app.mutation("files:remove", file=file)
    assert sizes.value == []


def test_a_deleted_file_is_gone_at_once_and_its_bytes_after_the_commit(app: Deployment) -> None:
    file = app.action("files:store", data=b"x")
    assert stored_names(app) == {file}
    assert app.mutation("files:remove", file=file) is None
    assert app.query("files:url", file=file) is None
    assert app.query("files:about", file=file) is None
    assert app.action("files:load", file=file) is None
    assert stored_names(app) == set()


def test_a_deletion_that_does_not_commit_keeps_the_file(app: Deployment) -> None:
    file = app.action("files:store", data=b"x")
    with pytest.raises(ApplicationError):
        app.mutation("files:remove_and_fail", file=file)
    assert stored_names(app) == {file}
    assert app.action("files:load", file=file) == b"x"


def test_an_action_deletes_in_a_transaction_of_its_own(app: Deployment) -> None:
    file = app.action("files:store", data=b"x")
    assert app.action("files:remove_in_action", file=file) is None
    assert stored_names(app) == set()


def test_deleting_a_file_twice_is_an_error(app: Deployment) -> None:
    file = app.action("files:store", data=b"x")
    app.mutation("files:remove", file=file)
    with pytest.raises(CupolaError, match="does not exist"):
        app.mutation("files:remove", file=file)


@pytest.mark.parametrize("rule", ["restrict", "cascade", "set-null"])
def test_a_reference_to_a_file_is_kept(deploy: Callable[..., Deployment], rule: str) -> None:
    """As one to a document that an app writes itself."""
    declared = f"""(
        Table, name="pictures", indexes={{"by_file": ["file"]}}, references={{"file": "{rule}"}}
    ):
    file: StorageId | None = None
"""
    source = APP.replace('(Table, name="pictures"):\n    file: StorageId\n', declared)
    assert source != APP
    app = deploy(files=source)
    file = app.action("files:store", data=b"a picture")
    app.mutation("files:keep", file=file)
    if rule == "restrict":
        with pytest.raises(CupolaError, match="cannot be deleted"):
            app.mutation("files:remove", file=file)
        assert app.query("files:url", file=file) is not None
    else:
        assert app.mutation("files:remove", file=file) is None
        kept = [] if rule == "cascade" else [None]
        assert app.query("files:files_of_pictures") == kept


def test_functions_cannot_write_what_is_known_of_a_file(app: Deployment) -> None:
    file = app.action("files:store", data=b"x")
    with pytest.raises(CupolaError, match="system table"):
        app.mutation("files:write", file=file)


def test_upload_urls_are_made_by_mutations_and_actions(app: Deployment) -> None:
    for url in (app.mutation("files:upload_url"), app.action("files:upload_url_of_action")):
        assert urlsplit(url).path == "/api/storage/upload"
        token = url.partition("token=")[2]
        app.backend.node.links.check_upload_token(token, app.clock.now_ns() + 3599 * 10**9)


def test_a_file_that_is_too_large_is_refused(deploy: Callable[..., Deployment]) -> None:
    from cupola.limits import Limits

    app = deploy({"limits": Limits(file_size_bytes_max=3)}, files=APP)
    with pytest.raises(CupolaError, match="file_size_bytes_max"):
        app.action("files:store", data=b"four")
    assert stored_names(app) == set()
    assert app.query("files:sizes") == []


# ------------------------------------------------------------------------------- after a crash


def sweep(app: Deployment) -> int:
    return asyncio.run(app.backend.files.sweep())


def put(app: Deployment, name: str) -> None:
    """Bytes that are durable, and no document: as a crash leaves them."""

    async def story() -> None:
        upload = await app.backend.files.store.begin(name)
        await upload.write(b"lost")
        await upload.finish()

    asyncio.run(story())


def test_bytes_without_a_document_are_swept(app: Deployment) -> None:
    file = app.action("files:store", data=b"kept")
    lost = app.backend.files.begin()
    put(app, lost)
    assert sweep(app) == 0, "it is still on its way"
    app.backend.files._arriving.clear()  # as after a restart
    assert sweep(app) == 1
    assert stored_names(app) == {file}


def test_what_comes_back_while_others_are_swept_is_kept(
    app: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import may bring a file under the id it had before."""
    app.action("files:store", data=b"kept")
    files = app.backend.files
    lost = {files.begin(), files.begin()}
    for name in lost:
        put(app, name)
    files._arriving.clear()  # as after a restart
    delete, brought_back = files.store.delete, []

    async def slowly(name: str) -> None:
        if not brought_back:
            (other,) = lost - {name}
            brought_back.append(other)
            files._arriving.add(other)
            fields = {"storageId": other, "sha256": bytes(32), "size": 4, "contentType": None}
            await files.ask("add", fields)
            files.end(other)
        await delete(name)

    async def story() -> int:
        with app._turning():
            return await files.sweep()

    monkeypatch.setattr(files.store, "delete", slowly)
    assert asyncio.run(story()) == 1
    assert set(brought_back) <= stored_names(app)
    assert app.query("files:sizes") == [4, 4]


def test_nothing_is_swept_if_the_database_knows_no_file_at_all(app: Deployment) -> None:
    """A folder of files beside an empty database is a mistake to be told, not to be made worse."""
    lost = app.backend.files.begin()
    put(app, lost)
    app.backend.files._arriving.clear()
    assert sweep(app) == 0
    assert stored_names(app) == {lost}


def test_whoever_ends_before_the_document_commits_does_not_take_its_bytes(app: Deployment) -> None:
    """A worker may die between asking for the commit and hearing of it."""
    files = app.backend.files
    name = files.begin()
    put(app, name)
    fields = {"storageId": name, "sha256": bytes(32), "size": 4, "contentType": None}
    files.submit("add", encode(fields), lambda result: None)
    files.end(name)
    app.settle()
    assert stored_names(app) == {name}
    assert app.query("files:sizes") == [4]


def test_a_document_that_does_not_commit_leaves_no_bytes(app: Deployment) -> None:
    files = app.backend.files
    name = files.begin()
    put(app, name)
    fields = {"storageId": name, "sha256": "no digest", "size": 4, "contentType": None}
    results: list[object] = []
    files.submit("add", encode(fields), results.append)
    files.end(name)
    app.settle()
    assert len(results) == 1
    assert stored_names(app) == set()


def test_nothing_becomes_a_file_that_nobody_stored(app: Deployment) -> None:
    fields = {"storageId": "x", "sha256": bytes(32), "size": 4, "contentType": None}
    with pytest.raises(CupolaError, match="Nothing was stored"):
        app.backend.files.submit("add", encode(fields), lambda result: None)
