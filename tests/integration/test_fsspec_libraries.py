"""Libraries that open files by URL, unmodified, against real processes."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as pa_dataset
import pyarrow.fs as pa_fs
import pyarrow.parquet as pq
import pytest

from ambry.fs import AmbryFileSystem
from tests.support.rest import metric


@pytest.fixture
def options(dc1: str) -> dict[str, Any]:
    return {"endpoints": [dc1]}


@pytest.fixture
def fs(options: dict[str, Any]) -> AmbryFileSystem:
    found: AmbryFileSystem = fsspec.filesystem("ambry", **options)
    return found


@pytest.fixture
def at() -> str:
    return f"default/default/libraries/{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """10 columns of 420,000 numbers that nothing makes smaller."""
    draw = np.random.default_rng(7)
    return pa.table({f"c{number}": draw.random(420_000) for number in range(10)})


def test_pandas_writes_and_reads_csv_parquet_and_pickle_by_url(options: dict[str, Any], at: str) -> None:
    frame = pd.DataFrame({"a": range(1000), "b": [f"text {each}" for each in range(1000)]})
    url = f"ambry://{at}"
    frame.to_csv(f"{url}/x.csv.gz", index=False, storage_options=options)
    frame.to_parquet(f"{url}/x.parquet", storage_options=options)
    frame.to_json(f"{url}/x.json", storage_options=options)
    for read in (
        pd.read_csv(f"{url}/x.csv.gz", storage_options=options),
        pd.read_parquet(f"{url}/x.parquet", storage_options=options),
        pd.read_json(f"{url}/x.json", storage_options=options),
    ):
        pd.testing.assert_frame_equal(read, frame)


def test_a_frame_that_cannot_be_written_to_its_end_leaves_what_was_there(
    options: dict[str, Any], fs: AmbryFileSystem, at: str
) -> None:
    fs.pipe_file(f"{at}/x.csv", b"before")

    class Broken:
        def __str__(self) -> str:
            raise ZeroDivisionError

    frame = pd.DataFrame({"a": [*range(200_000), Broken()]}, dtype=object)
    with pytest.raises(ZeroDivisionError):
        frame.to_csv(f"ambry://{at}/x.csv", storage_options=options, chunksize=1_000)
    assert fs.cat_file(f"{at}/x.csv") == b"before"


def test_two_of_ten_columns_move_less_than_two_fifths_of_a_parquet_file(
    cluster: Any, options: dict[str, Any], fs: AmbryFileSystem, at: str, table: pa.Table
) -> None:
    path = f"{at}/large.parquet"
    with fs.open(path, "wb") as file:
        pq.write_table(table, file, row_group_size=100_000, compression="none")
    size = fs.info(path)["size"]
    assert size >= 32 << 20
    [frontend] = cluster.frontends("dc1")

    def moved(read: Callable[[], Any]) -> float:
        before = metric(frontend.admin_url, "ambry_frontend_bytes_sent_total")
        read()
        return metric(frontend.admin_url, "ambry_frontend_bytes_sent_total") - before

    wanted = table.select(["c3", "c7"])
    readers: dict[str, Callable[[], Any]] = {
        "pandas": lambda: pd.read_parquet(f"ambry://{path}", columns=["c3", "c7"], storage_options=options),
        "pyarrow": lambda: pq.read_table(path, columns=["c3", "c7"], filesystem=fs),
        "dataset": lambda: pa_dataset.dataset(path, filesystem=fs).to_table(columns=["c3", "c7"]),
    }
    for name, read in readers.items():
        found: list[Any] = []
        share = moved(lambda read=read, found=found: found.append(read())) / size  # type: ignore[misc]
        got = found[0]
        assert (pa.Table.from_pandas(got, preserve_index=False) if name == "pandas" else got).equals(wanted), name
        assert share <= 0.4, (name, share)


def test_pyarrow_finds_the_file_system_by_its_url_and_partitions_with_it(
    options: dict[str, Any], fs: AmbryFileSystem, at: str
) -> None:
    table = pa.table({"year": [2024, 2025, 2025], "x": [1, 2, 3], "key": ["a b", "a/b", "ä"]})
    pa_dataset.write_dataset(
        table,
        at,
        filesystem=pa_fs.PyFileSystem(pa_fs.FSSpecHandler(fs)),
        format="parquet",
        partitioning=pa_dataset.partitioning(pa.schema([("year", pa.int64()), ("key", pa.string())]), flavor="hive"),
    )
    found = pa_dataset.dataset(at, filesystem=fs, partitioning="hive").to_table().sort_by("x")
    assert found.select(["year", "x", "key"]).to_pylist() == table.to_pylist()
    assert (
        pa_dataset.dataset(at, filesystem=fs, partitioning="hive").count_rows(filter=pa_dataset.field("year") == 2025)
        == 2
    )


def test_polars_reads_what_a_file_object_gives(fs: AmbryFileSystem, at: str) -> None:
    frame = pl.DataFrame({"a": range(1000), "b": [str(each) for each in range(1000)]})
    with fs.open(f"{at}/x.parquet", "wb") as file:
        frame.write_parquet(file)
    with fs.open(f"{at}/x.parquet") as file:
        assert pl.read_parquet(file).equals(frame)


def test_numpy_and_a_map_of_bytes(fs: AmbryFileSystem, at: str, tmp_path: Path) -> None:
    array = np.arange(100_000, dtype=np.float32)
    with fs.open(f"{at}/x.npy", "wb") as file:
        np.save(file, array)
    with fs.open(f"{at}/x.npy") as file:
        assert np.array_equal(np.load(file), array)
    mapped = fs.get_mapper(f"{at}/map")
    mapped["one"] = b"1"
    mapped["two/deep"] = b"2"
    assert dict(mapped) == {"one": b"1", "two/deep": b"2"}
    del mapped["one"]
    assert list(mapped) == ["two/deep"]
