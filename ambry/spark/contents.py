"""A file of the store as pieces that tasks read: Parquet, Parquet in parts, Arrow, and Arrow with the index of a snapshot.

What is found on the driver goes to the tasks pickled: which blob it is, and what is known of its pieces.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Any, Protocol

import pyarrow as pa

from ambry.client.model import BlobInfo
from ambry.client.refs import PinnedName, VersionRef, found_as, written_place
from ambry.client.sync.client import AmbryClient
from ambry.errors import BlobNotFound, InvalidRequest
from ambry.ids import BlobId
from ambry.ml.arrow_errors import arrow_told
from ambry.ml.digests import located
from ambry.ml.parquet_footer import bounds_of, read_footer
from ambry.ml.snapshots.writing import INDEX_KEY
from ambry.shown_urls import shown_place
from ambry.spark.ahead import HeldSpans, WindowsAhead, ranges_of, windows
from ambry.spark.parquet_leaves import flat_columns, with_instants
from ambry.spark.plan import FilePiece
from ambry.spark.snapshot_file import stored_snapshot, unreadable
from ambry.spark.stored_parts import check_has_parts
from ambry.spark.written_by_spark import check_calendar, has_old_calendar, with_spark_types

BATCH_ROWS = 65_536
BATCH_SIZE = 16 << 20
"""Rows, and bytes as far as they are known, of a record batch of Parquet."""
_DOT = re.compile(r"\.")
Found = BlobId | PinnedName


def rows_within(rows: int, size: int) -> int:
    """How many of so many rows, with so many bytes, a record batch takes: at least one."""
    return max(1, min(BATCH_ROWS, BATCH_SIZE * rows // size if size else BATCH_ROWS))


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


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is fetched at once: `spans` of the blob whose id is `path`, of the file itself where that is empty."""

    window: Sequence[FilePiece]
    path: str
    spans: Sequence[tuple[int, int]]


