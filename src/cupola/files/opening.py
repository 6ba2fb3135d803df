"""From the address of a file store to the store: in the server, and in workers that stream bytes
past it.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from cupola.errors import ConfigurationError
from cupola.files.local import LocalFiles
from cupola.files.object_store import ObjectStoreFiles
from cupola.files.protocol import FileStore

OBJECT_STORES = ("s3", "gs", "az")


def open_store(address: str) -> FileStore:
    """`address`: a folder (`file:///…`), or a place in an object store (`s3://bucket/folder`,
    `gs://…`, `az://…`).

    Raises:
        ConfigurationError: Nothing is known under this kind of address.
    """
    parts = urlsplit(address)
    if parts.scheme == "file":
        return LocalFiles(Path(unquote(parts.path)))
    if parts.scheme in OBJECT_STORES:
        return ObjectStoreFiles(address)
    raise ConfigurationError(
        f"{address!r} is no place for files: give a folder as file:///path, or s3://bucket/folder.",
        code="BadFileStore",
    )
