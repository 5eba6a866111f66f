"""Tables that others wrote, with libraries that never saw our package: every form in which one comes is read, and equal."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from ambry import AmbryClient
from ambry.ml import snapshots
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.sources import ParquetSource
from ambry.ml.tables import open_table
from tests.support.alone import run_alone

TEXT = """\
age: {valType: INT}
name: {valType: STRING}
score: {valType: DOUBLE}
seen: {valType: BOOLEAN}
days: {valType: FLOAT, dims: [weekdays-1-0]}
weekdays: {type: discrete : {size: 3}}
"""
METADATA = FeatureMetadata.of([parse_definitions(TEXT, "n")])
URNS = [f"urn:li:(n,{name},1,0)" for name in ("age", "name", "score", "seen", "days")]
MEMBERS = 2_000
NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)

WRITING = """
import os
import numpy as np, pandas as pd, polars as pl, pyarrow as pa, pyarrow.feather as feather, pyarrow.parquet as pq
there = sys.argv[1]
count = 2_000
columns = {
    "member": list(range(count)),
    "age": [None if row % 7 == 3 else row % 90 for row in range(count)],
    "name": [None if row % 11 == 5 else f"n{row % 13}\\u00e9" for row in range(count)],
    "score": [None if row % 5 == 1 else row / 8 for row in range(count)],
    "seen": [None if row % 3 == 1 else row % 2 == 0 for row in range(count)],
    "days": [[row, row / 2, 0.0] for row in range(count)],
}
polars = pl.DataFrame(columns, schema_overrides={"age": pl.Int32, "days": pl.List(pl.Float32)})
plain = pa.table({**columns, "age": pa.array(columns["age"], pa.int32())})
numpy_frame = pd.DataFrame({name: pd.Series(values) for name, values in columns.items()})
nullable = pd.DataFrame({**columns, "age": pd.array(columns["age"], "Int32"), "seen": pd.array(columns["seen"], "boolean")})
arrow_backed = plain.to_pandas(types_mapper=pd.ArrowDtype)
for codec in ("uncompressed", "snappy", "gzip", "brotli", "lz4", "zstd"):
    polars.write_parquet(f"{there}/polars-{codec}.parquet", compression=codec)
    nullable.to_parquet(f"{there}/pandas-{codec}.parquet", compression=None if codec == "uncompressed" else codec)
    pq.write_table(plain, f"{there}/arrow-{codec}.parquet", compression="none" if codec == "uncompressed" else codec)
polars.write_parquet(f"{there}/polars-fixed.parquet", row_group_size=100)
polars.with_columns(pl.col("days").cast(pl.Array(pl.Float32, 3))).write_parquet(f"{there}/polars-array.parquet")
polars.with_columns(pl.col("name").cast(pl.Categorical)).write_parquet(f"{there}/polars-categorical.parquet")
names = pl.Enum(sorted(set(polars["name"].drop_nulls())))
polars.with_columns(pl.col("name").cast(names)).write_parquet(f"{there}/polars-enum.parquet")
widths = polars.with_columns(pl.col("age").cast(pl.Int64), pl.col("member").cast(pl.Int32))
widths.write_parquet(f"{there}/polars-widths.parquet")
for codec in ("uncompressed", "lz4", "zstd"):
    polars.write_ipc(f"{there}/polars-{codec}.arrow", compression=codec)
    polars.write_ipc(f"{there}/polars-{codec}-oldest.arrow", compression=codec, compat_level=pl.CompatLevel.oldest())
    feather.write_feather(plain, f"{there}/arrow-{codec}.feather", compression=codec)
    nullable.to_feather(f"{there}/pandas-{codec}.feather", compression=codec)
numpy_frame.to_parquet(f"{there}/pandas-numpy.parquet")
arrow_backed.to_parquet(f"{there}/pandas-arrow.parquet")
nullable.assign(name=nullable["name"].astype("category")).to_parquet(f"{there}/pandas-category.parquet")
nullable.assign(name=nullable["name"].astype("category")).to_feather(f"{there}/pandas-category.feather")
nullable.assign(name=nullable["name"].astype("string")).to_parquet(f"{there}/pandas-string.parquet")
nullable.sample(frac=1, random_state=1).set_index("member").to_parquet(f"{there}/pandas-index.parquet")
nullable.set_index("member", drop=False).rename_axis("i").to_parquet(f"{there}/pandas-other-index.parquet")
nullable.iloc[::-1].to_parquet(f"{there}/pandas-reversed.parquet")
nullable.to_parquet(f"{there}/pandas-groups.parquet", row_group_size=97)
large = pa.schema([pa.field("member", pa.int64()), pa.field("age", pa.int32()), pa.field("name", pa.large_string()),
    pa.field("score", pa.float64()), pa.field("seen", pa.bool_()), pa.field("days", pa.large_list(pa.float32()))])
