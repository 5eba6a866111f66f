"""Records that were copied from a peer's log as they stand there, on their way into this one.

They lie in the buffer that they came in: there they are verified, take on their place and the joined state of their blob, and
from there they are written, those that follow each other at once. So a record costs no bytes of its own on the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from ambry.blob import BlobState, join
from ambry.errors import DataCorrupt
from ambry.format import record as record_format
from ambry.format.record import Record, RecordKind
from datanode.store.batch import Batch
from datanode.store.index import Index
from datanode.store.log import Log, Run


class Offered(Protocol):
    """What the peer's index says of a record: where it stands in the segment, and the state of its blob."""

    @property
    def id(self) -> bytes: ...
    @property
    def offset(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def state(self) -> BlobState: ...


class Image(Record, frozen=True, kw_only=True):
    """A verified record at `start` of `buffer`, which it changes when it is written."""

    buffer: bytearray
    start: int
    length: int

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.length

    @property
    def end(self) -> int:
        """Of it in the buffer."""
        return self.start + self.length


class Verified(NamedTuple):
    """Records that are what the peer said, and the ids of those that are not."""

    images: list[Image]
    refused: list[bytes]


def verified(buffer: bytearray, at: int, offers: Iterable[Offered], salt: int) -> Verified:
    """Verify records whole, in a buffer with the bytes of a segment from offset `at` on. Blocking for some milliseconds."""
    found = Verified([], [])
    view = memoryview(buffer)
    for offer in offers:
        start = offer.offset - at
        image = view[start : start + offer.size]
        try:
            head = record_format.verify(image, salt)
        except DataCorrupt:
            found.refused.append(offer.id)
            continue
        header = head.header
        known = not header.unknown and header.kind != RecordKind.UPDATE
        if head.id != offer.id or header.record_size != offer.size or not known:
            found.refused.append(offer.id)
            continue
        found.images.append(
            Image(
                kind=header.kind,
                id=head.id,
                state=offer.state if offer.state == header.state else join(offer.state, header.state),
                written_at_ms=header.written_at_ms,
                payload=image[header.payload_start :],
                buffer=buffer,
                start=start,
                length=offer.size,
            )
        )
    return found


class ImageBatch(Batch):
    """A commit of images. What came here by another way meanwhile, or was deleted, is left out."""

    def __init__(self, log: Log, index: Index, records: Sequence[Image], *, sync: bool, now_ms: int) -> None:
        super().__init__(log, index, records, sync=sync, now_ms=now_ms)
        self._images = records

    def _take_on_known_states(self) -> None:
        taken: dict[bytes, Image] = {}
        for image in self._images:
            entry = self.held.get(image.id)
            if entry is not None:
                state = join(entry.state, image.state)
                if entry.present or state.deleted:
                    continue
                if state != image.state:
                    taken[image.id] = msgspec.structs.replace(image, state=state)
                    continue
            taken.setdefault(image.id, image)
        self.records = self._images = list(taken.values())

    def _runs(self) -> list[Run]:
        runs: list[Run] = []
        last: Image | None = None
        begin = 0
        for image, place in zip(self._images, self.places, strict=True):
            view = memoryview(image.buffer)
            record_format.rewrite(view[image.start : image.end], image.state, place.lsn, place.segment.salt)
            follows = last is not None and last.buffer is image.buffer and last.end == image.start
            if not runs or runs[-1].segment is not place.segment:
                runs.append(Run(segment=place.segment, offset=place.offset, buffers=[]))
                follows = False
            buffers = runs[-1].buffers
            if follows:
                buffers[-1] = view[begin : image.end]
            else:
                begin = image.start
                buffers.append(view[begin : image.end])
            last = image
        return runs
