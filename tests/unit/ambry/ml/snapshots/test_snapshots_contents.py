"""A snapshot is the same whether it lies in Arrow or in Parquet; of Parquet, row groups with a key are read and no others."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ambry import AmbryClient, DataCorrupt, InvalidRequest
from ambry.client.refs import VersionRef
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.snapshots import contents, writing
from ambry.ml.snapshots.reading import Snapshot, open_snapshot
from ambry.ml.snapshots.writing import FileFormat, write_snapshot
from ambry.ml.tables import open_table
from tests.support.blob_cache import flipped
from tests.support.fixed_lists import needs_fixed_lists

TEXT = """\
age: {valType: INT, default: -1}
name: {valType: STRING}
flag: {valType: BOOLEAN}
week: {valType: FLOAT, dims: [days-1-0], default: 0.5}
seen: {valType: INT, dims: [places-1-0]}
days: {type: discrete : {size: 7}}
places: {type: discrete}
"""
METADATA = FeatureMetadata.of([parse_definitions(TEXT, "n")])
URNS = [f"urn:li:(n,{name},1,0)" for name in ("age", "name", "flag", "week", "seen")]
AGE, NAME, FLAG, WEEK, SEEN = URNS
NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
FORMATS: tuple[FileFormat, ...] = ("arrow", "parquet")


def rows_of(keys: list[Any]) -> pd.DataFrame:
    """Every third has no value of anything."""
    there = [place % 3 > 0 for place in range(len(keys))]

    def column(values: list[Any]) -> list[Any]:
        return [value if has else None for value, has in zip(values, there, strict=True)]

    numbers = list(range(len(keys)))
    return pd.DataFrame(
        {
            "member": keys,
            "age": pd.array(column(numbers), dtype="Int32"),
            "name": column([f"m{key}" for key in keys]),
            "flag": column([bool(number % 2) for number in numbers]),
            "week": column([np.arange(7, dtype=np.float32) * number for number in numbers]),
            "seen": column([[(number, 1), (number + 1, 2)] for number in numbers]),
        }
    )


def both(client: AmbryClient, name: str, keys: list[Any]) -> list[Snapshot]:
    made = []
    for file_format in FORMATS:
        dataset = f"{name}-{file_format}"
        write_snapshot(
            client,
            dataset,
            rows_of(keys),
            URNS,
            metadata=METADATA,
            entity="member",
            as_of=NOON,
            rows_per_batch=8,
            file_format=file_format,
            allow_empty=not keys,
        )
        made.append(open_snapshot(client, dataset, metadata=METADATA))
    return made


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "GROUP_ROWS", 16)


@needs_fixed_lists
@pytest.mark.parametrize(
    "keys", [list(range(0, 200, 2)), [f"é{number:03}" for number in range(100)], [-(1 << 63), 5], []]
)
@pytest.mark.parametrize("fetched", [False, True])
def test_both_give_the_same(client: AmbryClient, name: str, keys: list[Any], fetched: bool) -> None:
    one, other = both(client, name, keys)
    if fetched:
        one.fetch(), other.fetch()
    assert (one.rows, one.urns, one.about) == (other.rows, other.urns, other.about)
    assert one.schema.equals(other.schema)
    asked = [*keys[90:], *keys[:3], *keys[:1], 777 if not keys or isinstance(keys[0], int) else "nobody"]
    for urns in ([AGE], URNS, [SEEN, FLAG]):
        assert one.read(urns, asked).equals(other.read(urns, asked))
        assert one.table(urns).equals(other.table(urns))
    assert one.table().equals(other.table())
    if keys:
        found, same = (each.reader([AGE, WEEK]).read(asked) for each in (one, other))
        assert found.found.tolist() == same.found.tolist()
        for urn in (AGE, WEEK):
            np.testing.assert_array_equal(found.values[urn], same.values[urn])


@needs_fixed_lists
def test_arrays_of_parquet_are_decoded(client: AmbryClient, name: str) -> None:
    one, other = both(client, name, list(range(40)))
    for urn in (AGE, WEEK):
        there = rows_of(list(range(40)))["name"].notna().to_numpy()
        first, second = (np.concatenate(each.arrays(urn)) for each in (one, other))
        np.testing.assert_array_equal(first[there], second[there])


def test_row_groups_without_a_key_are_not_read(client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, snapshot = both(client, name, list(range(0, 200, 2)))
    read: list[int] = []
    group = contents.ParquetContent._group

    def counted(self: Any, file: Any, place: int, names: Any) -> Any:
        read.append(place)
        assert list(names) == ["member", "age"]
        return group(self, file, place, names)

    monkeypatch.setattr(contents.ParquetContent, "_group", counted)
    assert snapshot.batch_count == 7
    snapshot.read([AGE], [198, 2, 4, 500, -1])
    assert read == [0, 6]
    for _ in range(2):
        snapshot.read([AGE], [31])  # Between 30 and 32 two groups meet: that nobody is there, both have to say, once.
    snapshot.read([AGE], [])
    assert read == [0, 6, 1]


@pytest.mark.parametrize(
    "torn", ["no Parquet", "a footer that is none", "a row group that is none", "a chunk of another"]
)
def test_a_file_that_is_no_parquet_is_told(client: AmbryClient, name: str, torn: str) -> None:
    """A torn footer was pyarrow's OSError; a chunk of another type than its schema says, the end of the process."""
    _, whole = both(client, name, list(range(40)))
    data = bytearray(client.get_bytes(whole.info.id))
    if torn == "no Parquet":
        data = bytearray(b"PAR1 no")
    elif torn == "a footer that is none":
        data[-200:-8] = b"\xff" * 192
    elif torn == "a chunk of another":
        place = data.rindex(b"\x15\x04\x19")
        data[place : place + 3] = b"\x15\x02\x19"
    else:
        data[4:600] = b"\xff" * 596
    newer = str(int(NOON.timestamp() * 1000) + 1)
    client.put_version(f"{name}-parquet", bytes(data), newer, metadata={writing.FORMAT_KEY: "parquet"})
    with (
        open_snapshot(client, f"{name}-parquet", metadata=METADATA) as snapshot,
        pytest.raises(DataCorrupt, match="cannot be read"),
    ):
        snapshot.table()


