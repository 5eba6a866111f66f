"""Row groups come from the ranges of the columns that are asked for, of one file or of parts, and of nothing else."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from ambry import AmbryClient, VersionRef
from ambry.client.refs import NameRef
from ambry.errors import DataCorrupt, InvalidRequest, Unavailable
from ambry.ids import BlobId, IdKind, uuid7
from ambry.spark.columns import as_spark, spark_arrow_schema
from ambry.spark.commits import PART_TTL, PartsCommit
from ambry.spark.contents import BATCH_ROWS, BATCH_SIZE, ParquetStored, rows_within, stored_file
from tests.support.flipped_footers import with_wrong_levels
from tests.support.named_frontend import named_frontend

NAMES = ("k", "word", "bag", "wide")


class RangesOfBlobs:
    """Answers get_ranges from memory, and counts bytes."""

    def __init__(self, blobs: dict[Any, bytes]) -> None:
        self.blobs = blobs
        self.moved = 0

    def get_ranges(self, ref: Any, spans: Sequence[tuple[int, int]], *, coalesce: int) -> list[bytes]:
        assert coalesce <= 8 << 10
        found = [self.blobs[ref][start:stop] for start, stop in spans]
        self.moved += sum(len(each) for each in found)
        return found


def some_id(number: int) -> BlobId:
    unique = uuid7(number, random.Random(number))
    return BlobId.make(kind=IdKind.SIMPLE, datacenter=1, account=1, container=1, partition=0, uuid=unique)


def rows(count: int, first: int = 0) -> Any:
    numbers = range(first, first + count)
    return pa.table({
        "k": pa.array(numbers),
        "word": [f"w{each % 7}" for each in numbers],
        "bag": [None if each % 5 == 0 else [{"n": each, "m": {"x": "y"}}] * (each % 3) for each in numbers],
        "wide": [random.Random(each).randbytes(60) for each in numbers],
    })  # fmt: skip


def written(table: Any, **options: Any) -> tuple[bytes, Any]:
    told: list[Any] = []
    sink = io.BytesIO()
    parquet.write_table(table, sink, metadata_collector=told, **options)
    return sink.getvalue(), told[0]


def read(file: ParquetStored, client: Any, columns: Sequence[str], numbers: Sequence[int] | None = None) -> Any:
    pieces = [each for each in file.pieces(columns) if numbers is None or each.number in numbers]
    return pa.Table.from_batches(list(file.batches(client, pieces, columns)))


@pytest.mark.parametrize("columns", [["k"], ["wide", "k"], ["bag"], list(NAMES)])
@pytest.mark.parametrize("options", [{}, {"use_dictionary": False, "data_page_size": 512}, {"compression": "zstd"}])
def test_columns_of_one_file(columns: list[str], options: dict[str, Any]) -> None:
    table = rows(2_000)
    data, footer = written(table, row_group_size=150, **options)
    client = RangesOfBlobs({some_id(1): data})
    file = ParquetStored(some_id(1), footer, "a")
    assert read(file, client, columns).select(columns).equals(table.select(columns))
    assert client.moved == sum(piece.size for piece in file.pieces(columns)) <= len(data)
    some = read(file, client, columns, [3, 4, 9]).select(columns)
    wanted = [*range(450, 750), *range(1_350, 1_500)]
    assert some.equals(table.take(wanted).select(columns))


@pytest.mark.parametrize("columns", [["a.b"], ["a"], ["a.b.c", "a.l"], ["x"], ["a.b", "a.b.c", "a.l", "a", "x"]])
def test_columns_whose_names_have_dots(columns: list[str]) -> None:
    """Nothing was fetched of such a column where it is a struct or a list: the file was called damaged."""
    numbers = range(40)
    table = pa.table({
        "a.b": [{"c": each, "d.e": [each]} for each in numbers],
        "a.b.c": [[each, each] for each in numbers],
        "a.l": [[("k", {"v": each})] for each in numbers],
        "a": [{"b": {"c": -each}} for each in numbers],
        "x": list(numbers),
    }, schema=pa.schema([
        ("a.b", pa.struct([("c", pa.int64()), ("d.e", pa.list_(pa.int64()))])),
        ("a.b.c", pa.list_(pa.int64())),
        ("a.l", pa.map_(pa.string(), pa.struct([("v", pa.int64())]))),
        ("a", pa.struct([("b", pa.struct([("c", pa.int64())]))])),
        ("x", pa.int64()),
    ]))  # fmt: skip
    data, footer = written(table, row_group_size=10)
    file = ParquetStored(some_id(1), footer, "a")
    assert read(file, RangesOfBlobs({some_id(1): data}), columns).select(columns).equals(table.select(columns))
    assert [each.bounds for each in file.pieces(columns)] == [{"x": (first, first + 9)} for first in (0, 10, 20, 30)]


def test_times_of_96_bits_are_instants_at_any_depth_from_the_first_year_to_the_last() -> None:
    """Within lists and structs they had no zone; what lies beyond 2262 was refused, and all of the file with it."""
    times = [datetime(9999, 12, 31, 23, 59, 59, 999_999), datetime(1, 1, 1), datetime(2020, 1, 1, 5), None]
    table = pa.table({
        "t": pa.array(times, pa.timestamp("us")),
        "l": pa.array([[each] for each in times], pa.list_(pa.timestamp("us"))),
        "s": pa.array([{"n": 1, "t": each} for each in times], pa.struct([("n", pa.int8()), ("t", pa.timestamp("us"))])),
        "m": pa.array([[("k", {"t": each})] for each in times], pa.map_(pa.string(), pa.struct([("t", pa.timestamp("us"))]))),
        "n": [1, 2, 3, 4],
    })  # fmt: skip
    data, footer = written(table, use_deprecated_int96_timestamps=True, store_schema=False)
    file = ParquetStored(some_id(1), footer, "a")
    told = spark_arrow_schema(file.schema, file.schema.names)
    found = read(file, RangesOfBlobs({some_id(1): data}), file.schema.names)
    rows = pa.Table.from_batches([as_spark(each, told) for each in found.to_batches()]).to_pylist()
    instants = [None if each is None else each.replace(tzinfo=UTC) for each in times]
    assert [(row["t"], row["l"], row["s"]["t"], row["m"]) for row in rows] == [
        (each, [each], each, [("k", {"t": each})]) for each in instants
    ]


def test_parts_are_read_by_the_footer_of_all() -> None:
    whole: Any = None
    blobs: dict[Any, bytes] = {}
    for number in range(3):
        data, footer = written(rows(100, 100 * number), row_group_size=30)
        blobs[some_id(number)] = data
        footer.set_file_path(str(some_id(number)))
        if whole is None:
            whole = footer
        else:
            whole.append_row_groups(footer)
    client = RangesOfBlobs(blobs)
    found = read(ParquetStored(some_id(9), whole, "a"), client, ["word", "k"], [2, 3, 4, 11])
    assert found.column("k").to_pylist() == [*range(60, 130), *range(290, 300)]


def test_a_torn_chunk_is_told_of() -> None:
    data, footer = written(rows(500), compression="zstd")
    torn = data[:100] + bytes(200) + data[300:]
    with pytest.raises(DataCorrupt, match="a cannot be read"):
        read(ParquetStored(some_id(1), footer, "a"), RangesOfBlobs({some_id(1): torn}), ["k"])


def test_batches_of_large_rows_have_few() -> None:
    assert rows_within(1_000_000, 8_000_000) == BATCH_ROWS
    assert rows_within(1_000, 1_000 * (1 << 20)) == BATCH_SIZE >> 20
    assert rows_within(3, 3 << 30) == 1 and rows_within(0, 0) == rows_within(5, 0) == BATCH_ROWS
    table = pa.table({"wide": [bytes([each]) * (3 << 20) for each in range(12)]})
    data, footer = written(table, use_dictionary=False, compression="none")
    file = ParquetStored(some_id(1), footer, "a")
    batches = list(file.batches(RangesOfBlobs({some_id(1): data}), file.pieces(["wide"]), ["wide"]))  # type: ignore[arg-type]
    assert [batch.num_rows for batch in batches] == [5, 5, 2]
    assert pa.Table.from_batches(batches).equals(table)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AmbryClient]:
    with named_frontend(tmp_path_factory.mktemp("meta") / "meta.sqlite") as url, AmbryClient([url]) as made:
        yield made


def test_a_footer_that_is_none_is_told_of(client: AmbryClient) -> None:
    """They came out as pyarrow raises them: OSError, ArrowNotImplementedError."""
    data, _ = written(rows(500))
    arrow = io.BytesIO()
    table = pa.table({"k": [1, 2, 3]})
    with pa.ipc.new_file(arrow, table.schema) as into:
        into.write_table(table)
    size = int.from_bytes(data[-8:-4], "little")
    whole = arrow.getvalue()
    length = int.from_bytes(whole[-10:-6], "little")
    broken = {
        "no thrift": data[: -8 - size] + b"\xff" * size + data[-8:],
        "thrift cut off": data[: -8 - size] + data[-8 - size : -8 - size // 2] + bytes(size - size // 2) + data[-8:],
        "a length beyond the file": data[:-8] + (1 << 30).to_bytes(4, "little") + data[-4:],
        "no flatbuffer": whole[: -10 - length] + b"\xff" * length + whole[-10:],
        "a flatbuffer cut off": whole[: -10 - length] + bytes(length) + whole[-10:],
        "nothing": b"PAR1" + bytes(20),
        "no end": whole[:-6],
        "a footer that pyarrow ends the process for": with_wrong_levels(),
    }
    for what, each in broken.items():
        blob = client.put(each)
        with pytest.raises(DataCorrupt, match="cannot be read"):
            stored_file(client, str(blob.id))
            raise AssertionError(what)
    assert stored_file(client, str(client.put(data).id)).schema.names
    assert stored_file(client, str(client.put(whole).id)).schema.names == ["k"]


def test_a_copy_of_a_footer_is_not_read_as_the_version_that_has_the_parts(client: AmbryClient) -> None:
    """It was, until the parts were deleted: of a copy nobody knows that it names them."""
    data, footer = written(rows(100))
    commit = PartsCommit("parted", NameRef("parted", "default", "default"), "0123456789abcdef")
    name = commit.part("00000-1")
    footer.set_file_path(str(client.put(data, name=name, ttl=PART_TTL).id))
    sink = io.BytesIO()
    footer.write_metadata_file(sink)
    commit.publish(client, [name], sink.getvalue(), "LATEST")
    told = client.head(VersionRef("parted", "1")).metadata
    client.create_container("default", "copies")
    copies = [
        client.put_version("parted", sink.getvalue(), "LATEST"),
        client.put(sink.getvalue(), name="footer.parquet"),
        client.put(sink.getvalue(), name="told.parquet", metadata=told),
    ]
    for place in ("copied", "ambry://default/copies/parted"):
        client.create_dataset(place, "MONOTONIC")
        copies.append(client.put_version(place, sink.getvalue(), "LATEST", metadata=told))
    for place in (
        "parted@2",
        "footer.parquet",
        "told.parquet",
        "copied",
        "ambry://default/copies/parted",
        *map(str, (each.id for each in copies)),
    ):
        with pytest.raises(
            InvalidRequest,
            match=r"a footer by itself.* in 1 other files.*Read (the version of ambry://default/default/parted|what it)",
        ):
            stored_file(client, place)
    for place in ("parted@1", "ambry://default/default/parted@1"):
        file = stored_file(client, place)
        found = pa.Table.from_batches(list(file.batches(client, file.pieces(["k"]), ["k"])))
        assert found.column("k").to_pylist() == list(range(100))


def test_what_the_store_says_is_no_damage_of_the_file(client: AmbryClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many of its errors are OSErrors, as pyarrow's are: a store that was away was told as a file that cannot be read."""
    arrow = io.BytesIO()
    table = pa.table({"k": [1, 2, 3]})
    with pa.ipc.new_file(arrow, table.schema) as into:
        into.write_table(table)
    blob = client.put(arrow.getvalue()).id
    file = stored_file(client, str(blob))

    def away(*_: Any, **__: Any) -> Any:
        raise Unavailable("the store is away")

    monkeypatch.setattr(client, "open", away)
    with pytest.raises(Unavailable, match=r"^the store is away$"):
        stored_file(client, str(blob))
    with pytest.raises(Unavailable, match=r"^the store is away$"):
        list(file.batches(client, file.pieces(["k"]), ["k"]))
