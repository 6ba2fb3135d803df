"""Ids that occur twice are found among more than memory may hold."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from cupola.deploy import import_ids
from cupola.deploy.import_ids import DistinctIds
from cupola.deploy.import_rows import ImportRefused


def shuffled(count: int) -> list[str]:
    ids = [f"id{number}" for number in range(count)]
    random.Random(1).shuffle(ids)
    return ids


@pytest.mark.parametrize("count", [0, 9, 10, 11, 137])
def test_distinct_ids_pass_and_leave_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(import_ids, "_RUNS_MAX", 4)
    ids = DistinctIds(tmp_path, in_memory_max=10)
    for each in shuffled(count):
        ids.add(each)
        assert len(list(tmp_path.iterdir())) <= 4
    ids.finish()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("apart", [1, 9, 10, 50, 99])
def test_one_that_occurs_twice_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apart: int
) -> None:
    monkeypatch.setattr(import_ids, "_RUNS_MAX", 4)
    found = shuffled(100)
    found.insert(apart, found[0])
    ids = DistinctIds(tmp_path, in_memory_max=10)
    with pytest.raises(ImportRefused, match=f'"{found[0]}" occurs twice'):
        for each in found:
            ids.add(each)
        ids.finish()
