"""A footer that does not agree with itself is an error, and no end of the process."""

from __future__ import annotations

import datetime
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from ambry.ml.alike_structs import OFTEN
from ambry.ml.parquet_footer import READ_AT_ONCE, _check_chunk, bounds_of, read_footer
from tests.support.flipped_footers import ask, valid

ROOT = Path(__file__).parents[4]


def test_each_bit_of_a_footer_may_be_another_one() -> None:
    """Also where chunks are recognised by the shape of those before: what is told is the same."""
    runs = [
        subprocess.run(
            [sys.executable, "-m", "tests.support.flipped_footers", often],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            cwd=ROOT,
        )
        for often in ("1000", "1")
    ]
    assert [run.returncode for run in runs] == [0, 0], runs[1].stderr[-1_000:]
    assert runs[0].stdout == runs[1].stdout
    for words in (
        "a chunk of the column 'n' is not INT64, as its schema says",
        "the least or the greatest value of the column 'x' is cut off",
        "the column 'l.list.element' has 4 levels, and its sizes are not of so many",
        "its footer has a list of other things than it should",
        "its footer is said to be",
        "it does not end as Parquet does",
    ):
        assert words in runs[0].stdout, runs[0].stdout


SIZES = b"<)\x06\x19&\x02\x02\x00"
"""A struct of sizes with two levels; the ends of what is said of the column, and of its chunk, come behind it."""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (SIZES, b"<)\x06\x19\x16\x02\x00", "the column 'n' has 2 levels, and its sizes are not of so many"),
        (SIZES, b"<\x16\x06\x00", "the column 'n' has sizes as texts have them, and is INT64"),
        (SIZES + b"\x00", SIZES + b"\x00\x5c\x2c\x19\x18\x01n\x00\x00", "the column 'n' is encrypted"),
        (SIZES, SIZES + SIZES.replace(b"<", b"\x0c\x20"), "its footer says the field 16 twice"),
        (b"\x18\x08\x07" + bytes(7) + b"\x11", b"\x18\x00\x11", "value of the column 'n' is cut off"),
        (b"\x19\x18\x01n", b"\x19\x14\x01n", "a list of other things"),
        (b"\x15\x04\x19%", b"\x15\x02\x19%", "a chunk of the column 'n' is not INT64"),
        (b"\x15\x04\x19%", b"\x15\x84\x80\x80\x80\x20\x19%", "a chunk of the column 'n' is not INT64"),
    ],
)
def test_what_pyarrow_would_end_the_process_for_is_an_error(old: bytes, new: bytes, said: str) -> None:
    """The kinds of it; and those that C++ reads otherwise than the bytes say."""
    data = put(pa.table({"n": pa.array([7, None])}), store_schema=False, use_dictionary=False)
    footer = data[-8 - int.from_bytes(data[-8:-4], "little") : -8]
    assert footer.count(old) == 1
    changed = footer.replace(old, new)
    with pytest.raises(pa.ArrowInvalid, match=said):
        read_footer(io.BytesIO(b"PAR1" + changed + len(changed).to_bytes(4, "little") + b"PAR1"))


def test_a_row_group_with_more_columns_than_the_schema_is_an_error() -> None:
    data = put(pa.table({"n": pa.array([7, None])}), store_schema=False, use_dictionary=False)
    footer = data[-8 - int.from_bytes(data[-8:-4], "little") : -8]
    begin = footer.index(b"\x19\x1c&\x00") + 2
    chunk = footer[begin : footer.index(SIZES) + len(SIZES) + 2]
    changed = footer.replace(b"\x19\x1c" + chunk, b"\x19\x2c" + chunk + chunk)
    with pytest.raises(pa.ArrowInvalid, match="a row group has more columns than its schema, which has 1"):
        read_footer(io.BytesIO(b"PAR1" + changed + len(changed).to_bytes(4, "little") + b"PAR1"))


def test_of_many_chunks_few_are_read_field_by_field(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each was, which took 27 times as long as pyarrow's own read: 2.4 s of 100,000."""
    checked: list[str] = []

    def check(said: Any, column: Any) -> None:
        checked.append(column.type)
        _check_chunk(said, column)

    monkeypatch.setattr("ambry.ml.parquet_footer._check_chunk", check)
    columns = {
        "number": list(range(300)),
        "share": [each / 7 for each in range(300)],
        "text": [f"value {each}" for each in range(300)],
        "tensor": [[1.5, float(each)] for each in range(300)],
    }
    data = put(pa.table(columns), row_group_size=1)
    assert read_footer(io.BytesIO(data)).equals(parquet.read_metadata(io.BytesIO(data)))
    # The columns of doubles are of two kinds, by their levels.
    assert {name: checked.count(name) for name in checked} == {"INT64": OFTEN, "DOUBLE": 2 * OFTEN, "BYTE_ARRAY": OFTEN}


def put(table: Any, **options: Any) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(table, sink, **options)
    return sink.getvalue()


@pytest.mark.parametrize("options", [{}, {"version": "1.0", "data_page_version": "2.0"}, {"write_page_index": True}])
def test_a_footer_is_the_one_that_pyarrow_reads(options: dict[str, Any]) -> None:
    """Also one that is longer than what is read at once, and has row groups of many columns."""
    small = {"a": pa.array([1, 2], pa.int32()), "b": [{"c": [1.5]}, None], "d": pa.array([None, None], pa.null())}
    large = {f"column-{number}": [number, 7] for number in range(400)}
    for columns in (small, large):
        data = put(pa.table(columns), row_group_size=1, **options)
        assert (int.from_bytes(data[-8:-4], "little") > READ_AT_ONCE) == (columns is large)
        assert read_footer(io.BytesIO(data)).equals(parquet.read_metadata(io.BytesIO(data)))
    sink = io.BytesIO()
    parquet.ParquetWriter(sink, pa.schema({"a": pa.int8()})).close()
    assert read_footer(sink).num_row_groups == 0
    assert len(ask(valid())) == 8


def test_what_is_no_parquet_or_cut_off_is_an_error() -> None:
    data = valid()
    for cut in (b"", b"PAR1", data[:-1], data[:-8] + (1 << 31).to_bytes(4, "little") + b"PAR1", data[:-4] + b"PARE"):
        with pytest.raises(pa.ArrowInvalid):
            read_footer(io.BytesIO(cut))


def test_bounds_that_python_has_no_value_for_are_none() -> None:
    days = pa.table({"day": pa.array([0, 10**7], pa.date32()), "k": [1, 2]})
    group = read_footer(io.BytesIO(put(days))).row_group(0)
    assert [bounds_of(group.column(place)) for place in (0, 1)] == [None, (1, 2)]
    early = pa.table({"day": [datetime.date(2026, 11, 28)]})
    assert bounds_of(read_footer(io.BytesIO(put(early))).row_group(0).column(0)) == (early["day"][0].as_py(),) * 2
    plain = put(early, write_statistics=False)
    assert bounds_of(read_footer(io.BytesIO(plain)).row_group(0).column(0)) is None
