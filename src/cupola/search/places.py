"""Where the files of indexes are."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cupola.database.search_indexes import SearchIndex

TEXT_FORMAT: Final = 1
"""Files of another format are not looked at: the index is built anew."""


def text_folder(data_path: str) -> Path:
    """Beside a database file, where the files of its text indexes are."""
    return Path(data_path + "-text")


def text_files_of(root: Path, index: SearchIndex) -> Path:
    """Where the files of a text index are. No other one ever has the same place."""
    return root / f"{index.document_id}-{index.table}-{TEXT_FORMAT}"
