"""Of a snapshot Spark moves the columns that are asked for, and what a stranger wrote is a sentence."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from ambry import AmbryClient, DataCorrupt, VersionRef
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.snapshots.reading import open_snapshot
from ambry.ml.snapshots.writing import write_snapshot
from ambry.spark.snapshot_file import SnapshotStored, stored_snapshot
from tests.support.named_frontend import named_frontend

TEXT = """\
age: {valType: INT}
job: {valType: STRING}
flag: {valType: BOOLEAN}
wide: {valType: FLOAT, dims: [places-1-0]}
open: {valType: INT, dims: [seen-1-0]}
places: {type: discrete : {size: 64}}
seen: {type: discrete}
"""
METADATA = FeatureMetadata.of([parse_definitions(TEXT, "n")])
ROWS, PER_BATCH = 3_000, 500
COLUMNS = ["member", "age", "job", "flag", "wide", "open"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AmbryClient]:
    directory = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch, named_frontend(directory / "meta.sqlite") as url:
        patch.setenv("AMBRY_CACHE_DIR", str(directory / "cache"))
        with AmbryClient([url]) as made:
            yield made


class CountedRanges:
    """A client whose ranges are counted."""

    def __init__(self, client: AmbryClient) -> None:
        self._client = client
        self.moved = self.requests = 0

    def get_ranges(self, ref: Any, spans: Sequence[tuple[int, int]], *, coalesce: int) -> list[bytes]:
        found = self._client.get_ranges(ref, spans, coalesce=coalesce)
        self.moved += sum(map(len, found))
        self.requests += 1
        return found


def stored(client: AmbryClient, name: str, rows: int = ROWS) -> SnapshotStored:
    columns: dict[str, Any] = {
        "member": list(range(rows)),
        "age": [None if key % 7 == 0 else key for key in range(rows)],
        "job": [f"job {key % 11}" for key in range(rows)],
        "flag": [key % 3 == 0 for key in range(rows)],
        "wide": [[key + place / 64 for place in range(64)] for key in range(rows)],
        "open": [[(place, key) for place in range(key % 4)] for key in range(rows)],
    }
    write_snapshot(
        client, name, columns, METADATA.urns, metadata=METADATA, entity="member", as_of=datetime(2026, 11, 27, tzinfo=UTC),
        rows_per_batch=PER_BATCH, allow_empty=True,
    )  # fmt: skip
    place = VersionRef(name, "LATEST")
    return stored_snapshot(client, place, client.head(place))


@pytest.fixture(scope="module")
def file(client: AmbryClient) -> SnapshotStored:
    return stored(client, "typed")


@pytest.mark.parametrize("columns", [[each] for each in COLUMNS] + [["open", "member"], ["wide", "age"], COLUMNS])
def test_only_the_columns_asked_for_are_moved(client: AmbryClient, file: SnapshotStored, columns: list[str]) -> None:
    counted = CountedRanges(client)
    pieces = file.pieces(columns)
    batches = list(file.batches(counted, pieces, columns))  # type: ignore[arg-type]
    with open_snapshot(client, "typed", metadata=METADATA) as snapshot:
        table = snapshot.table().select(columns)
    assert pa.Table.from_batches(batches).replace_schema_metadata().equals(table.replace_schema_metadata())
    # What a column takes, with its validity and padding, and the metadata of a batch.
    most = sum(column.nbytes for column in table.columns) + len(pieces) * 2_000 * (1 + len(columns))
    assert counted.moved <= most < file.file.size or len(columns) == len(COLUMNS)
    assert sum(piece.size for piece in pieces) == pytest.approx(counted.moved, rel=0.2, abs=len(pieces) * 2_000)
    assert counted.requests <= 2
    some = list(file.batches(counted, pieces[2:4], columns))  # type: ignore[arg-type]
    assert pa.Table.from_batches(some).num_rows == 2 * PER_BATCH


def test_a_snapshot_of_nobody_has_no_pieces(client: AmbryClient) -> None:
    file = stored(client, "nobody", 0)
    assert file.pieces(["age"]) == [] and list(file.batches(client, [], ["age"])) == []


def read(client: AmbryClient, file: SnapshotStored, columns: list[str]) -> None:
    list(file.batches(client, file.pieces(columns), columns))


def test_an_index_that_tells_of_other_batches_is_refused(client: AmbryClient, file: SnapshotStored) -> None:
    swapped = replace(file, offsets=(file.offsets[1], file.offsets[0], *file.offsets[2:]))
    for columns in (["age"], COLUMNS):
        with pytest.raises(DataCorrupt, match=r"batch 0 does not lie where|cannot be read"):
            read(client, swapped, columns)
    fewer = replace(file, known=(replace(file.known[0], rows=3), *file.known[1:]))
    with pytest.raises(DataCorrupt, match="batch 0 has 500 rows, and 3 by its index"):
        read(client, fewer, ["age"])
    other = replace(file, known=(replace(file.known[0], bounds={"member": (0, 700)}), *file.known[1:]))
    with pytest.raises(DataCorrupt, match="batch 0 does not go from 0 to 700, as its index says"):
        read(client, other, ["member"])


def test_a_footer_or_a_batch_that_is_torn_is_a_sentence(client: AmbryClient, file: SnapshotStored) -> None:
    torn = replace(file, file=replace(file.file, tail=bytes(len(file.file.tail))))
    for columns in (["age"], COLUMNS):
        with pytest.raises(DataCorrupt, match="cannot be read"):
            list(torn.batches(client, file.known, columns))

    class Zeros(CountedRanges):
        def get_ranges(self, ref: Any, spans: Sequence[tuple[int, int]], *, coalesce: int) -> list[bytes]:
            return [bytes(len(each)) for each in super().get_ranges(ref, spans, coalesce=coalesce)]

    with pytest.raises(DataCorrupt, match="cannot be read"):
        list(file.batches(Zeros(client), file.known, ["job"]))  # type: ignore[arg-type]


def test_snapshots_go_to_tasks_pickled(client: AmbryClient, file: SnapshotStored) -> None:
    sent = pickle.loads(pickle.dumps(file))
    assert sum(batch.num_rows for batch in sent.batches(client, sent.pieces(["age"]), ["age"])) == ROWS
