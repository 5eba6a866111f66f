"""What is refused before it is written, and what a second try of the same write gives."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from ambry import AmbryClient, BlobNotFound, InvalidRequest, UpdateConflict
from ambry.errors import Unavailable
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.snapshots.index import index_of_file
from ambry.ml.snapshots.reading import open_snapshot
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


def untouched() -> Iterator[Any]:
    raise AssertionError("a row was asked for")
    yield


def test_a_point_in_time_that_may_not_be_is_told_before_any_row_is_read(client: AmbryClient, name: str) -> None:
    client.create_dataset(f"{name}-models", "SEMANTIC")
    with pytest.raises(InvalidRequest, match="take a dataset whose versions are TIMESTAMP"):
        write(client, f"{name}-models", untouched())
    write(client, name)
    with pytest.raises(UpdateConflict, match=r"@\d+ \(2026-11-27T12:00:00\.000\+00:00\) was there .*as_of"):
        write(client, name, untouched(), as_of=NOON - timedelta(hours=1))


@pytest.mark.parametrize("file_format", ["arrow", "parquet"])
def test_the_same_rows_of_the_same_time_are_the_same_version(client: AmbryClient, name: str, file_format: str) -> None:
    first = write(client, name, file_format=file_format)
    again = write(client, name, {"age": [10, 20], "member": [1, 2]}, file_format=file_format)
    assert again == first
    with pytest.raises(
        UpdateConflict,
        match="of other rows, definitions or options, is there, and a version is never written over: give",
    ):
        write(client, name, {"member": [1], "age": [3]}, file_format=file_format)
    assert [entry.id for entry in client.versions(name)] == [first.id]


def test_the_same_rows_are_the_same_version_whatever_came_after_them(client: AmbryClient, name: str) -> None:
    """Who runs again what made an older snapshot gets that one."""
    first = write(client, name)
    later = write(client, name, {"member": [1], "age": [3]}, as_of=NOON + timedelta(days=1))
    assert write(client, name) == first
    with pytest.raises(UpdateConflict, match=r"@\d+ \(2026-11-27T12:.*\), of other rows"):
        write(client, name, {"member": [1], "age": [3]})
    assert [entry.id for entry in client.versions(name)] == [first.id, later.id]


def test_a_writer_who_comes_second_has_the_version_of_the_first(client: AmbryClient, name: str) -> None:
    made = []

    def rows() -> Iterator[Any]:
        made.append(write(client, name))
        yield pd.DataFrame(ROWS)

    assert write(client, name, rows()) == made[0]


def test_a_time_that_was_deleted_does_not_come_again(client: AmbryClient, name: str) -> None:
    client.delete(write(client, name).id)
    with pytest.raises(UpdateConflict, match=r"only rise, and one that is deleted, of .* was there before"):
        write(client, name)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"columns": {"age": "years"}}, "`columns` has the key 'age', which is no URN of this call; those are urn"),
        ({"columns": {NAME: "name"}}, "`columns` has the key 'urn:li:.n,name,1,0.', which is no URN of this call"),
        ({"layouts": {"age": "dense"}}, "`layouts` has the key 'age'"),
        ({"metadata": "definitions"}, r"metadata is what features.load\(client, 'definitions'\) gives"),
        ({"file_format": "csv"}, "a file of arrow or parquet, and not 'csv'"),
        ({"urns": AGE}, "features are a list of URNs, and not one alone; write"),
        ({"urns": 5}, "features are a list of URNs, and int is none"),
        ({"as_of": "2026-11-27"}, "a point in time is a datetime, and not '2026-11-27'"),
    ],
)
def test_arguments_of_another_kind_are_told(
    client: AmbryClient, name: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words):
        write(client, name, untouched(), **options)


def test_one_alone_is_no_list(client: AmbryClient, name: str) -> None:
    write(client, name)
    with open_snapshot(client, name, metadata=METADATA) as snapshot:
        with pytest.raises(InvalidRequest, match="features are a list of URNs"):
            snapshot.read(AGE, [1])
        with pytest.raises(InvalidRequest, match="features are a list of URNs"):
            snapshot.table(AGE)
        with pytest.raises(InvalidRequest, match="features are a list of URNs"):
            snapshot.reader(AGE)
        for key in (5, "abc"):
            with pytest.raises(InvalidRequest, match=f"keys are a list, and not one alone; write .{key!r}."):
                snapshot.read([AGE], key)


def test_an_index_stays_for_ever_only_with_its_version(
    client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of a writer who was killed before its version was there stayed for ever, and nobody knew of it."""
    assert client.head(write(client, name).index).expires is None
    before, puts, kept = AmbryClient.put_version, AmbryClient.put, []

    def put(self: AmbryClient, *args: Any, **options: Any) -> Any:
        kept.append(puts(self, *args, **options))
        return kept[-1]

    def killed(*args: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    def lost(*args: Any, **options: Any) -> Any:
        before(*args, **options)
        raise Unavailable("the answer was lost")

    monkeypatch.setattr(AmbryClient, "put", put)
    monkeypatch.setattr(AmbryClient, "put_version", killed)
    with pytest.raises(KeyboardInterrupt):
        write(client, name, as_of=NOON + timedelta(hours=1))
    assert client.head(kept[-1].id).expires is not None
    monkeypatch.setattr(AmbryClient, "put_version", lost)
    written = write(client, name, as_of=NOON + timedelta(hours=2))
    assert (written.index, client.head(written.index).expires) == (kept[-1].id, None)


def test_an_index_that_is_gone_is_built_again(client: AmbryClient, name: str) -> None:
    rows = {"member": list(range(50)), "age": list(range(50))}
    written = write(client, name, rows, rows_per_batch=7)
    index = client.cached_path(written.index).read_bytes()
    assert index_of_file(client.cached_path(written.id)) == index
    client.delete(written.index)
    client.cached_path(written.index).unlink()
    with open_snapshot(client, name, metadata=METADATA) as snapshot:
        assert (snapshot.rows, snapshot.batch_count) == (50, 8)
        assert snapshot.read([AGE], [49, 7]).column("age").to_pylist() == [49, 7]
    assert write(client, name, rows, rows_per_batch=7) == written


@pytest.mark.parametrize("rows_per_batch", [0, -1, 1.5])
def test_batches_of_no_rows_are_refused(client: AmbryClient, name: str, rows_per_batch: Any) -> None:
    """Of -1 an empty snapshot was published, for good."""
    with pytest.raises(InvalidRequest, match="rows_per_batch is a number of at least 1"):
        write(client, name, rows_per_batch=rows_per_batch)
    with pytest.raises(BlobNotFound):
        client.dataset(name)
