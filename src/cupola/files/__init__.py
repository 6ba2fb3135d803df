"""The bytes of stored files, apart from the database, which holds what is known about them.

A file's bytes are named by the id of its document in `_storage`. They are durable before that
document commits and removed after its deletion is durable; so a crash leaves at most bytes that no
document names, and those are swept.
"""

from cupola.files.links import FileLinks
from cupola.files.local import LocalFiles
from cupola.files.memory import MemoryFiles
from cupola.files.protocol import FileStore, Upload
from cupola.files.receiving import ReceivedFile, receive

__all__ = [
    "FileLinks",
    "FileStore",
    "LocalFiles",
    "MemoryFiles",
    "ReceivedFile",
    "Upload",
    "receive",
]
