"""Where the rows of a snapshot come from: an Arrow file with its index, or a Parquet file.

Both give record batches of some columns, all of them or those that some entities may lie in, from the cluster by ranges or out
of the cache. Arrow is mapped, and no byte of it is copied; of Parquet, row groups are decoded, and only the columns asked for
are moved. What the cache has is read once more when it is opened, and fetched again where it changed on this machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from ambry.client.model import BlobInfo
from ambry.client.refs import VersionRef, found_as
from ambry.client.sync.client import AmbryClient
from ambry.errors import BlobNotFound, DataCorrupt
from ambry.ml.arrow_errors import arrow_told
from ambry.ml.features.axes import TensorType
from ambry.ml.from_cache import used_at_once
from ambry.ml.parquet_footer import bounds_of, read_footer
from ambry.ml.snapshots.arrays import filled_view, private_file
from ambry.ml.snapshots.described import check_schema_of
from ambry.ml.snapshots.grown import brought
from ambry.ml.snapshots.index import FILE_START, SnapshotIndex, index_of_file
from ambry.ml.snapshots.order import BatchBounds, check_rising
from ambry.ml.snapshots.writing import INDEX_KEY

HEAD_SIZE_MAX = 16 << 20
"""Bytes of the schema of a snapshot."""


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
        self._size = info.size
        self._index_id = info.metadata[INDEX_KEY]
        self._memory: Any = None
        self._mapped: Any = None
        self._sound: list[set[str]] = []
        self._is_checked = False

    @cached_property
    def index(self) -> SnapshotIndex:
        """Where its batches lie, out of the cache; of the whole file, where the index is gone. Raises DataCorrupt."""
        with _readable(self._place):
            try:
                index = used_at_once(self._client, self._index_id, _mapped)
            except BlobNotFound:
                index = pa.py_buffer(used_at_once(self._client, self._found, index_of_file))
            return SnapshotIndex(index, self._size)

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
            memory = used_at_once(self._client, self._found, _mapped)
            with _readable(self._place):
                self._memory = memory
                mapped = pa.ipc.open_file(self._memory)
                self._check_file(mapped.schema, mapped.num_record_batches)
            self._sound = [set() for _ in range(mapped.num_record_batches)]
            self._mapped = mapped

    def close(self) -> None:
        """Arrays over what is mapped keep it alive."""
        self._mapped = self._memory = None

    def batches(self, names: Sequence[str]) -> Iterator[Any]:
        self.fetch()
        mapped = self._mapped
        for place in range(mapped.num_record_batches):
            yield self._batch(mapped, place, names)

    def own_views(self, name: str, kind: TensorType) -> Iterator[Any]:
        """Over a mapping of its own."""
        self.fetch()
        with _readable(self._place):
            mapped, file = private_file(self._memory.fileno())
        for place in range(file.num_record_batches):
            with _readable(self._place):
                batch = file.get_batch(place)
                self._check(batch, place, [name])
            column = batch.column(name)
            own = brought(column, kind)
            yield filled_view(column, kind, mapped) if own is column else filled_view(own, kind).copy()

    def batches_with(self, keys: Any, names: Sequence[str]) -> list[Any]:
        places = [int(place) for place in self.index.bounds.batches_of(keys)]
        if not places:
            return []
        if (mapped := self._mapped) is not None:
            return [self._batch(mapped, place, names) for place in places]
        spans = [self.index.place(place) for place in places]
        ranges = [(span.offset, span.offset + span.size) for span in spans]
        head = [] if self._is_checked else [self._head]
        pieces = self._client.get_ranges(self._found, [*head, *ranges])
        with _readable(self._place):
            if head:
                self._check_head(pieces.pop(0))
            batches = [pa.ipc.read_record_batch(pa.py_buffer(piece), self.schema) for piece in pieces]
            for batch, place in zip(batches, places, strict=True):
                self._check(batch, place, names)
        return [batch.select(list(names)) for batch in batches]

    def check_types(self) -> None:
        """Whether the columns are those of the index, for who reads batches by themselves. Raises DataCorrupt."""
        if not self._is_checked and len(self.index):
            [head] = self._client.get_ranges(self._found, [self._head])
            with _readable(self._place):
                self._check_head(head)

    @property
    def _head(self) -> tuple[int, int]:
        """Where the schema of the file stands: a batch tells nothing of its types."""
        return 0, min(self.index.head_size, HEAD_SIZE_MAX)

    def _check_head(self, head: bytes) -> None:
        self._check_file(pa.ipc.read_schema(pa.py_buffer(head[FILE_START:])), len(self.index))

    def _check_file(self, schema: Any, batch_count: int) -> None:
        """Whether the index is one of this file. Raises DataCorrupt."""
        if not schema.equals(self.index.schema, check_metadata=True):
            raise DataCorrupt("its index tells of other columns than it has")
        if batch_count != len(self.index):
            raise DataCorrupt(f"its index tells of {len(self.index)} batches, and it has {batch_count}")
        self._is_checked = True

    def _batch(self, mapped: Any, place: int, names: Sequence[str]) -> Any:
        """Columns of a batch of the mapped file, each looked at once. Raises DataCorrupt."""
        with _readable(self._place):
            batch = mapped.get_batch(place)
            if not self._sound[place].issuperset(names):
                self._check(batch, place, names)
                self._sound[place] |= set(names)
            return batch.select(list(names))

    def _check(self, batch: Any, place: int, names: Sequence[str]) -> None:
        """Whether values lie within a batch, and its entities as the index says: a stranger's lengths and offsets may lead
        anywhere. Raises DataCorrupt, ArrowInvalid.
        """
        key = self.schema.names[0]
        check_values(batch.select(list(dict.fromkeys([key, *names]))), self._loose)
        self.index.check_batch(place, batch)

    @cached_property
    def _loose(self) -> frozenset[str]:
        return loose_of(self.schema)


class ParquetContent:
    """A Parquet file: its footer says where everything is, and between which entities a row group lies."""

    def __init__(self, client: AmbryClient, place: VersionRef, info: BlobInfo) -> None:
        self._client = client
        self._place = place
        self._found = found_as(info)
        self._file: Any = None

    @cached_property
    def _footer(self) -> Any:
        """Read once: a version does not change."""
        with self._opened(None) as file:
            return file.metadata

    @cached_property
    def schema(self) -> Any:
        with _readable(self._place):
            schema = self._footer.schema.to_arrow_schema()
            check_schema_of(schema)
        return schema

    @property
    def rows(self) -> int:
        return int(self._footer.num_rows)

    @property
    def batch_count(self) -> int:
        return int(self._footer.num_row_groups)

    def fetch(self) -> None:
        if self._file is None:
            self._file = used_at_once(self._client, self._found, lambda path: pa.OSFile(str(path)))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None

    def batches(self, names: Sequence[str]) -> Iterator[Any]:
        self.fetch()
        with self._opened(self._footer) as file:
            yield from self._groups(file, range(file.num_row_groups), names)

    def own_views(self, name: str, kind: TensorType) -> Iterator[Any]:
        self.fetch()
        with self._opened(self._footer) as file:
            for place in range(file.num_row_groups):
                yield filled_view(brought(self._group(file, place, [name]).column(0), kind), kind).copy()

    def batches_with(self, keys: Any, names: Sequence[str]) -> list[Any]:
        bounds, places = self._bounds
        told = {places[int(number)] for number in bounds.batches_of(keys)}
        # One of which the footer says nothing may have any.
        wanted = [place for place in range(self.batch_count) if place in told or place not in places]
        if not wanted or not len(keys):
            return []
        with self._opened(self._footer) as file:
            return list(self._groups(file, wanted, names))

    @cached_property
    def _bounds(self) -> tuple[BatchBounds, list[int]]:
        """Between which entities row groups lie, as the footer says, and which these are. Raises DataCorrupt."""
        told = {}
        for place in range(self.batch_count):
            if (ends := bounds_of(self._footer.row_group(place).column(0))) is not None:
                told[place] = ends
        kind = self.schema.types[0]
        with _readable(self._place):
            first, last = (
                pa.array([ends[side] for ends in told.values()], kind).to_numpy(zero_copy_only=False) for side in (0, 1)
            )
            return BatchBounds(first, last, are_exact=False), list(told)

    def _groups(self, file: Any, places: Iterable[int], names: Sequence[str]) -> Iterator[Any]:
        """Row groups, whose entities rise. Raises DataCorrupt."""
        bounds, told = self._bounds
        entity = self.schema.names[0]
        before: Any = None
        for place in places:
            batch = self._group(file, place, list(dict.fromkeys([entity, *names])))
            with _readable(self._place):
                keys = batch.column(0)
                check_rising(keys, f"row group {place}")
                if place in told:
                    bounds.prove(told.index(place), keys)
                if len(keys) and before is not None and keys[0].as_py() <= before:
                    raise DataCorrupt(
                        f"row group {place} begins with {keys[0].as_py()!r}, and {before!r} stands before it"
                    )
            before = keys[-1].as_py() if len(keys) else before
            yield batch.select(list(names))

    def _group(self, file: Any, place: int, names: Sequence[str]) -> Any:
        """One row group as one record batch. Raises DataCorrupt."""
        with _readable(self._place):
            table = file.read_row_group(place, columns=list(names)).combine_chunks()
        schema = pa.schema([self.schema.field(name) for name in names])
        columns = [_one(table.column(name)) for name in names]
        if [column.type for column in columns] != schema.types:
            raise _unreadable(self._place, ValueError(f"row group {place} is of other types than its schema says"))
        batch = pa.RecordBatch.from_arrays(columns, schema=schema)
        with _readable(self._place):
            check_values(batch, loose_of(schema))
        return batch

    @contextmanager
    def _opened(self, footer: Any) -> Iterator[Any]:
        """A pyarrow ParquetFile; the footer is read where it is None. Raises DataCorrupt, and what a get raises."""
        from pyarrow import parquet

        # Arrow's own file where there is one: its threads wait for no Python, which may be about to end. By the descriptor, as
        # the entry of the cache may have gone.
        own = None if self._file is None else f"/proc/self/fd/{self._file.fileno()}"
        with pa.OSFile(own) if own else self._client.open(self._found) as source:
            with _readable(self._place):
                footer = read_footer(source) if footer is None else footer
                file = parquet.ParquetFile(source, metadata=footer, pre_buffer=True)
            yield file


def content_of(client: AmbryClient, place: VersionRef, info: BlobInfo) -> SnapshotContent:
    """Of the version that `info` tells of."""
    return ArrowContent(client, place, info) if INDEX_KEY in info.metadata else ParquetContent(client, place, info)


def loose_of(schema: Any) -> frozenset[str]:
    """The columns whose values say more than how many they are."""
    return frozenset(field.name for field in schema if not pa.types.is_primitive(field.type))


def check_values(batch: Any, loose: frozenset[str]) -> None:
    """Whether the values of a batch lie within it and are of their types. Raises DataCorrupt, ArrowInvalid."""
    batch.validate()
    for name in loose.intersection(batch.schema.names):
        column = batch.column(name)
        if not isinstance(column.type, pa.FixedShapeTensorType):
            column.validate(full=True)
            continue
        cells = column.storage.flatten()  # Without those of rows that are null.
        if cells.null_count:
            raise DataCorrupt(f"the column {name!r} has a tensor with a cell that is null")
        if column.type.value_type == pa.uint8() and len(cells) and int(cells.to_numpy().max()) > 1:
            raise DataCorrupt(f"the column {name!r} has a boolean that is neither 0 nor 1")


def _one(column: Any) -> Any:
    """A column as one array."""
    return column.chunk(0) if column.num_chunks == 1 else pa.array([], column.type)


def _mapped(path: Path) -> Any:
    return pa.memory_map(str(path))


@contextmanager
def _readable(place: VersionRef) -> Iterator[None]:
    """Raises DataCorrupt that names the snapshot for what Arrow says of it, and for what does not agree in it."""
    try:
        with arrow_told(lambda error: _unreadable(place, error)):
            yield
    except DataCorrupt as error:
        if not isinstance(error.__cause__, DataCorrupt):  # That of the index was told already.
            raise _unreadable(place, error) from error
        raise


def _unreadable(place: VersionRef, error: Exception) -> DataCorrupt:
    return DataCorrupt(f"the snapshot {place} cannot be read: {error}")
