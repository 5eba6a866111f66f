"""Rows in every form that users have: pieces of a bounded size, of which nothing is lost or guessed."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from ambry.errors import InvalidRequest
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.snapshots.frames import PIECE_ROWS, PIECE_SIZE, pieces_of
from ambry.ml.snapshots.rows import conformed
from ambry.ml.snapshots.schema import feature_field

TEXT = """\
age: {valType: INT}
share: {valType: FLOAT, dims: [kinds-1-0]}
wide: {valType: DOUBLE, dims: [big-1-0]}
acts: {valType: INT, dims: [kinds-1-0, seen-1-0]}
big: {type: discrete : {size: 4096}}
seen: {type: discrete}
kinds: {type: categorical : {idMappingFile: "kinds.csv"}}
// (kinds.csv)
0, OUT_OF_VOCAB
1, Comment
"""
METADATA = FeatureMetadata.of([parse_definitions(TEXT, "n")])


def batches(rows: Any, *names: str) -> list[Any]:
    kinds = [METADATA.tensor_type(f"urn:li:(n,{name},1,0)") for name in names]

    def schema_of(key: Any) -> Any:
        return pa.schema([pa.field("id", key), *(feature_field(kind, kind.urn.name) for kind in kinds)])

    return list(conformed(rows, kinds, "id", schema_of, {}, {}))


def values(rows: Any, name: str) -> list[Any]:
    return [value for batch in batches(rows, name) for value in batch.column(name).to_pylist()]


class Row(tuple[Any, ...]):
    """As Spark has them: a tuple with the names of its fields."""

    names: tuple[str, ...]

    def asDict(self, recursive: bool = False) -> dict[str, Any]:
        def plain(value: Any) -> Any:
            if isinstance(value, Row):
                return value.asDict(True)
            return [plain(each) for each in value] if isinstance(value, list) else value

        return {name: plain(value) if recursive else value for name, value in zip(self.names, self, strict=True)}


def row(**fields: Any) -> Row:
    made = Row(fields.values())
    made.names = tuple(fields)
    return made


class SparkFrame:
    """What of a DataFrame of Spark is asked, and how far its rows were taken. Columns may be called as what pandas has."""

    columns = ("id", "age", "acts", "iloc")
    iloc = "a column"

    def __init__(self, count: int) -> None:
        self.count = count
        self.taken = 0

    def toLocalIterator(self) -> Iterator[Row]:
        for number in range(self.count):
            self.taken += 1
            # Fields of a struct of Spark stand in an order of their own.
            yield row(id=number, age=None if number == 2 else number, acts=[row(value=7, seen=number, kinds="Comment")])

    def toArrow(self) -> Any:
        raise AssertionError("that would bring all rows to the driver at once")

    toPandas = collect = toArrow


def test_a_frame_of_spark_is_taken_partition_by_partition() -> None:
    frame = SparkFrame(PIECE_ROWS * 2 + 3)
    pieces = pieces_of(frame)
    assert len(next(pieces)["id"]) == PIECE_ROWS == frame.taken
    assert sum(len(piece["id"]) for piece in pieces) == PIECE_ROWS + 3
    assert values(SparkFrame(4), "age") == [0, 1, None, 3]
    assert values(SparkFrame(2), "acts") == [[{"kinds": 1, "seen": seen, "value": 7}] for seen in (0, 1)]
    assert values(SparkFrame(4).toLocalIterator(), "acts") == values(SparkFrame(4), "acts")


def test_rows_may_leave_a_name_out_wherever_pieces_end() -> None:
    """A feature that no row of one piece had was refused after minutes of writing."""
    count = 2 * PIECE_ROWS + 5
    for there in (range(3), range(PIECE_ROWS, PIECE_ROWS + 2), range(count - 1, count)):
        rows = ({"id": number, **({"age": 7, "share": [0, 1]} if number in there else {})} for number in range(count))
        found = batches(rows, "age", "share")
        assert sum(batch.column("age").null_count for batch in found) == count - len(there)
        assert sum(batch.column("share").null_count for batch in found) == count - len(there)
    with pytest.raises(InvalidRequest, match="none of the 3 rows has 'age'; they have id"):
        batches([{"id": number} for number in range(3)], "age")
    with pytest.raises(InvalidRequest, match="the rows have no column 'age'"):
        batches([pd.DataFrame({"id": [1], "age": [1]}), pd.DataFrame({"id": [2]})], "age")
    with pytest.raises(InvalidRequest, match="the rows have no column 'id'"):
        batches([{"age": 1}], "age")


def test_rows_are_mappings_or_named_tuples() -> None:
    Member = namedtuple("Member", ["age", "id"])
    assert values([Member(5, 1), Member(6, 2)], "age") == [5, 6]
    with pytest.raises(InvalidRequest, match=r"row 1 is of the type tuple; give a mapping for each row"):
        batches([{"id": 1, "age": 2}, (2, 3)], "age")
    for nothing in (5, "rows", [5], [[5]], ["a"]):
        with pytest.raises(InvalidRequest, match="holds no rows"):
            batches(nothing, "age")


def test_rows_are_counted_from_the_first() -> None:
    rows = [{"id": number, "age": number if number < PIECE_ROWS + 7 else "x"} for number in range(PIECE_ROWS + 9)]
    with pytest.raises(InvalidRequest, match=rf"'x' in row {PIECE_ROWS + 7} is of another kind than"):
        batches(rows, "age")


def test_columns_are_of_one_length_and_called_once() -> None:
    for columns, words in (
        ({"id": [1, 2], "age": [1]}, "the column 'age' has 1 rows, and 'id' 2"),
        ({"id": 5, "age": [1]}, "the column 'id' is of the type int and no column"),
        ({1: [1], "1": [2]}, "two columns are called '1'"),
        (pd.DataFrame([[1, 2, 3]], columns=["id", "age", "age"]), "two columns are called 'age'"),
        (pa.Table.from_arrays([pa.array([1])] * 3, names=["id", "age", "age"]), "two columns are called 'age'"),
    ):
        with pytest.raises(InvalidRequest, match=words):
            batches(columns, "age")
    count = PIECE_ROWS + 1
    many = {"id": np.arange(count), "age": pa.array([5] * count), "share": pl.Series([[0.0, 1.0]] * count)}
    assert [batch.num_rows for batch in batches(many, "age", "share")] == [PIECE_ROWS, 1]
    assert batches({"id": [], "age": []}, "age") == []
    with pytest.raises(InvalidRequest, match="no column 'age'"):
        batches({"id": []}, "age")


def test_the_first_row_says_of_which_type_keys_are() -> None:
    """An empty piece said that they are numbers."""
    pieces = [pd.DataFrame({"id": [], "age": []}), pd.DataFrame({"id": ["a"], "age": [1]})]
    assert values(pieces, "age") == [1]
    with pytest.raises(InvalidRequest, match="the column 'id' is int64 here, and was string before"):
        batches([*pieces, pd.DataFrame({"id": [1], "age": [1]})], "age")


def test_pieces_of_wide_rows_are_short() -> None:
    """A piece was 16,384 rows of whatever size: 512 MiB of tensors with 4,096 cells."""
    rows = 1_200
    table = pa.table({"id": range(rows), "wide": pa.array(np.zeros((rows, 4_096)).tolist())})
    for form in (table, table.to_pandas(), {"id": np.arange(rows), "wide": np.zeros((rows, 4_096))}):
        made = batches(form, "wide")
        assert sum(batch.num_rows for batch in made) == rows
        assert max(batch.nbytes for batch in made) <= PIECE_SIZE + (1 << 20)
    text = pa.table({"id": range(64), "text": ["x" * (1 << 20)] * 64})
    assert max(len(piece["id"]) for piece in pieces_of(text)) <= 16
