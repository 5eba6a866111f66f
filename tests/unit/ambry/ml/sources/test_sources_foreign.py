"""What strangers wrote, and what lies torn: a sentence of ours, with where and what to do, for every kind of source."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from ambry import InvalidRequest
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.sources.foreign import foreign
from ambry.ml.sources.parquet import ParquetSource

URN = "urn:li:(n,a,1,0)"


def metadata(value_type: str = "DOUBLE") -> FeatureMetadata:
    return FeatureMetadata.of([parse_definitions(f"a: {{valType: {value_type}, dims: []}}\n", "n")])


def test_an_error_of_the_system_stays_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), foreign("a file", "write it again"):
        (tmp_path / "none").read_bytes()
    with pytest.raises(InvalidRequest, match=r"^a file: torn; write it again$"), foreign("a file", "write it again"):
        raise OSError("torn")


def test_what_is_no_parquet_or_torn(tmp_path: Path) -> None:
    place = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"k": list(range(1000)), "a": [each / 7 for each in range(1000)]}), place)
    whole = place.read_bytes()
    for torn in (b"", b"no parquet at all", whole[: len(whole) // 2]):
        place.write_bytes(torn)
        with pytest.raises(InvalidRequest, match=r"t\.parquet is no Parquet .*; fetch or write it again"):
            ParquetSource(str(place), metadata(), entity="k")
    place.write_bytes(whole[:4] + b"\xff" * (len(whole) // 2) + whole[4 + len(whole) // 2 :])
    source = ParquetSource(str(place), metadata(), entity="k")
    with pytest.raises(InvalidRequest, match=r"t\.parquet: the columns k, a cannot be read: .*; write the file again"):
        source.read([URN], [3])
    with pytest.raises(FileNotFoundError):
        ParquetSource(str(tmp_path / "none"), metadata(), entity="k")


def test_columns_of_parquet_that_stand_twice(tmp_path: Path) -> None:
    place = str(tmp_path / "t.parquet")
    parquet.write_table(pa.Table.from_arrays([pa.array([1])] * 3, names=["k", "a", "a"]), place)
    with pytest.raises(InvalidRequest, match="has 2 columns 'a'; write it with a name for each column"):
        ParquetSource(place, metadata(), entity="k")


def test_files_of_one_directory_that_disagree(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"k": [1], "a": [0.5]}), tmp_path / "1.parquet")
    parquet.write_table(pa.table({"k": [2], "a": ["text"]}), tmp_path / "2.parquet")
    source = ParquetSource(str(tmp_path), metadata(), entity="k")
    with pytest.raises(InvalidRequest, match=r"the columns k, a cannot be read: .*; write the file again"):
        source.read([URN], [1, 2])