def test_a_footer_is_read_once(client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was read again for each read by key."""
    _, snapshot = both(client, name, list(range(0, 200, 2)))
    expected = snapshot.read([AGE], [30]).column("age").to_pylist()
    size, read = snapshot.info.size, []
    opened = AmbryClient.open

    def counted(self: AmbryClient, *said: Any, **more: Any) -> Any:
        file = opened(self, *said, **more)
        reads = file.read

        def noted(*count: Any) -> bytes:
            place, data = file.tell(), reads(*count)
            read.append((place, len(data)))
            return bytes(data)

        file.read = noted
        return file

    monkeypatch.setattr(AmbryClient, "open", counted)
    assert snapshot.read([AGE], [30]).column("age").to_pylist() == expected
    assert read
    assert all(place + count < size - 8 for place, count in read)


def test_a_version_of_no_snapshot_is_told(client: AmbryClient, name: str) -> None:
    both(client, name, [1])
    client.put_version(f"{name}-parquet", b"x", str(int(NOON.timestamp() * 1000) + 1))
    with pytest.raises(InvalidRequest, match="is no snapshot of features"):
        open_snapshot(client, f"{name}-parquet")


@needs_fixed_lists
def test_what_is_written_through_a_view_of_parquet_is_nobodys_else(client: AmbryClient, name: str) -> None:
    _, snapshot = both(client, name, [1, 2])
    [mine] = snapshot._content.own_views("week", snapshot.resolve(WEEK))
    mine[:] = 9
    assert snapshot.read([WEEK], [2]).column("week").combine_chunks().storage.to_pylist() == [
        list(map(float, range(7)))
    ]
    assert isinstance(snapshot.table().column("week").type, pa.FixedShapeTensorType)


@pytest.mark.parametrize("fetched", [False, True])
def test_offsets_that_lie_are_told(
    client: AmbryClient, name: str, fetched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were followed, and ended the process."""
    snapshot, _ = both(client, name, [1, 2, 3])
    lying = pa.Array.from_buffers(
        pa.string(), 3, [None, pa.py_buffer(np.array([0, 1, 1 << 30, 2], dtype=np.int32)), pa.py_buffer(b"ab")]
    )

    class Reader:
        num_record_batches = 1

        def get_batch(self, place: int) -> Any:
            return batch_of(snapshot.schema, lying)

    def batch_of(schema: Any, names: Any) -> Any:
        columns = [names if field.name == "name" else pa.nulls(3, field.type) for field in schema]
        return pa.RecordBatch.from_arrays([pa.array([1, 2, 3]), *columns[1:]], schema=schema)

    if fetched:
        snapshot.fetch()
        monkeypatch.setattr(snapshot._content, "_mapped", Reader())
    else:
        monkeypatch.setattr(pa.ipc, "read_record_batch", lambda piece, schema: batch_of(schema, lying))
    with pytest.raises(DataCorrupt, match="cannot be read"):
        snapshot.read([NAME], [2])
    assert snapshot.read([AGE], [2]).column("age").to_pylist() == [-1], "numbers have no offsets"


@pytest.mark.parametrize("file_format", FORMATS)
def test_what_the_cache_has_of_a_snapshot_is_fetched_again_where_it_changed(
    client: AmbryClient, name: str, file_format: FileFormat
) -> None:
    """A bit that flipped in the cache of the machine was another value, and nobody was told."""
    keys = list(range(4_000))
    ages = [key if key % 3 else None for key in keys]
    noise = np.random.default_rng(1).random((len(keys), 7), np.float32)
    rows = {"member": keys, "age": ages, "week": list(noise)}
    write_snapshot(
        client, name, rows, [AGE, WEEK], metadata=METADATA, entity="member", as_of=NOON, file_format=file_format
    )

    def opened() -> Snapshot:
        flipped(client.cached_path(VersionRef(name)))
        return open_snapshot(client, name, metadata=METADATA)

    def whole(column: Any) -> Any:
        return np.stack(column.to_numpy())

    with opened() as snapshot:
        assert np.array_equal(whole(snapshot.table().column("week")), noise)
    with opened() as snapshot:
        assert np.array_equal(whole(snapshot.fetch().read([WEEK], keys).column("week")), noise)
    with opened() as snapshot:
        assert np.concatenate(snapshot.arrays(AGE)).tolist() == [-1 if age is None else age for age in ages]
        assert np.array_equal(np.concatenate(snapshot.arrays(WEEK)), noise)
    with opened():
        table = open_table(client, name)
        assert np.array_equal(whole(pa.Table.from_batches(table.batches).column("week")), noise)


@pytest.mark.parametrize("fetched", [False, True])
def test_lengths_that_lie_are_told(client: AmbryClient, name: str, fetched: bool) -> None:
    """Of numbers, too, which ended the process (SIGSEGV): nothing but a buffer says how many there are."""
    rows, settings = 1_237, {"metadata": METADATA, "entity": "member"}
    keys = list(range(rows))
    write_snapshot(client, name, {"member": keys, "age": keys}, [AGE], as_of=NOON, **settings)  # type: ignore[arg-type]
    info = client.head(VersionRef(name))
    lying = client.get_bytes(info.id).replace(struct.pack("<q", rows), struct.pack("<q", 400_000_000))
    said = {writing.FORMAT_KEY: "arrow", writing.INDEX_KEY: info.metadata[writing.INDEX_KEY]}
    client.put_version(name, lying, str(int(info.version) + 1), metadata=said)
    with open_snapshot(client, name, metadata=METADATA) as snapshot:
        if fetched:
            snapshot.fetch()
        with pytest.raises(DataCorrupt, match="too small"):
            snapshot.read([AGE], [5, 1_236, 1_000_000])
