"""Tensors as one column for each cell, in pandas and polars."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ambry.errors import InvalidRequest
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.snapshots.columns import conform
from ambry.ml.snapshots.flat import flat_table, to_frame
from ambry.ml.snapshots.schema import feature_field

TEXT = """\
age: {valType: INT}
share: {valType: FLOAT, dims: [kinds-1-0]}
grid: {valType: BOOLEAN, dims: [kinds-1-0, days-1-0]}
open: {valType: INT, dims: [seen-1-0]}
big: {valType: INT, dims: [wide-1-0]}
wide: {type: discrete : {size: 100001}}
days: {type: discrete : {size: 2}}
seen: {type: discrete}
kinds: {type: categorical : {idMappingFile: "kinds.csv"}}
// (kinds.csv)
0, OUT_OF_VOCAB
1, Comment
3, Click
"""
METADATA = FeatureMetadata.of([parse_definitions(TEXT, "n")])


def table_of(layouts: dict[str, Any], **columns: Any) -> Any:
    fields = [pa.field("member", pa.int64())]
    arrays = [pa.array([7, 8, 9])]
    for name, values in columns.items():
        kind = METADATA.tensor_type(f"urn:li:(n,{name},1,0)")
        fields.append(feature_field(kind, name, layouts.get(name)))
        arrays.append(conform(values, kind, layouts.get(name)))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


SHARE = [np.arange(4.0), None, np.zeros(4)]
GRID = [np.eye(4, 2, dtype=bool), np.ones((4, 2), bool), None]


def test_cells_are_columns_under_the_names_of_their_vocabulary() -> None:
    table = table_of({}, age=[1, None, 3], share=SHARE, grid=GRID, open=[[(5, 1)], [], None])
    frame = to_frame(table, metadata=METADATA)
    assert frame.index.tolist() == [7, 8, 9]
    assert frame["share[Click]"].tolist()[0] == 3.0 and np.isnan(frame["share[Click]"].tolist()[1])
    assert list(frame.columns)[1:5] == ["share[OUT_OF_VOCAB]", "share[Comment]", "share[2]", "share[Click]"]
    assert frame["grid[Comment, 1]"].tolist() == [True, True, None]
    assert frame["open"][7].tolist() == [{"seen": 5, "value": 1}]
    plain = to_frame(table, "polars")
    assert plain["share[3]"].to_list() == [3.0, None, 0.0]
    assert plain["grid[0, 0]"].to_list() == [True, True, None]


def test_sparse_ones_are_columns_where_their_axes_end() -> None:
    layouts = {"share": "sparse", "grid": "sparse"}
    flat = flat_table(table_of(layouts, share=SHARE, grid=GRID), METADATA)
    dense = flat_table(table_of({}, share=SHARE, grid=GRID), METADATA)
    assert flat.equals(dense)
    assert flat_table(table_of(layouts, share=SHARE)).column_names == ["member", "share"]


def test_more_columns_than_a_frame_bears_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="more than 100000 columns"):
        flat_table(table_of({"big": "dense"}, big=np.zeros((3, 100_001), "int32")))
    with pytest.raises(InvalidRequest, match="library is 'pandas' or 'polars'"):
        to_frame(table_of({}), "dask")  # type: ignore[arg-type]
