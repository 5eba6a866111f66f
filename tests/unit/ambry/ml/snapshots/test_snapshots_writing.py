"""What is refused before it is written, and what a second try of the same write gives."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from ambry import AmbryClient, BlobNotFound, InvalidRequest
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.snapshots.writing import write_snapshot

METADATA = FeatureMetadata.of([parse_definitions("age: {valType: INT}\nname: {valType: STRING}", "n")])
AGE, NAME = "urn:li:(n,age,1,0)", "urn:li:(n,name,1,0)"
NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
ROWS = {"member": [2, 1], "age": [20, 10]}


def write(client: AmbryClient, dataset: str, rows: Any = ROWS, urns: Any = (AGE,), **options: Any) -> Any:
    settings = {"metadata": METADATA, "entity": "member", "as_of": NOON, **options}
    return write_snapshot(client, dataset, rows, urns, **settings)


def empty_forms(*names: str) -> list[Any]:
    frame = pd.DataFrame({name: [] for name in names})
    table = pa.table({name: pa.array([], pa.int64()) for name in names})
    return [frame, table, table.to_reader(), pl.from_arrow(table), iter([frame, frame]), {name: [] for name in names}]


def test_columns_of_a_frame_without_rows_are_looked_at(client: AmbryClient, name: str) -> None:
    """Nothing of them was, and an empty frame of anything became the newest snapshot."""
    for form in empty_forms("member", "years"):
        with pytest.raises(InvalidRequest, match="no column 'age'; they have member, years"):
            write(client, name, form, allow_empty=True)
    for form in empty_forms("someone", "age"):
        with pytest.raises(InvalidRequest, match="no column 'member'"):
            write(client, name, form, allow_empty=True)


def test_no_rows_are_refused_unless_they_may_be_none(client: AmbryClient, name: str) -> None:
    for form in [*empty_forms("member", "age"), [], iter(())]:
        with pytest.raises(InvalidRequest, match=r"there are no rows, .*allow_empty=True"):
            write(client, name, form)
    with pytest.raises(BlobNotFound):
        client.dataset(name)
    for place, form in enumerate(empty_forms("member", "age")):
        assert write(client, f"{name}-{place}", form, allow_empty=True).rows == 0
