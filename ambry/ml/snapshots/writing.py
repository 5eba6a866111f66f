"""Snapshots are written: rows of any order and number, as one version that is there whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import prod
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from ambry.client.cache_sums import sum_of
from ambry.client.model import BlobInfo
from ambry.client.refs import VersionRef
from ambry.client.scratch import scratch_directory
from ambry.client.sync.client import AmbryClient
from ambry.errors import (
    AccessDenied,
    AlreadyExists,
    AmbryError,
    BlobNotFound,
    InvalidRequest,
    QuotaExceeded,
    UpdateConflict,
)
from ambry.ids import BlobId
from ambry.ml.datasets import check_schema, dataset_for, dataset_there
from ambry.ml.features.axes import TensorType
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.package import digest
from ambry.ml.features.publishing import LoadedFeatures
from ambry.ml.features.urn import FeatureUrn
from ambry.ml.places import in_dataset
from ambry.ml.snapshots.aligned import AlignedFile
from ambry.ml.snapshots.asked import by_urn, definitions_in, urn_list
from ambry.ml.snapshots.index import CONTENT_TYPE, BatchPlace, IndexBuilder
from ambry.ml.snapshots.rows import conformed
from ambry.ml.snapshots.runs import MEMORY_MAX, SortedRows
from ambry.ml.snapshots.schema import Layout, SnapshotAbout, has_width, snapshot_schema
from ambry.rest.versions import is_passed, is_there

FileFormat = Literal["arrow", "parquet"]

ROWS_PER_BATCH = 2_048
GROUP_ROWS = 65_536
GROUP_SIZE = 64 << 20
"""Rows and bytes of a row group of Parquet."""
SCHEMA = "TIMESTAMP"
KIND = "snapshot"
INDEX_KEY = "snapshot-index"
"""In the metadata of a version: the id of its index."""
INDEX_TTL = timedelta(days=7)
"""Of an index until its version is there: one whose writer was killed goes by itself."""
FORMAT_KEY = "snapshot-format"
_CONTENT_TYPES: Mapping[str, str] = {"arrow": CONTENT_TYPE, "parquet": "application/vnd.apache.parquet"}


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenSnapshot:
    """A version that was made. `version` is the point in time in milliseconds since 1970."""

    dataset: str
    version: str
    id: BlobId
    index: BlobId | None
    rows: int
    size: int
    schema: Any


def write_snapshot(
    client: AmbryClient,
    dataset: str,
    rows: Any,
    features: Iterable[FeatureUrn | str],
    *,
    metadata: FeatureMetadata | LoadedFeatures,
    entity: str,
    as_of: datetime,
    columns: Mapping[str, str] | None = None,
    layouts: Mapping[str, Layout] | None = None,
    file_format: FileFormat = "arrow",
    allow_empty: bool = False,
    rows_per_batch: int = ROWS_PER_BATCH,
    memory_max: int = MEMORY_MAX,
    spool: Path | None = None,
    version_metadata: Mapping[str, str] | None = None,
) -> WrittenSnapshot:
    """Write the features of entities as they were at `as_of`, as that version of a TIMESTAMP dataset; durable on return.

    `rows` is any frame, or an iterator of frames or of mappings (frames.py). `entity` names the column with the keys, whole
    numbers or texts, each once and in any order. A feature is taken from the column of its name; `columns` says another one by
    URN, `layouts` whether it lies dense or sparse. The dataset is made if there is none. `version_metadata` is
    said of a version that is made, and not of one that is there.

    Memory of its own stays at some four times `memory_max` bytes (2,000,000 rows of 76 and of 557 MiB took 240 and 250 MiB);
    sorted runs are mapped, whose pages the system takes back when it needs them. A file of the size of the snapshot, and as
    much for sorting, stands in `spool` (a directory; the system's for temporary files without one) meanwhile.

    Raises InvalidRequest for a value that does not fit, with its row, for an entity that stands twice, and for no rows unless
    `allow_empty`: who opens the newest snapshot would find nobody in it. UpdateConflict where
    there is a snapshot of that time with other rows, or of a later one and none of that time, which is looked at before any
    row is. The same rows of the same time again are the same version, whatever came after it.
    """
    known = definitions_in(metadata)
    kinds = [known.tensor_type(urn) for urn in urn_list(features)]
    if not kinds:
        raise InvalidRequest("a snapshot without a feature says nothing; name at least one URN")
    columns, layouts = by_urn(columns, kinds, "columns"), by_urn(layouts, kinds, "layouts")
    if not isinstance(rows_per_batch, int) or rows_per_batch < 1:
        raise InvalidRequest(f"rows_per_batch is a number of at least 1, and not {rows_per_batch!r}")
    if file_format not in _FILES:
        raise InvalidRequest(f"a snapshot is a file of {' or '.join(_FILES)}, and not {file_format!r}")
    # Texts and lists end where nothing else may begin (aligned.py).
    kinds.sort(key=lambda kind: not has_width(kind, layouts.get(str(kind.urn))))
    about = SnapshotAbout(
        entity=entity,
        as_of=as_of,
        definitions=metadata.place if isinstance(metadata, LoadedFeatures) else "",
        digest=metadata.digest if isinstance(metadata, LoadedFeatures) else digest(known),
    )
    version = version_at(as_of)
    dataset_there(client, dataset, KIND)  # Refused before any row is looked at.
    newest = _newest(client, dataset)
    before = newest
    if newest is not None and int(newest.version) > int(version):
        before = _there(client, in_dataset(dataset, version))
        if before is None:
            raise _refused(dataset, version, newest)
    with scratch_directory("snapshot", spool) as directory:
        sorted_rows = _collect(rows, kinds, about, columns, layouts, directory, memory_max)
        path = directory / f"snapshot.{file_format}"
        count, index = _FILES[file_format](sorted_rows, path, entity, rows_per_batch)
        if not count and not allow_empty:
            raise InvalidRequest(
                f"there are no rows, and an empty snapshot would be the newest of {dataset!r}; look at where they come "
                "from, or allow it (allow_empty=True, --allow-empty)"
            )
        if newest is None:
            check_schema(dataset_for(client, dataset, SCHEMA, KIND), SCHEMA, "snapshots")
        if before is not None and before.version == version:
            if not _is_of(before, path):
                raise _refused(dataset, version, before)
            info, stored = before, _index_of(before)
            _keep(client, stored)
        else:
            said = {**(version_metadata or {}), FORMAT_KEY: file_format}
            info, stored = _put(client, dataset, path, version, said, index)
    return WrittenSnapshot(
        dataset=dataset,
        version=version,
        id=info.id,
        index=stored,
        rows=count,
        size=info.size,
        schema=sorted_rows.schema,
    )


def version_at(time: datetime) -> str:
    """The version of a point in time. Raises InvalidRequest for one without a time zone, or before 1970, or after 9999."""
    if not isinstance(time, datetime):
        raise InvalidRequest(f"a point in time is a datetime, and not {time!r}; write datetime(..., tzinfo=UTC)")
    if time.tzinfo is None:
        raise InvalidRequest(f"the point in time {time} has no time zone; write datetime(..., tzinfo=UTC)")
    # Not by astimezone, for which there is no UTC of the first and the last hours of all.
    since = time - datetime(1970, 1, 1, tzinfo=UTC)
    number = since.days * 86_400_000 + since.seconds * 1_000 + since.microseconds // 1_000
    if number < 0:
        raise InvalidRequest(f"the point in time {time} lies before 1970")
    return str(number)


def _collect(
    rows: Any,
    kinds: list[TensorType],
    about: SnapshotAbout,
    columns: dict[str, str],
    layouts: dict[str, Layout],
    directory: Path,
    memory_max: int,
) -> SortedRows:
    """All rows, in their types."""

    def schema_of(key: Any) -> Any:
        return snapshot_schema(kinds, about, key, layouts, columns)

    found: SortedRows | None = None
    for batch in conformed(rows, kinds, about.entity, schema_of, columns, layouts):
        if found is None:
            found = SortedRows(batch.schema, about.entity, directory, memory_max)
        found.add(batch)
    return found or SortedRows(schema_of(pa.int64()), about.entity, directory, memory_max)


def _arrow_file(rows: SortedRows, path: Path, entity: str, rows_per_batch: int) -> tuple[int, bytes | None]:
    """Each batch a message of its own, whose place is kept."""
    builder = IndexBuilder()
    with pa.OSFile(str(path), "wb") as sink, AlignedFile(sink, rows.schema) as file:
        for batch in rows.batches(rows_per_batch):
            offset, size = file.write(batch)
            keys = batch.column(entity)
            place = BatchPlace(
                first=keys[0].as_py(), last=keys[-1].as_py(), offset=offset, size=size, rows=batch.num_rows
            )
            builder.places.append(place)
    return sum(place.rows for place in builder.places), builder.build(rows.schema, entity)


def _parquet_file(rows: SortedRows, path: Path, entity: str, rows_per_batch: int) -> tuple[int, bytes | None]:
    """For offline use: columns are what is read of it, so its row groups are larger, and it has no index."""
    from pyarrow import parquet

    count = 0
    with parquet.ParquetWriter(str(path), rows.schema, compression="zstd", sorting_columns=None) as writer:
        for batch in rows.batches(max(rows_per_batch, min(GROUP_ROWS, GROUP_SIZE // _width(rows.schema)))):
            writer.write_batch(batch)
            count += batch.num_rows
    return count, None


def _width(schema: Any) -> int:
    """Bytes of a row, as far as they are known."""
    return sum(8 * prod(field.type.shape) if isinstance(field.type, pa.FixedShapeTensorType) else 8 for field in schema)


_FILES = {"arrow": _arrow_file, "parquet": _parquet_file}


def _put(
    client: AmbryClient, dataset: str, path: Path, version: str, said: dict[str, str], index: bytes | None
) -> tuple[BlobInfo, BlobId | None]:
    """The version, and its index, which goes again where the version is refused."""
    stored = None
    if index is not None:
        stored = client.put(index, ttl=INDEX_TTL, content_type=CONTENT_TYPE, filename=f"{version}.index").id
    try:
        info = client.put_version(
            dataset,
            path,
            version,
            content_type=_CONTENT_TYPES[said[FORMAT_KEY]],
            metadata=said | ({} if stored is None else {INDEX_KEY: str(stored)}),
            filename=f"{in_dataset(dataset).dataset}-{version}.{said[FORMAT_KEY]}",
        )
    except (InvalidRequest, AlreadyExists, UpdateConflict, AccessDenied, QuotaExceeded) as error:
        # It was refused, so no version names the index. After any other error one may: the answer can have been lost.
        found = _there(client, in_dataset(dataset, version))
        if stored is not None and (found is None or _index_of(found) != stored):
            client.delete(stored)
        if not isinstance(error, AlreadyExists | UpdateConflict):
            raise
        # Of two writers at a time, or two tries, one was first.
        if found is not None and _is_of(found, path):
            _keep(client, _index_of(found))
            return found, _index_of(found)
        raise _refused(dataset, version, found or _there(client, in_dataset(dataset))) from error
    except AmbryError:
        # The answer was lost: what names this index is what was put.
        with suppress(AmbryError):
            found = _there(client, in_dataset(dataset, version))
            if stored is not None and found is not None and _index_of(found) == stored:
                _keep(client, stored)
                return found, stored
        raise
    _keep(client, stored)
    return info, stored


def _keep(client: AmbryClient, index: BlobId | None) -> None:
    """For ever. One that is gone is built again by who reads (contents.py)."""
    if index is not None:
        with suppress(BlobNotFound):
            client.update_ttl(index, None)


def _newest(client: AmbryClient, dataset: str) -> BlobInfo | None:
    """None where there is none, or nobody may see it. Raises InvalidRequest for a dataset of other versions."""
    try:
        check_schema(client.dataset(dataset), SCHEMA, "snapshots")
        return _there(client, in_dataset(dataset))
    except (BlobNotFound, AccessDenied):
        return None


def _there(client: AmbryClient, place: VersionRef) -> BlobInfo | None:
    try:
        return client.head(place)
    except BlobNotFound:
        return None


def _is_of(info: BlobInfo, path: Path) -> bool:
    """Whether a version has the bytes of a file."""
    return info.size == path.stat().st_size and info.checksum == sum_of(path).digest


def _index_of(info: BlobInfo) -> BlobId | None:
    return BlobId.parse(info.metadata[INDEX_KEY]) if INDEX_KEY in info.metadata else None


def _refused(dataset: str, version: str, newest: BlobInfo | None) -> UpdateConflict:
    """`newest` is None, or before the version, where what was written later is deleted since."""
    time = _time_text(version)
    then = "give a later point in time (as_of), or another dataset"
    if newest is not None and newest.version == version:
        return UpdateConflict(is_there(f"{dataset}@{version} ({time}), of other rows, definitions or options,", then))
    before = f"one that is deleted, of {time} or later,"
    if newest is not None and int(newest.version) > int(version):
        before = f"{dataset}@{newest.version} ({_time_text(newest.version)})"
    return UpdateConflict(is_passed(f"{version} ({time})", before, then))


def _time_text(version: str) -> str:
    return datetime.fromtimestamp(int(version) / 1000, UTC).isoformat(timespec="milliseconds")
