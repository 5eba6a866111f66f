"""Arrow of a snapshot for Spark: its index says where each batch lies, and between which entities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ambry.client.model import BlobInfo
from ambry.client.refs import PinnedName, VersionRef, found_as
from ambry.client.sync.client import AmbryClient
from ambry.errors import DataCorrupt
from ambry.ids import BlobId
from ambry.ml.arrow_errors import arrow_told
from ambry.ml.snapshots.contents import ArrowContent
from ambry.ml.snapshots.order import check_rising
from ambry.spark.ahead import WindowsAhead, ranges_of, windows
from ambry.spark.arrow_ranges import ArrowRanges, Span
from ambry.spark.plan import FilePiece


@dataclass(frozen=True)
class SnapshotStored:
    """Of each batch, only the columns asked for are moved: the metadata of all batches of a task first, and then their buffers,
    many at once.
    """

    found: BlobId | PinnedName
    schema: Any
    known: tuple[FilePiece, ...]
    offsets: tuple[int, ...]
    file: ArrowRanges
    first: tuple[tuple[Span, ...], tuple[bytes, ...]]
    """The metadata of the first batch, by which columns are weighed."""
    shown: str

    def pieces(self, columns: Sequence[str]) -> list[FilePiece]:
        """With the sizes that columns have where they are what they are of the first batch."""
        if not self.known or self._is_whole(columns):
            return list(self.known)
        [asked] = self.file.asked({0: self._place(0)}, self._fields(columns), *self.first)
        share = sum(end - start for start, end in asked) / self.known[0].size
        return [FilePiece(each.number, each.rows, max(1, int(each.size * share)), each.bounds) for each in self.known]

    def batches(self, client: AmbryClient, pieces: Sequence[FilePiece], columns: Sequence[str]) -> Iterator[Any]:
        """Record batches with these columns. Raises DataCorrupt, and what a get raises."""
        fields = self._fields(columns)
        spans = self._spans(client, pieces, columns)

        def fetch(window: Sequence[FilePiece]) -> tuple[list[Span], list[bytes]]:
            wanted = [span for each in window for span in spans[each.number]]
            return wanted, ranges_of(client, self.found, wanted)

        for window, (held, data) in WindowsAhead(fetch, windows(pieces)):
            with arrow_told(unreadable(self.shown)):
                _, reader = self.file.opened(fields, held, data)
            for piece in window:
                yield self._batch(piece.number, reader).select(list(columns))

    def _spans(self, client: AmbryClient, pieces: Sequence[FilePiece], columns: Sequence[str]) -> dict[int, list[Span]]:
        """What has to be moved of each batch, by its number."""
        places = {each.number: self._place(each.number) for each in pieces}
        if not pieces or self._is_whole(columns):
            return {number: [place] for number, place in places.items()}
        fields = self._fields(columns)
        with arrow_told(unreadable(self.shown)):
            heads = self.file.asked(places, fields)
            self._check_within(places, heads)
            spans = [span for head in heads for span in head]
            bodies = self.file.asked(places, fields, spans, ranges_of(client, self.found, spans))
        self._check_within(places, bodies)
        return {number: [*head, *body] for number, head, body in zip(places, heads, bodies, strict=True)}

    def _batch(self, number: int, reader: Any) -> Any:
        """Raises DataCorrupt."""
        with arrow_told(unreadable(self.shown)):
            batch = reader.get_batch(number)
            batch.validate(full=True)
        if batch.num_rows != self.known[number].rows:
            raise DataCorrupt(
                f"{self.shown}: batch {number} has {batch.num_rows} rows, and {self.known[number].rows} by its index"
            )
        if (key := self.schema.names[0]) in batch.schema.names:
            self._check_ends(batch.column(key), number)
        return batch

    def _check_ends(self, keys: Any, number: int) -> None:
        """Whether a batch goes as far as the index says, by which others were left out. Raises DataCorrupt."""
        check_rising(keys, f"{self.shown}: batch {number}")
        told = self.known[number].bounds[self.schema.names[0]]
        if not len(keys) or (keys[0].as_py(), keys[-1].as_py()) != told:
            raise DataCorrupt(
                f"{self.shown}: batch {number} does not go from {told[0]} to {told[1]}, as its index says"
            )

    def _check_within(self, places: Mapping[int, Span], asked: Sequence[tuple[Span, ...]]) -> None:
        """Raises DataCorrupt where a footer leads elsewhere than the index."""
        for (number, (begin, end)), spans in zip(places.items(), asked, strict=True):
            if any(start < begin or stop > end for start, stop in spans):
                raise DataCorrupt(f"{self.shown}: batch {number} does not lie where its index says")

    def _place(self, number: int) -> Span:
        return self.offsets[number], self.offsets[number] + self.known[number].size

    def _fields(self, columns: Sequence[str]) -> list[int]:
        return sorted(self.schema.get_field_index(name) for name in columns)

    def _is_whole(self, columns: Sequence[str]) -> bool:
        return len(set(columns)) == len(self.schema.names)


def stored_snapshot(client: AmbryClient, version: VersionRef, info: BlobInfo) -> SnapshotStored:
    """Raises DataCorrupt, and what a get raises."""
    content = ArrowContent(client, version, info)
    content.check_types()
    index = content.index
    places = [index.place(number) for number in range(len(index))]
    key = index.schema.names[0]
    pieces = tuple(
        FilePiece(number, each.rows, each.size, {key: (_plain(each.first), _plain(each.last))})
        for number, each in enumerate(places)
    )
    found = found_as(info)
    begin = places[-1].offset + places[-1].size if places else 0
    file = ArrowRanges(info.size, client.get_bytes(found, range=(begin, info.size)) if places else b"")
    head: tuple[Span, ...] = ()
    if places:
        with arrow_told(unreadable(str(version))):
            place = (places[0].offset, places[0].offset + places[0].size)
            [head] = file.asked({0: place}, range(len(index.schema)))
    data = tuple(ranges_of(client, found, head)) if head else ()
    offsets = tuple(each.offset for each in places)
    return SnapshotStored(found, index.schema, pieces, offsets, file, (head, data), str(version))


def unreadable(shown: str) -> Callable[[Exception], DataCorrupt]:
    """What Arrow says of a file of the store, as arrow_told takes it."""
    return lambda error: DataCorrupt(f"{shown} cannot be read: {error}")


def _plain(key: Any) -> Any:
    return key.item() if hasattr(key, "item") else key
