"""Putting a blob: cut it into chunks while it streams in, place each, and write the composite record last.

A blob of one chunk is one record. A larger one gets its composite id first, every data chunk names it as parent, and the
composite record is written when all chunks are durable: nobody ever sees half a blob.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
from msgspec.structs import replace

from ambry.blob import NEVER_MS, BlobProperties, ChunkRef, Composite, Durability
from ambry.checksum import Buffer, block_checks, digest, new_digester
from ambry.errors import AmbryError, InsufficientStorage, InvariantBroken, QuorumNotReached, RequestTimeout
from ambry.format import composite as composite_format
from ambry.format.properties import encode_properties
from ambry.format.record import RecordKind
from ambry.ids import BlobId, IdKind, uuid7
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.blobs import PutRequest
from ambry.service.logs import get_logger
from frontend.request import RequestContext
from frontend.router.chunker import Chunker, Piece
from frontend.router.context import RouterContext
from frontend.router.presence import any_given_up
from frontend.router.quorum_write import RETRY_WAIT_S, Confirmed, ReplicaWrite, WriteOutcome, write_persistently
from frontend.router.replicas import PartitionReplicas
from frontend.router.values import DigestCheck, PutResult, PutSpec

log = get_logger()

SURE_FOR_S = 5.0
"""No data node gives chunks up that came so short a time ago (`sweep.grace_s`)."""
_ID_KINDS = {
    RecordKind.BLOB: IdKind.SIMPLE,
    RecordKind.COMPOSITE: IdKind.COMPOSITE,
    RecordKind.CHUNK: IdKind.CHUNK,
}


class NewRecord(msgspec.Struct, frozen=True):
    """A record that is to be put, but for its id. `properties` are encoded; `checks` are those of the blocks of `data`."""

    kind: RecordKind
    properties: bytes
    data: Buffer
    digest: bytes
    checks: Buffer


class BegunPut(msgspec.Struct, frozen=True):
    """A blob of one record on its way to the first replicas that it is sent to, under this id."""

    record: NewRecord
    id: BlobId
    outcome: asyncio.Future[WriteOutcome]


class PutOperation:
    """One put."""

    def __init__(
        self, request: RequestContext, context: RouterContext, spec: PutSpec, verify: DigestCheck | None
    ) -> None:
        if request.container is None:
            raise InvariantBroken("a put came here before it was known into which container")
        self._request = request
        self._container = request.container
        self._context = context
        self._spec = spec
        self._verify = verify
        self._created_at_ms = spec.created_at_ms
        self._began_s = context.clock.monotonic()
        self._written: list[BlobId] = []

    async def run(self, body: AsyncIterator[bytes | None], *, size: int | None, size_max: int) -> PutResult:
        """Put the whole body, of `size` bytes where that is known. Nothing becomes visible unless this returns.

        Raises what `body` or `verify` raise; TooLarge, InvalidRequest, Overloaded, QuorumNotReached, InsufficientStorage,
        RequestTimeout.
        """
        config = self._context.config
        chunker = Chunker(
            body,
            chunk_size=config.chunk_size_bytes,
            size=size,
            size_max=size_max,
            budget=self._context.budget,
            wait_s=config.memory_wait_ms / 1000,
        )
        try:
            first = await chunker.next_chunk()
            is_all = await chunker.at_end()
            # From here on the client waits for us, until it sends more.
            self._request.renew()
            if is_all:
                return await self.put_simple(first.data)
            return await self._put_composite(chunker, first)
        finally:
            chunker.close()

    async def put_simple(self, data: Buffer, begun: BegunPut | None = None) -> PutResult:
        """Put a body of at most one chunk that is here already; the caller has taken the memory for it. Raises as `run`.

        With `begun`, of the same body, it goes on with that.
        """
        whole = digest(data) if begun is None else begun.record.digest
        if self._verify is not None:
            await self._verify(whole)
        record = self._simple_record(data, whole) if begun is None else begun.record
        try:
            blob_id = await self._put_record(record, begun)
        except asyncio.CancelledError:
            self._discard(self._written)
            raise
        return self.result(blob_id, record)

    def begin_simple(self, data: Buffer) -> BegunPut:
        """Send such a body to the first replicas; `put_simple` goes on from there. Raises InsufficientStorage."""
        record = self._simple_record(data, digest(data))
        blob_id, replicas = self._new_id(IdKind.SIMPLE, len(data))
        self._written.append(blob_id)
        share = 0.5 if self._context.config.put_attempts > 1 else 1.0
        return BegunPut(record, blob_id, self._write(record, blob_id, replicas, share=share).start())

    def _simple_record(self, data: Buffer, whole: bytes) -> NewRecord:
        properties = encode_properties(replace(self._spec.properties, size=len(data), digest=whole))
        return NewRecord(RecordKind.BLOB, properties, data, whole, block_checks(data))

    def result(self, blob_id: BlobId, record: NewRecord) -> PutResult:
        """What the caller is told of a record that was confirmed as the whole blob."""
        return PutResult(id=blob_id, size=len(record.data), digest=record.digest, created_at_ms=self._created_at_ms)

    def forget(self) -> None:
        """Nobody will be told of what was written."""
        self._discard(self._written)

    # --- composite blobs ---

    async def _put_composite(self, chunker: Chunker, piece: Piece) -> PutResult:
        composite_id, replicas = self._new_id(IdKind.COMPOSITE, self._context.config.chunk_size_bytes)
        self._written.append(composite_id)
        chunks: list[asyncio.Task[ChunkRef]] = []
        unfinished: set[asyncio.Task[ChunkRef]] = set()
        running = new_digester()
        size = 0
        try:
            while len(piece.data):
                running.update(piece.data)
                size += len(piece.data)
                chunks.append(asyncio.create_task(self._put_chunk(chunker, composite_id, len(chunks), piece)))
                unfinished.add(chunks[-1])
                await self._limit(unfinished)
                piece = await chunker.next_chunk()
                self._refuse_old()
                self._request.renew()
            refs = tuple(await asyncio.gather(*chunks))
            whole = running.digest()
            if self._verify is not None:
                await self._verify(whole)
            await self._put_composite_record(composite_id, replicas, refs, size, whole)
        except BaseException:
            for chunk in chunks:
                chunk.cancel()
            await asyncio.gather(*chunks, return_exceptions=True)
            self._discard(self._written)
            raise
        return PutResult(id=composite_id, size=size, digest=whole, created_at_ms=self._created_at_ms)

    def _ran_s(self) -> float:
        """How long this upload has been under way, seconds of the monotonic clock."""
        return self._context.clock.monotonic() - self._began_s

    def _took_its_time(self) -> bool:
        """Whether data nodes may have given chunks of it up by now.

        The monotonic clock stands still while the machine is suspended, and the wall clock may be put right meanwhile: neither
        alone can say that it was quick.
        """
        moved_s = abs(self._context.clock.wall_ms() - self._created_at_ms) / 1000
        return max(self._ran_s(), moved_s) > SURE_FOR_S

    def _refuse_old(self) -> None:
        """End an upload whose first chunks data nodes may soon give up (datanode/upkeep/sweeper.py). Raises RequestTimeout."""
        ran_s, max_s = self._ran_s(), self._context.config.upload_max_s
        if ran_s > max_s:
            raise RequestTimeout(
                f"the upload ran for {ran_s:.0f} s and may take {max_s} s (router.upload_max_s): its first chunks may be gone; "
                "nothing was stored"
            )

    async def _limit(self, running: set[asyncio.Task[ChunkRef]]) -> None:
        """Wait until few enough chunks are on their way; raise the first failure among them."""
        if len(running) >= self._context.config.write_parallelism:
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for chunk in [chunk for chunk in running if chunk.done()]:
            running.discard(chunk)
            chunk.result()

    async def _put_chunk(self, chunker: Chunker, parent: BlobId, index: int, piece: Piece) -> ChunkRef:
        try:
            data = piece.data
            own, checks = digest(data), block_checks(data)
            properties = BlobProperties(size=len(data), digest=own, parent=parent.raw, chunk_index=index)
            record = NewRecord(RecordKind.CHUNK, encode_properties(properties), data, own, checks)
            blob_id = await self._put_record(record)
            return ChunkRef(blob_id.raw, len(data), own)
        finally:
            chunker.give_back(piece.charged)

    async def _put_composite_record(
        self, blob_id: BlobId, replicas: PartitionReplicas, refs: tuple[ChunkRef, ...], size: int, whole: bytes
    ) -> None:
        payload = composite_format.encode(Composite(total_size=size, chunks=refs))
        properties = encode_properties(replace(self._spec.properties, size=size, digest=whole))
        record = NewRecord(RecordKind.COMPOSITE, properties, payload, digest(payload), block_checks(payload))

        def write() -> ReplicaWrite:
            self._refuse_old()
            return self._write(record, blob_id, replicas)

        # The chunks name this id, so a retry goes to the same partition; the same put twice is one.
        await write_persistently(self._request, write, attempts=self._context.config.put_attempts)
        # From now on nobody calls the chunks abandoned. Whoever did before, though that is against all settings, is found here.
        if self._took_its_time() and await any_given_up(self._request, self._context, [ref.id for ref in refs]):
            raise RequestTimeout(
                f"the upload ran for {self._ran_s():.0f} s, and data nodes gave chunks of it up as abandoned: is their "
                "sweep.grace_s well above router.upload_max_s? Nothing was stored"
            )

    # --- records ---

    def _new_id(
        self, kind: IdKind, size: int, exclude: frozenset[int] = frozenset(), *, answering: bool = False
    ) -> tuple[BlobId, PartitionReplicas]:
        context = self._context
        replicas = context.placement.choose(size, exclude=exclude, answering=answering)
        # A chunk may come long after its blob began.
        wall_ms = context.clock.wall_ms() if kind is IdKind.CHUNK else self._created_at_ms
        blob_id = BlobId.make(
            kind=kind,
            datacenter=context.datacenter_id,
            account=self._container.account_id,
            container=self._container.container_id,
            partition=replicas.id,
            uuid=uuid7(wall_ms, context.random_source),
        )
        return blob_id, replicas

    async def _put_record(self, record: NewRecord, begun: BegunPut | None = None) -> BlobId:
        """Put one record, slipping to another partition with a new id when one fails."""
        tried: frozenset[int] = frozenset()
        failure: AmbryError | None = None
        silence = False
        attempts = self._context.config.put_attempts
        for attempt in range(1, attempts + 1):
            if begun is not None:
                blob_id, outcome = begun.id, await begun.outcome
                begun = None
            else:
                try:
                    blob_id, replicas = self._new_id(_ID_KINDS[record.kind], len(record.data), tried, answering=silence)
                except InsufficientStorage:
                    break
                # Before it is sent: a write that is cancelled on its way may have happened.
                self._written.append(blob_id)
                # Half of the time for each but the last, so that there is some for another partition.
                outcome = await self._write(record, blob_id, replicas, share=0.5 if attempt < attempts else 1.0).start()
            if isinstance(outcome, Confirmed):
                return blob_id
            failure, silence = outcome.error, outcome.silence
            log.warning(
                "put found too few replicas",
                partition=blob_id.partition,
                blob=str(blob_id),
                request_id=self._request.id,
                error=failure.message,
            )
            self._discard([blob_id])
            if not isinstance(failure, QuorumNotReached | InsufficientStorage):
                break
            tried |= {blob_id.partition}
            wait_s = 0.0 if silence or isinstance(failure, InsufficientStorage) else RETRY_WAIT_S * attempt
            if attempt == attempts or self._request.left_s() <= wait_s:
                break
            if wait_s:
                # Nodes that restart one after the other are connected again in a moment (ambry/network/pool.py).
                await asyncio.sleep(wait_s)
        raise failure or InsufficientStorage("there is no partition to write to")

    def _write(
        self, record: NewRecord, blob_id: BlobId, replicas: PartitionReplicas, *, share: float = 1.0
    ) -> ReplicaWrite:
        spec = self._spec
        chunk = record.kind == RecordKind.CHUNK
        request = PutRequest(
            self._request.id,
            blob_id.raw,
            record.kind,
            self._created_at_ms,
            # A chunk lives while its blob lives, whose time to live may grow later: the composite record alone expires.
            NEVER_MS if chunk else spec.expires_at_ms,
            record.properties,
            b"" if chunk else spec.metadata,
            record.digest,
            spec.durability >= Durability.DISK,
        )
        return ReplicaWrite(
            self._request,
            replicas,
            type=MessageType.PUT,
            message=request,
            body=record.data,
            checks=record.checks,
            geo=spec.durability is Durability.GEO,
            share=share,
        )

    def _discard(self, ids: list[BlobId]) -> None:
        """Let records be forgotten that nobody will ever be told of; nobody waits for it (frontend/router/discards.py)."""
        self._context.discards.forget(self._request.id, ids, self._spec.expires_at_ms)
