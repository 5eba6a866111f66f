"""Going through the bytes of chunks that are not a blob yet, to know the digest of the whole."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from ambry.blob import BlobProperties, BlobState, ChunkRef
from ambry.checksum import BLOCK_SIZE, new_digester
from ambry.ids import BlobId
from frontend.request import RequestContext
from frontend.router.context import RouterContext
from frontend.router.download import Download
from frontend.router.plan import units_of_chunks
from frontend.router.values import BlobHead, Span


async def digest_of_chunks(
    request: RequestContext, context: RouterContext, blob_id: BlobId, chunks: Sequence[ChunkRef], *, sealed: bool
) -> bytes:
    """The xxh3-128 of all bytes of these chunks together, which `blob_id` is to be made of. Raises Unavailable.

    `sealed`: all of them are, and no plain one is taken in the place of one.

    They are read as a client would read them, within the memory of downloads; the request's deadline is renewed as they come.
    """
    size = sum(chunk.size for chunk in chunks)
    head = BlobHead(
        id=blob_id,
        properties=BlobProperties(size=size, digest=b""),
        metadata={},
        state=BlobState(),
        created_at_ms=0,
        encrypted=sealed,
    )
    await context.reading.take(BLOCK_SIZE, of=size)
    spans = (Span(0, size),)
    units = units_of_chunks(chunks, spans, context.reading.unit_bytes)
    running = new_digester()
    with contextlib.closing(
        Download(request, context, head, spans=spans, beginning=b"", charged=BLOCK_SIZE, units=units)
    ) as download:
        async for piece in download.stream():
            running.update(piece)
    return running.digest()
