"""`ctx.storage` in TypeScript: the same files as Python's."""

import asyncio
import hashlib
from urllib.parse import urlsplit

import pytest

from cupola.files import LocalFiles

pytestmark = pytest.mark.node


@pytest.fixture
def files(server, tmp_path):
    """The module's deployment, with its files in a folder that its workers reach too."""
    server.backend.files.store = LocalFiles(tmp_path)
    server.run(server.backend.actions.close())  # workers know the folder from their start
    return server


def names(server) -> set[str]:
    async def all_names() -> set[str]:
        await asyncio.sleep(0)
        return {name async for some in server.backend.files.store.names() for name in some}

    return server.run(all_names())


@pytest.mark.parametrize("size", [0, 10, 1_000_000])
def test_a_blob_makes_the_round_trip_through_an_action(files, size: int) -> None:
    found = files.action("files:roundTrip", size=size)
    data = bytes(at % 251 for at in range(size))
    assert found["same"]
    assert found["type"] == "a/b"
    assert urlsplit(found["url"]).path.startswith("/api/storage/")
    assert found["about"] == {
        "storageId": found["id"],
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": size,
        "contentType": "a/b",
    }
    assert found["id"] in names(files)


def test_queries_and_mutations_see_files(files) -> None:
    found = files.action("files:roundTrip", size=5)
    assert files.query("files:url", id=found["id"]) == found["url"]
    about = files.query("files:about", id=found["id"])
    assert about["metadata"] == found["about"]
    assert about["document"].keys() == {"_id", "_creationTime", "sha256", "size", "contentType"}
    assert found["id"] in {file["_id"] for file in files.query("files:all")}


def test_deleting_is_part_of_the_mutation(files) -> None:
    id = files.action("files:roundTrip", size=5)["id"]
    assert files.mutation("files:remove", id=id) is None
    assert files.query("files:url", id=id) is None
    assert "does not exist" in files.failure("mutation", "files:remove", id=id)


def test_an_action_deletes_too(files) -> None:
    id = files.action("files:roundTrip", size=5)["id"]
    assert files.action("files:removeInAction", id=id) is None
    assert files.query("files:about", id=id) == {"metadata": None, "document": None}


def test_a_digest_that_is_given_is_checked(files) -> None:
    assert files.action("files:withDigest", sha256=hashlib.sha256(b"hello").hexdigest())
    failure = files.failure("action", "files:withDigest", sha256=hashlib.sha256(b"x").hexdigest())
    assert "SHA-256" in failure


def test_what_an_action_does_not_wait_for_is_no_file(files) -> None:
    before = {file["_id"] for file in files.query("files:all")}
    assert files.action("files:leavesOpen") is None
    assert {file["_id"] for file in files.query("files:all")} == before


def test_what_an_action_does_not_wait_for_leaves_nothing_behind(files) -> None:
    """Else no file could be stored any more after some hundreds of such actions."""

    async def all_has_gone() -> None:
        store = files.backend.files.store
        while files.backend.files._arriving or before != {
            name async for some in store.names() for name in some
        }:
            await asyncio.sleep(0.01)

    before = names(files)
    for _ in range(3):
        files.action("files:leavesOpen")
        with pytest.raises(AssertionError, match="left"):
            files.action("files:leavesOpenAndFails")
    files.run(all_has_gone())


def test_an_upload_url_is_one_of_this_deployment(files) -> None:
    url = files.mutation("files:uploadUrl")
    node = files.backend.node
    node.links.check_upload_token(url.partition("token=")[2], node.clock.now_ns())
