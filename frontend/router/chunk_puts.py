"""Writing a body as chunks beneath a parent, several at a time, while it streams in."""

from __future__ import annotations

import asyncio

import msgspec

from ambry.blob import BlobProperties, ChunkRef
from ambry.checksum import digest, new_digester
from ambry.format.record import RecordKind
from ambry.ids import BlobId
from frontend.request import RequestContext
from frontend.router.chunker import Chunker, Piece
from frontend.router.records import RecordPuts, new_record
from frontend.router.upload_age import UploadAge


class WrittenChunks(msgspec.Struct, frozen=True):
    """Chunks in their order, each as durable as was asked for; `digest` is the xxh3-128 of all their bytes together."""

    refs: tuple[ChunkRef, ...]
    size: int
    digest: bytes


class ChunkPuts:
    """The chunks of one body. At most `parallelism` are on their way at once."""

    def __init__(
        self,
        request: RequestContext,
        records: RecordPuts,
        chunker: Chunker,
        *,
        parent: BlobId,
        age: UploadAge,
        parallelism: int,
        keep_s: int = 0,
    ) -> None:
        """`keep_s` as in ambry.blob.BlobProperties."""
        self._request = request
        self._records = records
        self._chunker = chunker
        self._parent = parent
        self._age = age
        self._parallelism = parallelism
        self._keep_s = keep_s

    async def write(self, piece: Piece) -> WrittenChunks:
        """Write `piece`, the first of the body, and all that follow it.

        Raises what the body raises; TooLarge, InvalidRequest, Overloaded, QuorumNotReached, InsufficientStorage,
        RequestTimeout. Then nothing is on its way any more, and what was written stays for the caller to forget.
        """
        chunks: list[asyncio.Task[ChunkRef]] = []
        unfinished: set[asyncio.Task[ChunkRef]] = set()
        running = new_digester()
        size = 0
        try:
            while len(piece.data):
                running.update(piece.data)
                size += len(piece.data)
                chunks.append(asyncio.create_task(self._put_chunk(len(chunks), piece)))
                unfinished.add(chunks[-1])
                await self._limit(unfinished)
                piece = await self._chunker.next_chunk()
                self._age.refuse_old()
                self._request.renew()
            return WrittenChunks(tuple(await asyncio.gather(*chunks)), size, running.digest())
        except BaseException:
            for chunk in chunks:
                chunk.cancel()
            await asyncio.gather(*chunks, return_exceptions=True)
            raise

    async def _limit(self, running: set[asyncio.Task[ChunkRef]]) -> None:
        """Wait until few enough chunks are on their way; raise the first failure among them."""
        if len(running) >= self._parallelism:
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for chunk in [chunk for chunk in running if chunk.done()]:
            running.discard(chunk)
            chunk.result()

    async def _put_chunk(self, index: int, piece: Piece) -> ChunkRef:
        try:
            data = piece.data
            own, size = digest(data), len(data)
            properties = BlobProperties(
                size=size, digest=own, parent=self._parent.raw, chunk_index=index, keep_s=self._keep_s
            )
            record = new_record(RecordKind.CHUNK, properties, b"", data, own, self._records.sealing)
            blob_id = await self._records.put(record)
            return ChunkRef(blob_id.raw, size, own)
        finally:
            self._chunker.give_back(piece.charged)
