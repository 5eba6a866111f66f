from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ambry.errors import InvalidRequest
from ambry.ml.snapshots import runs
from ambry.ml.snapshots.runs import SortedRows

SCHEMA = pa.schema([("member", pa.int64()), ("name", pa.string())])


def batch_of(keys: list[int]) -> Any:
    return pa.record_batch([pa.array(keys, pa.int64()), pa.array([f"name {key}" for key in keys])], schema=SCHEMA)


def filled(directory: Path, keys: list[int]) -> SortedRows:
    """A run of each ten keys."""
    rows = SortedRows(SCHEMA, "member", directory, memory_max=1)
    for start in range(0, len(keys), 10):
        rows.add(batch_of(keys[start : start + 10]))
    return rows


@pytest.mark.parametrize("at_once", [2, 3, 7, 64])
def test_however_many_runs_there_are_few_are_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(runs, "RUNS_MAX", at_once)
    opened: list[int] = []
    heads = runs._Heads

    def counted(paths: list[Path], key: str) -> runs._Heads:
        opened.append(len(paths))
        return heads(paths, key)

    monkeypatch.setattr(runs, "_Heads", counted)
    keys = list(range(1_000))
    random.Random(at_once).shuffle(keys)
    found = pa.Table.from_batches(list(filled(tmp_path, keys).batches(64)))
    assert found.column("member").to_pylist() == sorted(keys)
    assert found.column("name").to_pylist() == [f"name {key}" for key in sorted(keys)]
    assert max(opened) <= at_once and len(list(tmp_path.iterdir())) <= at_once


def test_a_key_that_stands_twice_is_found_across_runs_that_became_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "RUNS_MAX", 2)
    with pytest.raises(InvalidRequest, match="the entity 7 stands twice") as caught:
        list(filled(tmp_path, [*range(200), 7]).batches(64))
    assert "number the rows in a column, make that the entity, and define 'member' as a feature" in str(caught.value)
