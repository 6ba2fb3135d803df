"""A ZIP laid out as the reference system's exporter lays it out, and ours beside it.

No ZIP that the reference has made was at hand when this was written: its layout is rebuilt here by
hand from the public sources and tests of its exporter (get-convex/convex-backend, crates/exports),
entry by entry: streamed with sizes behind the data, all deflated, readable by everyone, `_tables`
first, files last.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from cupola.database.catalog import STORAGE
from cupola.values import encode_id, table_number_of

from .conftest import Pushing
from .test_file_imports import exported, files_of
from .test_imports import all_of, app, insert, load

Tell = Callable[..., None]

UNIFORM = '"uniform"\n'
USER = encode_id(10001, bytes(range(16)))
MESSAGE = encode_id(10002, bytes(range(16, 32)))
PICTURE = encode_id(STORAGE, bytes(range(32, 48)))
PLAIN = encode_id(STORAGE, bytes(range(48, 64)))
BYTES = {PICTURE: b"\xff\xd8 a picture", PLAIN: b"no type"}


def line(**fields: Any) -> str:
    return json.dumps(fields, separators=(",", ":")) + "\n"


def described(storage_id: str, **more: str) -> str:
    data = BYTES[storage_id]
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    return line(
        _id=storage_id,
        _creationTime=1700000000000.25,
        sha256=digest,
        size=len(data),
        **more,
        internalId="0b1c7b6e-6c5f-4c5e-9a0e-0d6f1f6c8f11",
    )


USERS = line(_creationTime=1700000000000.5, _id=USER, name="Ada", visits=3, weight=3.5)
MESSAGES = line(
    _creationTime=1700000000001.0,
    _id=MESSAGE,
    author=USER,
    body="hé",
    data={"$bytes": "AP8="},
    picture=PICTURE,
    odd={"$float": "AAAAAAAA8H8="},
    tags=[1, 2.0, None, {"deep": True}],
)
SNAPSHOT: Mapping[str, str | bytes] = {
    "README.md": "# What this is\n",
    "_tables/documents.jsonl": (
        line(name="users", id=10001) + line(name="messages", id=10002) + line(name="bare", id=10003)
    ),
    "bare/documents.jsonl": "",
    "bare/generated_schema.jsonl": UNIFORM,
    "users/documents.jsonl": USERS,
    "users/generated_schema.jsonl": UNIFORM,
    "messages/documents.jsonl": MESSAGES,
    "messages/generated_schema.jsonl": UNIFORM,
    "_storage/documents.jsonl": described(PICTURE, contentType="image/jpeg") + described(PLAIN),
    f"_storage/{PICTURE}.jpeg": BYTES[PICTURE],
    f"_storage/{PLAIN}": BYTES[PLAIN],
}


class Stream(io.RawIOBase):
    """What can only be written on, so that sizes come behind the data."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.data += data
        return len(data)


def zipped(entries: Mapping[str, str | bytes]) -> bytes:
    stream = Stream()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return bytes(stream.data)


def test_a_snapshot_of_the_reference_comes_in_losslessly(tell: Tell) -> None:
    """Ids, creation times, int64 beside float64, bytes, odd floats, files and an empty table."""

    async def story(at: Pushing) -> None:
        state = await load(at, zipped(SNAPSHOT), "zip", None, "replaceAll")
        assert state["state"] == "completed", state
        assert await all_of(at, "users") == [
            {
                "_creationTime": 1700000000000.5,
                "_id": USER,
                "name": "Ada",
                "visits": {"$integer": "AwAAAAAAAAA="},
                "weight": 3.5,
            }
        ]
        [message] = await all_of(at, "messages")
        assert message["data"] == {"$bytes": "AP8="}
        assert message["tags"] == [{"$integer": "AQAAAAAAAAA="}, 2.0, None, {"deep": True}]
        assert message["odd"] == {"$float": "AAAAAAAA8H8="}
        files = {file["_id"]: file for file in await files_of(at)}
        assert files[PICTURE]["contentType"] == "image/jpeg"
        assert {file["_creationTime"] for file in files.values()} == {1700000000000.25}
        assert table_number_of(await insert(at, "bare", n=1)) == 10003

    tell(story, app())


def test_what_leaves_again_has_the_same_layout(tell: Tell) -> None:
    """The same entries in the same order with the same lines; of files, the extension may differ
    and `internalId`, which nothing needs, is not kept.
    """

    async def story(at: Pushing) -> None:
        assert (await load(at, zipped(SNAPSHOT), "zip"))["state"] == "completed"
        with zipfile.ZipFile(await exported(at)) as archive:
            ours = {name: archive.read(name) for name in archive.namelist()}
            modes = {info.external_attr >> 16 & 0o777 for info in archive.infolist()}
        assert [name.replace(".jpg", ".jpeg") for name in ours] == list(SNAPSHOT)
        assert modes == {0o644}
        for name in SNAPSHOT:
            data = SNAPSHOT[name]
            found = ours[name.replace(".jpeg", ".jpg")]
            if name.startswith("_storage/doc"):
                expected = [json.loads(each) for each in str(data).splitlines()]
                for document in expected:
                    del document["internalId"]
                assert [json.loads(each) for each in found.splitlines()] == expected
            elif name.endswith("documents.jsonl"):
                assert list(map(json.loads, found.splitlines())) == list(
                    map(json.loads, str(data).splitlines())
                )
                assert found.decode() == data or name.startswith("messages")  # é is not escaped
            elif name != "README.md":
                assert found == (data.encode() if isinstance(data, str) else data)

    tell(story, app())


@pytest.mark.parametrize(
    "hints",
    [
        r'"{\"_creationTime\": normalfloat64, \"_id\": \"x\", \"n\": int64}"' + "\n",
        r'"{\"data\": bytes}"' + "\n",
        r'"{\"n\": array<field_name>}"' + "\n" + '{"x": {"n": ["infer"]}}\n',
    ],
)
def test_type_hints_of_old_exports_are_refused_where_they_are_needed(
    tell: Tell, hints: str
) -> None:
    """Plain JSON would come in as something else."""

    async def story(at: Pushing) -> None:
        old = {"users/documents.jsonl": '{"n": "1"}\n', "users/generated_schema.jsonl": hints}
        state = await load(at, zipped(old), "zip")
        assert state["state"] == "failed"
        assert "old version of Convex" in state["error_message"]

    tell(story, app())


def test_old_exports_of_plain_values_come_in(tell: Tell) -> None:
    async def story(at: Pushing) -> None:
        hints = r'"{\"_id\": \"x\", \"bytes\": normalfloat64}"' + "\n"
        old = {"users/documents.jsonl": '{"bytes": 1}\n', "users/generated_schema.jsonl": hints}
        assert (await load(at, zipped(old), "zip"))["state"] == "completed"
        assert [row["bytes"] for row in await all_of(at, "users")] == [1.0]

    tell(story, app())
