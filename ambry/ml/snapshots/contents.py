"""Where the rows of a snapshot come from: an Arrow file with its index, or a Parquet file.

Both give record batches of some columns, all of them or those that some entities may lie in, from the cluster by ranges or out
of the cache. Arrow is mapped, and no byte of it is copied; of Parquet, row groups are decoded, and only the columns asked for
are moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from ambry.client.model import BlobInfo
from ambry.client.refs import VersionRef, found_as
from ambry.client.sync.client import AmbryClient
from ambry.errors import BlobNotFound, DataCorrupt
from ambry.ml.features.axes import TensorType
from ambry.ml.snapshots.arrays import private_batches, view_of
from ambry.ml.snapshots.index import SnapshotIndex, index_of_file
from ambry.ml.snapshots.writing import INDEX_KEY


class SnapshotContent(Protocol):
    """Usable by threads."""

    @property
    def schema(self) -> Any:
        """The pyarrow Schema. Raises DataCorrupt."""

    @property
    def rows(self) -> int:
        """How many entities there are."""

    @property
    def batch_count(self) -> int:
        """How many record batches, or row groups."""

    def fetch(self) -> None:
        """Bring the whole into the cache; nobody is asked any more then."""

    def close(self) -> None:
        """Let go what `fetch` keeps open."""

    def batches(self, names: Sequence[str]) -> Iterator[Any]:
        """All record batches, of these columns, out of the cache."""

    def own_views(self, name: str, kind: TensorType) -> Iterator[Any]:
        """A column as numpy arrays, one for each batch, in memory that is the caller's to write."""

    def batches_with(self, keys: Any, names: Sequence[str]) -> list[Any]:
        """The batches that `keys` (a numpy array) may lie in, in their order."""


class ArrowContent:
    """An Arrow file: by its index, or mapped."""

    def __init__(self, client: AmbryClient, place: VersionRef, info: BlobInfo) -> None:
        self._client = client
        self._place = place
        self._found = found_as(info)
        self._index_id = info.metadata[INDEX_KEY]
        self._mapped: Any = None

    @cached_property
    def index(self) -> SnapshotIndex:
        """Where its batches lie, out of the cache; of the whole file, where the index is gone. Raises DataCorrupt."""
        try:
            path = self._client.cached_path(self._index_id, verify=True)
        except BlobNotFound:
            whole = self._client.cached_path(self._found)
            try:
                return SnapshotIndex(pa.py_buffer(index_of_file(whole)))
            except pa.ArrowInvalid as error:
                raise _unreadable(self._place, error) from error
        return SnapshotIndex(pa.memory_map(str(path)))

    @property
    def schema(self) -> Any:
        return self.index.schema

    @property
    def rows(self) -> int:
        return self.index.rows

    @property
    def batch_count(self) -> int:
        return len(self.index)

    def fetch(self) -> None:
        if self._mapped is None:
            path = self._client.cached_path(self._found)
            try:
                self._mapped = pa.ipc.open_file(pa.memory_map(str(path)))
            except pa.ArrowInvalid as error:
                raise _unreadable(self._place, error) from error

    def close(self) -> None:
        """Arrays over what is mapped keep it alive."""
        self._mapped = None

    def batches(self, names: Sequence[str]) -> Iterator[Any]:
        self.fetch()
        mapped = self._mapped
        for place in range(mapped.num_record_batches):
            yield self._checked([mapped.get_batch(place).select(names)])[0]

    def own_views(self, name: str, kind: TensorType) -> Iterator[Any]:
        """Over a mapping of its own."""
        mapped, batches = private_batches(self._client.cached_path(self._found))
        for batch in batches:
            yield view_of(batch.column(name), kind, mapped)

    def batches_with(self, keys: Any, names: Sequence[str]) -> list[Any]:
        places = [int(place) for place in self.index.batches_of(keys)]
        if (mapped := self._mapped) is not None:
            return self._checked([mapped.get_batch(place).select(names) for place in places])
        spans = [self.index.place(place) for place in places]
        if not spans:
            return []
        pieces = self._client.get_ranges(self._found, [(span.offset, span.offset + span.size) for span in spans])
        try:
            batches = [pa.ipc.read_record_batch(pa.py_buffer(piece), self.schema) for piece in pieces]
        except (pa.ArrowInvalid, OSError) as error:
            raise _unreadable(self._place, error) from error
        return self._checked([batch.select(names) for batch in batches])

    def _checked(self, batches: list[Any]) -> list[Any]:
        """Batches whose values lie within them: a stranger's lengths and offsets may lead anywhere. Raises DataCorrupt."""
        kinds = batches[0].schema.types if batches else []
        loose = [number for number, kind in enumerate(kinds) if not _has_width(kind)]
        try:
            for batch in batches:
                batch.validate()
                for number in loose:
                    batch.column(number).validate(full=True)
        except pa.ArrowInvalid as error:
            raise _unreadable(self._place, error) from error
        return batches


