"""Putting a blob: cut it into chunks while it streams in, place each, and write the composite record last.

A blob of one chunk is one record. A larger one gets its composite id first, every data chunk names it as parent, and the
composite record is written when all chunks are durable: nobody ever sees half a blob.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from msgspec.structs import replace

from ambry.checksum import Buffer, digest
from ambry.format.record import RecordKind
from ambry.ids import BlobId
from frontend.request import RequestContext
from frontend.router.chunk_puts import ChunkPuts
from frontend.router.chunker import Chunker, Piece
from frontend.router.commit import commit_composite
from frontend.router.context import RouterContext
from frontend.router.records import Announce, BegunPut, NewRecord, RecordPuts, new_record
from frontend.router.upload_age import UploadAge
from frontend.router.values import DigestCheck, PutResult, PutSpec


class PutOperation:
    """One put."""

    def __init__(
        self,
        request: RequestContext,
        context: RouterContext,
        spec: PutSpec,
        verify: DigestCheck | None,
        announce: Announce | None = None,
    ) -> None:
        """`announce` hears the id of the blob before anything is sent under it; a put that tries another one tells that too."""
        self._request = request
        self._context = context
        self._spec = spec
        self._verify = verify
        self._records = RecordPuts(request, context, spec, announce)

    async def run(self, body: AsyncIterator[bytes | None], *, size: int | None, size_max: int) -> PutResult:
        """Put the whole body, of `size` bytes where that is known. Nothing becomes visible unless this returns.

        Raises what `body` or `verify` raise; TooLarge, InvalidRequest, Overloaded, QuorumNotReached, InsufficientStorage,
        RequestTimeout.
        """
        context, config = self._context, self._context.config
        age = UploadAge(context.clock, created_at_ms=self._spec.created_at_ms, max_s=config.upload_max_s)
        chunker = Chunker(
            body,
            chunk_size=config.chunk_size_bytes,
            size=size,
            size_max=size_max,
            budget=context.budget,
            wait_s=config.memory_wait_ms / 1000,
        )
        try:
            first = await chunker.next_chunk()
            is_all = await chunker.at_end()
            # From here on the client waits for us, until it sends more.
            self._request.renew()
            if is_all:
                return await self.put_simple(first.data)
            return await self._put_composite(chunker, first, age)
        finally:
            chunker.close()

    async def put_simple(self, data: Buffer, begun: BegunPut | None = None) -> PutResult:
        """Put a body of at most one chunk that is here already; the caller has taken the memory for it. Raises as `run`.

        With `begun`, of the same body, it goes on with that.
        """
        whole = digest(data) if begun is None else begun.record.whole
        if self._verify is not None:
            await self._verify(whole)
        if begun is None:
            await self._records.seal_soon()
            record = self._simple_record(data, whole)
        else:
            record = begun.record
        try:
            blob_id = await self._records.put(record, begun)
        except asyncio.CancelledError:
            self._records.forget()
            raise
        return self.result(blob_id, record)

    def begin_simple(self, data: Buffer) -> BegunPut:
        """Such a body, to be sent to its first replicas now; `put_simple` goes on from there.

        Raises InsufficientStorage; Unavailable where the key that it is to be sealed with must be asked for.
        """
        self._records.seal_now()
        return self._records.begin(self._simple_record(data, digest(data)))

    def _simple_record(self, data: Buffer, whole: bytes) -> NewRecord:
        properties = replace(self._spec.properties, size=len(data), digest=whole)
        return new_record(RecordKind.BLOB, properties, self._spec.metadata, data, whole, self._records.sealing)

    def result(self, blob_id: BlobId, record: NewRecord) -> PutResult:
        """What the caller is told of a record that was confirmed as the whole blob."""
        return self._result(blob_id, len(record.data), record.whole)

    def _result(self, blob_id: BlobId, size: int, whole: bytes) -> PutResult:
        return PutResult(id=blob_id, size=size, digest=whole, created_at_ms=self._spec.created_at_ms)

    def forget(self) -> None:
        """Nobody will be told of what was written."""
        self._records.forget()

    async def _put_composite(self, chunker: Chunker, first: Piece, age: UploadAge) -> PutResult:
        request, context, records = self._request, self._context, self._records
        try:
            await records.seal_soon()
            composite = await records.begin_composite()
            chunks = await ChunkPuts(
                request,
                records,
                chunker,
                parent=composite.id,
                age=age,
                parallelism=context.config.write_parallelism,
            ).write(first)
            if self._verify is not None:
                await self._verify(chunks.digest)
            request.check_standing()
            await commit_composite(request, context, records, composite, self._spec, chunks, age)
        except BaseException:
            records.forget()
            raise
        return self._result(composite.id, chunks.size, chunks.digest)
