"""A file of the store as pieces that tasks read: Parquet, Parquet in parts, Arrow, and Arrow with the index of a snapshot.

What is found on the driver goes to the tasks pickled: which blob it is, and what is known of its pieces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from ambry.client.model import BlobInfo
from ambry.client.refs import PinnedName, VersionRef, found_as
from ambry.client.sync.client import AmbryClient
from ambry.errors import BlobNotFound, DataCorrupt, InvalidRequest
from ambry.ids import BlobId
from ambry.ml.digests import located
from ambry.ml.snapshots.contents import ArrowContent
from ambry.ml.snapshots.order import check_rising
from ambry.ml.snapshots.writing import INDEX_KEY
from ambry.spark.plan import FilePiece

BATCH_ROWS = 65_536
"""Of a record batch of Parquet."""
Found = BlobId | PinnedName


class StoredFile(Protocol):
    """Picklable."""

    @property
    def schema(self) -> Any:
        """The pyarrow Schema."""

    def pieces(self, columns: Sequence[str]) -> list[FilePiece]:
        """All of it, with the sizes of these columns."""
        ...

    def batches(self, client: AmbryClient, pieces: Sequence[FilePiece], columns: Sequence[str]) -> Iterator[Any]:
        """Record batches with these columns, in any order of columns. Raises DataCorrupt, and what a get raises."""
        ...


@dataclass(frozen=True)
class ParquetStored:
    """`footer` is its FileMetaData. Row groups with a file path lie in the blobs of those ids."""

    found: Found
    footer: Any
    shown: str

    @property
    def schema(self) -> Any:
        return self.footer.schema.to_arrow_schema()

    def pieces(self, columns: Sequence[str]) -> list[FilePiece]:
        wanted = set(columns)
        made: list[FilePiece] = []
        for number in range(self.footer.num_row_groups):
            group = self.footer.row_group(number)
            size = 0
            bounds: dict[str, tuple[Any, Any]] = {}
            for each in range(group.num_columns):
                chunk = group.column(each)
                path = chunk.path_in_schema
                if path.partition(".")[0] in wanted or path in wanted:
                    size += chunk.total_compressed_size
                if chunk.is_stats_set and chunk.statistics.has_min_max and path in self.schema.names:
                    bounds[path] = (chunk.statistics.min, chunk.statistics.max)
            made.append(FilePiece(number, group.num_rows, size, bounds))
        return made

    def batches(self, client: AmbryClient, pieces: Sequence[FilePiece], columns: Sequence[str]) -> Iterator[Any]:
        for path, numbers in self._by_file([piece.number for piece in pieces]):
            yield from self._of_file(client, path, numbers, columns)

    def _by_file(self, numbers: Sequence[int]) -> list[tuple[str, list[int]]]:
        """The files, and which of their own row groups."""
        places: dict[str, int] = {}
        found: dict[str, list[int]] = {}
        asked = set(numbers)
        for number in range(self.footer.num_row_groups):
            path = self.footer.row_group(number).column(0).file_path
            own = places[path] = places.get(path, -1) + 1
            if number in asked:
                found.setdefault(path, []).append(own)
        return list(found.items())

    def _of_file(self, client: AmbryClient, path: str, groups: list[int], columns: Sequence[str]) -> Iterator[Any]:
        from pyarrow import parquet

        try:
            with client.open(BlobId.parse(path) if path else self.found) as source:
                file = parquet.ParquetFile(source, metadata=None if path else self.footer, pre_buffer=True)
                yield from file.iter_batches(BATCH_ROWS, row_groups=groups, columns=list(columns))
        except pa.ArrowInvalid as error:
            raise DataCorrupt(f"{self.shown} cannot be read: {error}") from error


@dataclass(frozen=True)
class ArrowStored:
    """Without an index: its footer says where the record batches lie. Of each, only the columns asked for are moved."""

    found: Found
    schema: Any
    sizes: tuple[int, ...]
    """Bytes of each record batch, as far as that is known."""
    shown: str

    def pieces(self, columns: Sequence[str]) -> list[FilePiece]:
        share = len(columns) / max(len(self.schema.names), 1)
        return [FilePiece(number, 1, int(size * share), {}) for number, size in enumerate(self.sizes)]

    def batches(self, client: AmbryClient, pieces: Sequence[FilePiece], columns: Sequence[str]) -> Iterator[Any]:
        fields = [self.schema.get_field_index(name) for name in columns]
        try:
            with client.open(self.found) as source:
                file = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=fields))
                for piece in pieces:
                    batch = file.get_batch(piece.number)
                    batch.validate(full=True)
                    yield batch
        except (pa.ArrowInvalid, OSError) as error:
            raise DataCorrupt(f"{self.shown} cannot be read: {error}") from error


@dataclass(frozen=True)
class SnapshotStored:
    """Arrow of a snapshot: its index says where each batch lies, and between which entities. Batches are moved whole."""

    found: Found
    schema: Any
    known: tuple[FilePiece, ...]
    offsets: tuple[int, ...]
    shown: str

    def pieces(self, columns: Sequence[str]) -> list[FilePiece]:
        return list(self.known)

    def batches(self, client: AmbryClient, pieces: Sequence[FilePiece], columns: Sequence[str]) -> Iterator[Any]:
        for start in range(0, len(pieces), _TOGETHER):
            together = pieces[start : start + _TOGETHER]
            spans = [(self.offsets[each.number], self.offsets[each.number] + each.size) for each in together]
            try:
                for data, piece in zip(client.get_ranges(self.found, spans), together, strict=True):
                    batch = pa.ipc.read_record_batch(pa.py_buffer(data), self.schema)
                    batch.validate(full=True)
                    self._check_ends(batch, piece)
                    yield batch.select(list(columns))
            except (pa.ArrowException, OSError) as error:
                raise DataCorrupt(f"{self.shown} cannot be read: {error}") from error

    def _check_ends(self, batch: Any, piece: FilePiece) -> None:
        """Whether a batch goes as far as the index says, by which others were left out. Raises DataCorrupt."""
        keys = batch.column(0)
        check_rising(keys, f"{self.shown}: batch {piece.number}")
        told = piece.bounds[self.schema.names[0]]
        if not len(keys) or (keys[0].as_py(), keys[-1].as_py()) != told:
            raise DataCorrupt(
                f"{self.shown}: batch {piece.number} does not go from {told[0]} to {told[1]}, as its index says"
            )


_TOGETHER = 64
"""Batches that are asked for at once."""


def stored_file(client: AmbryClient, place: str) -> StoredFile:
    """What `place` means now: a version (`NAME`, `NAME@2`, `NAME@ALIAS`, with ambry:// where it lies elsewhere) or a blob.

    Raises BlobNotFound, InvalidRequest for what is neither Parquet nor Arrow, DataCorrupt.
    """
    version, info = _looked_up(client, place)
    found = found_as(info)
    if INDEX_KEY in info.metadata and version is not None:
        return _snapshot(client, version, info)
    start = client.get_bytes(found, range=(0, 6)) if info.size >= 12 else b""
    if start not in (b"ARROW1",) and not start.startswith(b"PAR1"):
        raise InvalidRequest(f"{place} is neither Parquet nor an Arrow file; Spark reads those of ambry")
    try:
        with client.open(found) as source:
            if start == b"ARROW1":
                file = pa.ipc.open_file(source)
                count = file.num_record_batches
                return ArrowStored(found, file.schema, (info.size // max(count, 1),) * count, place)
            from pyarrow import parquet

            return ParquetStored(found, parquet.read_metadata(source), place)
    except pa.ArrowInvalid as error:
        raise DataCorrupt(f"{place} cannot be read: {error}") from error


def _snapshot(client: AmbryClient, version: VersionRef, info: BlobInfo) -> SnapshotStored:
    content = ArrowContent(client, version, info)
    content.check_types()
    index = content.index
    places = [index.place(number) for number in range(len(index))]
    key = index.schema.names[0]
    pieces = tuple(
        FilePiece(number, each.rows, each.size, {key: (_plain(each.first), _plain(each.last))})
        for number, each in enumerate(places)
    )
    return SnapshotStored(found_as(info), index.schema, pieces, tuple(each.offset for each in places), str(version))


def _plain(key: Any) -> Any:
    return key.item() if hasattr(key, "item") else key


def _looked_up(client: AmbryClient, place: str) -> tuple[VersionRef | None, BlobInfo]:
    """A text without `@` is a dataset's newest version where there is such a dataset, and else a blob."""
    try:
        version = located(client, place)
        return version, client.head(version)
    except (BlobNotFound, InvalidRequest):
        if "@" in place.rpartition("/")[2]:
            raise
    return None, client.head(place)