@dataclass(frozen=True)
class ParquetStored:
    """`footer` is its FileMetaData. Row groups with a file path lie in the blobs of those ids."""

    found: Found
    footer: Any
    shown: str

    @property
    def schema(self) -> Any:
        """With instants where the file has times of 96 bits, and types that Spark alone knows of."""
        stored = self.footer.schema
        with arrow_told(unreadable(self.shown)):
            told = stored.to_arrow_schema()
        told = with_instants(told, [stored.column(place).physical_type for place in range(len(stored))])
        return with_spark_types(told, self.footer.metadata)

    def pieces(self, columns: Sequence[str]) -> list[FilePiece]:
        flat = flat_columns(self.schema)
        with arrow_told(unreadable(self.shown)):
            return [self._piece(number, flat, columns) for number in range(self.footer.num_row_groups)]

    def _piece(self, number: int, flat: Mapping[int, str], columns: Sequence[str]) -> FilePiece:
        group = self.footer.row_group(number)
        size = sum(chunk.total_compressed_size for chunk in self._chunks(number, columns))
        bounds: dict[str, tuple[Any, Any]] = {}
        for each in range(group.num_columns):
            if each in flat and (ends := bounds_of(group.column(each))) is not None:
                bounds[flat[each]] = ends
        if has_old_calendar(self.footer.metadata):
            bounds = {name: ends for name, ends in bounds.items() if not isinstance(ends[0], date)}
        return FilePiece(number, group.num_rows, size, bounds)

    def batches(self, client: AmbryClient, pieces: Sequence[FilePiece], columns: Sequence[str]) -> Iterator[Any]:
        asked = (
            _Asked(window, path, self._spans(window, columns))
            for path, of_file in groupby(pieces, lambda piece: self._path(piece.number))
            for window in windows(list(of_file))
        )

        def fetch(one: _Asked) -> HeldSpans:
            blob = BlobId.parse(one.path) if one.path else self.found
            return HeldSpans(one.spans, ranges_of(client, blob, one.spans))

        is_old = has_old_calendar(self.footer.metadata)
        for one, held in WindowsAhead(fetch, asked):
            for batch in self._decoded(held, one.window, columns):
                if is_old:
                    check_calendar(batch, self.shown)
                yield batch

    def parts(self) -> set[str]:
        """The ids of the blobs that row groups lie in; none where they lie in the file itself."""
        with arrow_told(unreadable(self.shown)):
            return {path for number in range(self.footer.num_row_groups) if (path := self._path(number))}

    def _path(self, number: int) -> str:
        group = self.footer.row_group(number)
        return str(group.column(0).file_path) if group.num_columns else ""

    def _chunks(self, number: int, columns: Iterable[str]) -> Iterator[Any]:
        """Of a row group, what pyarrow reads for these columns: where `a.b` may be two, both."""
        wanted = set(columns)
        group = self.footer.row_group(number)
        for each in range(group.num_columns):
            chunk = group.column(each)
            path = chunk.path_in_schema
            if path in wanted or any(path[: dot.start()] in wanted for dot in _DOT.finditer(path)):
                yield chunk

    def _spans(self, window: Sequence[FilePiece], columns: Sequence[str]) -> tuple[tuple[int, int], ...]:
        found = []
        for piece in window:
            for chunk in self._chunks(piece.number, columns):
                start = chunk.data_page_offset
                if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
                    start = chunk.dictionary_page_offset
                found.append((start, start + chunk.total_compressed_size))
        return tuple(found)

    def _decoded(self, held: HeldSpans, window: Sequence[FilePiece], columns: Sequence[str]) -> Iterator[Any]:
        from pyarrow import parquet

        numbers = [piece.number for piece in window]
        size = sum(chunk.total_uncompressed_size for each in numbers for chunk in self._chunks(each, columns))
        rows = rows_within(sum(piece.rows for piece in window), size)
        with arrow_told(unreadable(self.shown)):
            # A footer of many files says of each row group where it lies in its own.
            # Nothing is left to be read ahead, and across what was not fetched nothing can be.
            # Nanoseconds would reach from 1677 to 2262, and times of 96 bits go on to 9999.
            file = parquet.ParquetFile(held, metadata=self.footer, pre_buffer=False, coerce_int96_timestamp_unit="us")
            yield from file.iter_batches(rows, row_groups=numbers, columns=list(columns))


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
        with arrow_told(unreadable(self.shown)), client.open(self.found) as source:
            file = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=fields))
            for piece in pieces:
                batch = file.get_batch(piece.number)
                batch.validate(full=True)
                yield batch


def stored_file(client: AmbryClient, place: str) -> StoredFile:
    """What `place` means now: a version (`NAME`, `NAME@2`, `NAME@ALIAS`, with ambry:// where it lies elsewhere) or a blob.

    Raises BlobNotFound, InvalidRequest for what is neither Parquet nor Arrow, or a copied footer, DataCorrupt.
    """
    version, info = _looked_up(client, place)
    found, shown = found_as(info), shown_place(place)
    if INDEX_KEY in info.metadata and version is not None:
        return stored_snapshot(client, version, info)
    start = client.get_bytes(found, range=(0, 6)) if info.size >= 12 else b""
    if start not in (b"ARROW1",) and not start.startswith(b"PAR1"):
        raise InvalidRequest(f"{shown} is neither Parquet nor an Arrow file; Spark reads those of ambry")
    with arrow_told(unreadable(shown)), client.open(found) as source:
        if start == b"ARROW1":
            file = pa.ipc.open_file(source)
            count = file.num_record_batches
            return ArrowStored(found, file.schema, (info.size // max(count, 1),) * count, shown)
        footer = read_footer(source)
    file = ParquetStored(found, footer, shown)
    if parts := file.parts():
        check_has_parts(client, version, info, shown, len(parts))
    return file


def _looked_up(client: AmbryClient, place: str) -> tuple[VersionRef | None, BlobInfo]:
    """A text without `@` is a dataset's newest version where there is such a dataset, and else a blob; so is a URL of one."""
    if (written := written_place(place)) is not None:
        return None, client.head(written)
    try:
        version = located(client, place)
        return version, client.head(version)
    except (BlobNotFound, InvalidRequest):
        if "@" in place.rpartition("/")[2]:
            raise
    return None, client.head(place)
