"""The list of chunks of a large blob: read, decoded and held within the memory of all downloads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from ambry.blob import ChunkRef, Composite
from ambry.checksum import BLOCK_SIZE
from ambry.errors import DataCorrupt
from ambry.format import composite as composite_format
from ambry.ids import BlobId, IdKind
from frontend.request import RequestContext
from frontend.router.answers import Found
from frontend.router.confirm import confirmed, is_strict
from frontend.router.context import RouterContext
from frontend.router.quorum_read import Fetch, found, head_of, read_head
from frontend.router.reading import ReadMemory
from frontend.router.values import BlobHead

CHUNK_LISTED_BYTES = 256
"""What one chunk of a composite blob costs while its list is held: measured 210 bytes of objects."""


class CompositeBlob(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a blob of many chunks. Whoever gets one gives `charged` bytes of the read budget back."""

    head: BlobHead
    composite: Composite
    charged: int
    """For the list, and at least one block beside it."""
    listed: int
    """What the list takes of that."""


async def read_composite(
    request: RequestContext, context: RouterContext, blob_id: BlobId, *, of: int, any_state: bool = False
) -> CompositeBlob:
    """The head and the chunk list of a composite blob, by somebody who wants `of` bytes of it.

    Raises BlobNotFound, BlobGone, Unavailable, DataCorrupt; Overloaded when the memory for it does not come in time.
    """
    reading = _read_composite(request, context, blob_id, of=of, any_state=any_state)
    if any_state or not is_strict(request):
        return await reading
    return await confirmed(
        request, context, blob_id, reading, lambda whole: context.reading.budget.give_back(whole.charged)
    )


async def _read_composite(
    request: RequestContext, context: RouterContext, blob_id: BlobId, *, of: int, any_state: bool
) -> CompositeBlob:
    budget = context.reading.budget
    end = charged = BLOCK_SIZE  # the list of a blob of 4 GiB, in chunks of 4 MiB
    while True:
        await context.reading.take(charged, of=max(of, charged))
        try:
            fetch = Fetch(request, context, blob_id, first=0, end=end, any_state=any_state)
            record = found(blob_id, await fetch.start())
            size = record.reply.payload_size
            listed = min(size // composite_format.ENTRY_SIZE * CHUNK_LISTED_BYTES, budget.largest // 2)
            needed = listed + max(BLOCK_SIZE, min(size, budget.largest // 4))
            if size <= end and (needed <= charged or budget.try_take(needed - charged)):
                charged = max(charged, needed)
                head = head_of(blob_id, record.reply)
                composite = _decoded(head, record)
                return CompositeBlob(head=head, composite=composite, charged=charged, listed=listed)
        except BaseException:
            budget.give_back(charged)
            raise
        # It takes more. Nobody waits for memory with some in his hands: let go, and stand in line for all of it.
        del fetch, record
        budget.give_back(charged)
        end, charged = size, needed


def _decoded(head: BlobHead, record: Found) -> Composite:
    composite = composite_format.decode(record.data)
    if composite.total_size != head.properties.size:
        raise DataCorrupt(
            f"blob {head.id}: its chunks have {composite.total_size} bytes, its head says {head.properties.size}"
        )
    return composite


class ChunkList:
    """What chunks a blob has, in order; none for one of a single record. `close` it in any case: it holds memory.

    Where a client is told it piece by piece, `handed_at` and `abort` say so (frontend/router/reading.py).
    """

    def __init__(self, reading: ReadMemory, chunks: Sequence[ChunkRef] = (), *, held: int = 0) -> None:
        self.chunks = chunks
        self.held = held
        self.handed_at: float | None = None
        self.abort: Callable[[], None] | None = None
        """Breaks the connection to a client that does not take it while others need its memory."""
        self._reading = reading
        reading.join(self)

    def taken(self) -> int:
        return 0

    def drop_ahead(self) -> bool:
        return False

    def end(self) -> bool:
        abort, self.abort = self.abort, None
        if abort is not None:
            abort()
        return abort is not None

    def close(self) -> None:
        """Give its memory back."""
        self._reading.leave(self)
        held, self.held = self.held, 0
        self._reading.budget.give_back(held)


async def chunk_list(request: RequestContext, context: RouterContext, blob_id: BlobId) -> ChunkList:
    """The list of a blob's chunks, with the memory for it and a block beside it. Raises as read_composite."""
    if blob_id.kind is not IdKind.COMPOSITE:
        await read_head(request, context, blob_id)
        return ChunkList(context.reading)
    whole = await read_composite(request, context, blob_id, of=BLOCK_SIZE)
    held = whole.listed + BLOCK_SIZE
    context.reading.budget.give_back(whole.charged - held)
    return ChunkList(context.reading, whole.composite.chunks, held=held)