view = large.set(2, pa.field("name", pa.string_view()))
dictionary = large.set(2, pa.field("name", pa.dictionary(pa.int8(), pa.string())))
fixed = large.set(5, pa.field("days", pa.list_(pa.float32(), 3)))
for name, schema in (("large", large), ("view", view), ("dictionary", dictionary), ("fixed", fixed)):
    table = pa.table([pa.array(columns[field.name], field.type) for field in schema], schema=schema)
    pq.write_table(table, f"{there}/arrow-{name}.parquet")
    with pa.ipc.new_file(f"{there}/arrow-{name}.arrow", schema) as writer:
        writer.write_table(table, max_chunksize=300)
settings = {"version": "1.0", "data_page_version": "2.0", "use_dictionary": False, "write_statistics": False}
pq.write_table(plain, f"{there}/arrow-v1.parquet", **settings)
with pa.ipc.new_stream(f"{there}/arrow-stream.arrow", plain.schema) as writer:
    writer.write_table(plain)
polars.write_ipc_stream(f"{there}/polars-stream.arrow")
print("\\n".join(sorted(os.listdir(there))))
"""


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    directory = tmp_path_factory.mktemp("theirs")
    return [directory / name for name in run_alone(WRITING, directory).split()]


def expected() -> list[list[Any]]:
    rows = range(MEMBERS)
    return [
        list(rows),
        [None if row % 7 == 3 else row % 90 for row in rows],
        [None if row % 11 == 5 else f"n{row % 13}é" for row in rows],
        [None if row % 5 == 1 else row / 8 for row in rows],
        [None if row % 3 == 1 else row % 2 == 0 for row in rows],
        [[row, row / 2, 0.0] for row in rows],
    ]


def assert_same(table: Any, path: Path) -> None:
    for name, column, wanted in zip(("member", *URNS), table.columns, expected(), strict=True):
        assert column.to_pylist() == wanted, (path.name, name)


def test_parquet_of_others_is_a_source_as_it_is(theirs: list[Path]) -> None:
    found = [path for path in theirs if path.suffix == ".parquet"]
    assert len(found) >= 30
    for path in found:
        source = ParquetSource(path, METADATA, entity="member")
        assert_same(source.read(URNS, list(range(MEMBERS))), path)
        assert source.read(URNS[:1], [5, 10**12]).column(1).to_pylist() == [5, None], path.name


def test_tables_of_others_become_snapshots(theirs: list[Path], client: AmbryClient, name: str) -> None:
    """As `ambry snapshot write FILE` does it."""
    for number, path in enumerate(theirs):
        table = open_table(client, str(path))
        rows = pa.RecordBatchReader.from_batches(table.schema, table.batches)
        assert_same(round_trip(client, f"{name}-{number}", rows), path)


def test_frames_of_others_become_snapshots(theirs: list[Path], client: AmbryClient, name: str) -> None:
    """As their own library reads what it wrote; pandas does not read its own columns of lists that are Arrow's."""
    reading: dict[str, Callable[..., Any]] = {
        "pandas.parquet": pd.read_parquet,
        "pandas.feather": pd.read_feather,
        "polars.parquet": pl.read_parquet,
        "polars.arrow": pl.read_ipc,
    }
    own = [
        path for path in theirs if path.name.startswith(("pandas", "polars")) and path.name != "pandas-arrow.parquet"
    ]
    for number, path in enumerate(own):
        read = reading[path.name.partition("-")[0] + path.suffix]
        frame: Any = pl.read_ipc_stream(path) if "stream" in path.name else read(path)
        if path.name == "pandas-index.parquet":
            frame = frame.reset_index()
        assert_same(round_trip(client, f"{name}-{number}", frame), path)


def round_trip(client: AmbryClient, dataset: str, rows: Any) -> Any:
    snapshots.write(client, dataset, rows, URNS, metadata=METADATA, entity="member", as_of=NOON)
    with snapshots.open(client, dataset) as snapshot:
        return snapshot.table(URNS)
