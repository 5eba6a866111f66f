"""Tables are read by what they are called: files of every suffix, and snapshots."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from ambry import AmbryClient, BlobNotFound, DataCorrupt, InvalidRequest
from ambry.ml import tables as module
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.snapshots.writing import write_snapshot
from ambry.ml.tables import NamedTable, open_table, read_file, table_of

ROWS: dict[str, list[Any]] = {"unit": [1, 2, 3], "clicks": [0.5, None, 2.5], "country": ["de", None, "at"]}
NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


def rows(table: NamedTable) -> Any:
    return pa.Table.from_batches(list(table.batches), table.schema).to_pydict()


def write(path: Path) -> None:
    table = pa.table(ROWS)
    match path.suffix:
        case ".csv" | ".tsv":
            lines = [
                ",".join("" if value is None else str(value) for value in row)
                for row in zip(*ROWS.values(), strict=True)
            ]
            text = "\n".join([",".join(ROWS), *lines])
            path.write_text(text.replace(",", "\t") if path.suffix == ".tsv" else text)
        case ".jsonl" | ".ndjson":
            found = [dict(zip(ROWS, row, strict=True)) for row in zip(*ROWS.values(), strict=True)]
            path.write_text("".join(f"{json.dumps(row)}\n" for row in found))
        case ".parquet":
            pq.write_table(table, path)
        case _:
            pyarrow.feather.write_feather(table, str(path), compression="uncompressed")


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".arrow", ".feather"])
def test_files_are_read_by_their_suffix(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    write(path)
    found = read_file(path)
    assert (found.name, rows(found)) == (f"rows{suffix}", ROWS)


def test_what_is_no_such_file_is_told(tmp_path: Path) -> None:
    for suffix in (".parquet", ".arrow", ".jsonl"):
        (tmp_path / f"rows{suffix}").write_bytes(b"nonsense")
        with pytest.raises(DataCorrupt, match=f"cannot be read as {suffix}"):
            read_file(tmp_path / f"rows{suffix}")
    with pytest.raises(InvalidRequest, match=r"those end in \.csv"):
        read_file(tmp_path / "rows.xlsx")
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "none.csv")


def test_what_breaks_further_on_is_told_by_its_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TYPES_SIZE", 64)
    (tmp_path / "rows.csv").write_text("unit,clicks\n" + "1,2\n" * 100 + "1,many\n")
    with pytest.raises(DataCorrupt, match=r"rows\.csv cannot be read to its end: .*many"):
        list(read_file(tmp_path / "rows.csv").batches)


def test_frames_are_tables() -> None:
    for frame in (pd.DataFrame({"a": [1, 2]}), pl.DataFrame({"a": [1, 2]}), pa.table({"a": [1, 2]}), {"a": [1, 2]}):
        assert rows(table_of(frame)) == {"a": [1, 2]}
    with pytest.raises(InvalidRequest, match="no column of Arrow"):
        table_of(pd.DataFrame({"a": [1, "x"]}))


@pytest.mark.parametrize("form", ["arrow", "parquet"])
def test_snapshots_are_tables_too(client: AmbryClient, name: str, form: Any) -> None:
    metadata = FeatureMetadata.of([parse_definitions("age: {valType: INT}", "n")])
    frame = {"member": [2, 1], "age": [30, 40]}
    made = write_snapshot(
        client, name, frame, ["urn:li:(n,age,1,0)"], metadata=metadata, entity="member", as_of=NOON, file_format=form
    )
    found = open_table(client, name)
    assert (found.name, rows(found)) == (f"{name}@{made.version}", {"member": [1, 2], "age": [40, 30]})


def test_other_versions_are_none(client: AmbryClient, name: str) -> None:
    client.create_dataset(name)
    client.put_version(name, b"weights", "1.0.0")
    with pytest.raises(InvalidRequest, match=r"@1\.0\.0 is no snapshot of features, and there is no file"):
        open_table(client, name)
    with pytest.raises(BlobNotFound):
        open_table(client, f"{name}-none")


def test_an_arrow_file_whose_buffers_are_not_valid_is_refused(tmp_path: Path) -> None:
    offsets = pa.py_buffer(b"\0\0\0\0\1\0\0\0")
    column = pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(b"\xff")])
    batch = pa.RecordBatch.from_arrays([column], ["a"])
    with pa.OSFile(str(tmp_path / "x.arrow"), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    with pytest.raises(DataCorrupt, match="cannot be read to its end"):
        list(read_file(tmp_path / "x.arrow").batches)


@pytest.mark.parametrize(("suffix", "between"), [(".csv", ","), (".tsv", "\t")])
def test_units_in_csv_are_the_texts_that_stand_there(tmp_path: Path, suffix: str, between: str) -> None:
    """0003 and 3 were one unit."""
    path = tmp_path / f"outcomes{suffix}"
    path.write_text(f"unit{between}clicks\n0003{between}1\n3{between}2\n")
    found = pa.Table.from_batches(read_file(path, "unit").batches)
    assert found.to_pydict() == {"unit": ["0003", "3"], "clicks": [1, 2]}
    assert pa.Table.from_batches(read_file(path, "person").batches)["unit"].to_pylist() == [3, 3]