class ParquetContent:
    """A Parquet file: its footer says where everything is, and between which entities a row group lies."""

    def __init__(self, client: AmbryClient, place: VersionRef, info: BlobInfo) -> None:
        self._client = client
        self._place = place
        self._found = found_as(info)
        self._path: str | None = None

    @cached_property
    def _footer(self) -> Any:
        """Read once: a version does not change."""
        with self._opened(None) as file:
            return file.metadata

    @cached_property
    def schema(self) -> Any:
        return self._footer.schema.to_arrow_schema()

    @property
    def rows(self) -> int:
        return int(self._footer.num_rows)

    @property
    def batch_count(self) -> int:
        return int(self._footer.num_row_groups)

    def fetch(self) -> None:
        if self._path is None:
            self._path = str(self._client.cached_path(self._found))

    def close(self) -> None:
        self._path = None

    def batches(self, names: Sequence[str]) -> Iterator[Any]:
        self.fetch()
        with self._opened(self._footer) as file:
            for place in range(file.num_row_groups):
                yield self._group(file, place, names)

    def own_views(self, name: str, kind: TensorType) -> Iterator[Any]:
        for batch in self.batches([name]):
            yield view_of(batch.column(name), kind).copy()

    def batches_with(self, keys: Any, names: Sequence[str]) -> list[Any]:
        places = self._groups_of(keys)
        if not places:
            return []
        with self._opened(self._footer) as file:
            return [self._group(file, place, names) for place in places]

    def _groups_of(self, keys: Any) -> list[int]:
        """By the entities that the footer says a row group lies between; one of which it says nothing may have any."""
        wanted = np.sort(keys)
        found = []
        for place in range(self.batch_count):
            told = self._footer.row_group(place).column(0).statistics
            if told is None or not told.has_min_max:
                found.append(place)
                continue
            after = int(np.searchsorted(wanted, told.min, side="left"))
            if after < len(wanted) and wanted[after] <= told.max:
                found.append(place)
        return found

    def _group(self, file: Any, place: int, names: Sequence[str]) -> Any:
        """One row group as one record batch. Raises DataCorrupt."""
        try:
            table = file.read_row_group(place, columns=list(names)).combine_chunks()
        except (pa.ArrowException, OSError) as error:
            raise _torn(self._place, error) from error
        return pa.RecordBatch.from_arrays(
            [_one(table.column(name)) for name in names], schema=pa.schema([table.field(name) for name in names])
        )

    @contextmanager
    def _opened(self, footer: Any) -> Iterator[Any]:
        """A pyarrow ParquetFile; the footer is read where it is None. Raises DataCorrupt, and what a get raises."""
        from pyarrow import parquet

        with Path(self._path).open("rb") if self._path else self._client.open(self._found) as source:
            try:
                file = parquet.ParquetFile(source, metadata=footer, pre_buffer=True)
            except (pa.ArrowException, OSError) as error:
                raise _torn(self._place, error) from error
            yield file


def content_of(client: AmbryClient, place: VersionRef, info: BlobInfo) -> SnapshotContent:
    """Of the version that `info` tells of."""
    return ArrowContent(client, place, info) if INDEX_KEY in info.metadata else ParquetContent(client, place, info)


def _has_width(kind: Any) -> bool:
    return isinstance(kind, pa.FixedShapeTensorType) or pa.types.is_primitive(kind)


def _one(column: Any) -> Any:
    """A column as one array."""
    return column.chunk(0) if column.num_chunks == 1 else pa.array([], column.type)


def _torn(place: VersionRef, error: Exception) -> Exception:
    """What to raise of a file of Parquet. An OSError with a number is the system's and stays."""
    return error if isinstance(error, OSError) and error.errno is not None else _unreadable(place, error)


def _unreadable(place: VersionRef, error: Exception) -> DataCorrupt:
    return DataCorrupt(f"the snapshot {place} cannot be read: {error}")
