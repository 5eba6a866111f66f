"""The list of chunks of a large blob: read, decoded and held within the memory of all downloads."""

from __future__ import annotations

import msgspec

from ambry.blob import Composite
from ambry.checksum import BLOCK_SIZE
from ambry.errors import DataCorrupt
from ambry.format import composite as composite_format
from ambry.ids import BlobId, IdKind
from frontend.request import RequestContext
from frontend.router.context import RouterContext
from frontend.router.quorum_read import Fetch, Found, found, head_of, read_head
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


async def chunk_list(request: RequestContext, context: RouterContext, blob_id: BlobId) -> Composite | None:
    """What chunks a blob has, None for a blob of one record. Raises as read_composite.

    Its memory is the caller's, who answers in a moment; only to read it has taken some of all downloads'.
    """
    if blob_id.kind is not IdKind.COMPOSITE:
        await read_head(request, context, blob_id)
        return None
    whole = await read_composite(request, context, blob_id, of=BLOCK_SIZE)
    context.reading.budget.give_back(whole.charged)
    return whole.composite
