"""Putting single records of one upload: under a new id each, at another partition where one fails.

Every id that was sent anywhere is remembered until the upload is known to have succeeded: of what nobody will be told, the
replicas hear that it is deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from ambry.blob import NEVER_MS, BlobProperties
from ambry.checksum import Buffer, block_checks, digest
from ambry.durability import Durability
from ambry.errors import AmbryError, InsufficientStorage, InvariantBroken, QuorumNotReached
from ambry.format.properties import encode_properties
from ambry.format.record import ENCRYPTED, RecordKind
from ambry.ids import BlobId, IdKind, uuid7
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.blobs import PutRequest
from ambry.service.logs import get_logger
from frontend.request import RequestContext
from frontend.router.context import RouterContext
from frontend.router.quorum_write import RETRY_WAIT_S, Confirmed, ReplicaWrite, WriteOutcome
from frontend.router.replicas import PartitionReplicas
from frontend.router.sealing import SealedParts, Sealing, seal, sealing_now, sealing_soon
from frontend.router.values import PutSpec

log = get_logger()

_ID_KINDS = {
    RecordKind.BLOB: IdKind.SIMPLE,
    RecordKind.COMPOSITE: IdKind.COMPOSITE,
    RecordKind.CHUNK: IdKind.CHUNK,
}


Announce = Callable[[BlobId], Awaitable[None]]
"""Hears an id before a record is sent under it; what it raises ends the put, and nothing was sent."""


class NewRecord(msgspec.Struct, frozen=True):
    """A record that is to be put, but for its id. `properties` are encoded; `checks` are those of the blocks of `data`.

    All as it is stored, but for `whole`, which is the user's digest. Of one that is `sealed`, that has the rest of it.
    """

    kind: RecordKind
    properties: bytes
    metadata: bytes
    data: Buffer
    digest: bytes
    checks: Buffer
    whole: bytes
    sealed: SealedParts | None = None


def new_record(
    kind: RecordKind,
    properties: BlobProperties,
    metadata: bytes,
    data: Buffer,
    own: bytes,
    sealing: Sealing | None,
) -> NewRecord:
    """One with these properties. `own` is the digest of `data`, which is not the caller's any more: see `seal`."""
    whole = properties.digest
    if sealing is None:
        return NewRecord(kind, encode_properties(properties), metadata, data, own, block_checks(data), whole)
    content = seal(sealing, kind, properties, metadata, data)
    data = content.data
    return NewRecord(kind, content.properties, b"", data, digest(data), block_checks(data), whole, content.parts)


class BegunPut(msgspec.Struct):
    """A blob of one record, and its write to the first replicas that it is sent to, under this id."""

    record: NewRecord
    id: BlobId
    write: ReplicaWrite
    """For whoever begins it."""
    outcome: WriteOutcome | None = None
    """How that ended, as whoever began it heard; before it is gone on with."""


class CompositeId(msgspec.Struct, frozen=True):
    """The id of a blob in chunks, and the replicas of its own record."""

    id: BlobId
    replicas: PartitionReplicas


class RecordPuts:
    """The records of one upload. `spec` says how durable they are to be, and what a blob's own record carries."""

    def __init__(
        self,
        request: RequestContext,
        context: RouterContext,
        spec: PutSpec,
        announce: Announce | None = None,
    ) -> None:
        """`announce` hears each id of a blob, not those of chunks, before anything is sent under it."""
        if request.container is None:
            raise InvariantBroken("a put came here before it was known into which container")
        self._request = request
        self._container = request.container
        self._context = context
        self._spec = spec
        self._announce = announce
        self._written: list[BlobId] = []
        self.sealing: Sealing | None = None
        """What they are sealed with, once that is asked or set; None where they are not."""

    def seal_now(self) -> None:
        """Find what they are to be sealed with. Raises Unavailable where that must be asked."""
        self.sealing = sealing_now(self._context, self._container)

    async def seal_soon(self) -> None:
        """As `seal_now`; asks. Raises KeysUnavailable, EncryptionKeyDeleted, Unavailable, and what check_standing raises."""
        self._request.check_standing()
        self.sealing = await sealing_soon(self._context, self._container)

    def begin(self, record: NewRecord) -> BegunPut:
        """A blob of one record that is to be sent to its first replicas now; `put` goes on from there.

        Raises InsufficientStorage.
        """
        blob_id, replicas = self._new_id(_ID_KINDS[record.kind], len(record.data))
        self._written.append(blob_id)
        share = 0.5 if self._context.config.put_attempts > 1 else 1.0
        return BegunPut(record, blob_id, self.write(record, blob_id, replicas, share=share))

    async def begin_composite(self) -> CompositeId:
        """The id of a blob whose chunks come first, and where its own record will go. Raises InsufficientStorage."""
        blob_id, replicas = self._new_id(IdKind.COMPOSITE, self._context.config.chunk_size_bytes)
        if self._announce is not None:
            await self._announce(blob_id)
        self._written.append(blob_id)
        return CompositeId(blob_id, replicas)

    def _new_id(
        self, kind: IdKind, size: int, exclude: frozenset[int] = frozenset(), *, answering: bool = False
    ) -> tuple[BlobId, PartitionReplicas]:
        context = self._context
        replicas = context.placement.choose(size, exclude=exclude, answering=answering)
        # A chunk may come long after its blob began.
        wall_ms = context.clock.wall_ms() if kind is IdKind.CHUNK else self._spec.created_at_ms
        blob_id = BlobId.make(
            kind=kind,
            datacenter=context.datacenter_id,
            account=self._container.account_id,
            container=self._container.container_id,
            partition=replicas.id,
            uuid=uuid7(wall_ms, context.random_source),
        )
        return blob_id, replicas

    async def put(self, record: NewRecord, begun: BegunPut | None = None) -> BlobId:
        """Put one record, slipping to another partition with a new id when one fails; with `begun` go on with that.

        Raises QuorumNotReached, InsufficientStorage, BlobGone, and what `announce` raises.
        """
        tried: frozenset[int] = frozenset()
        failure: AmbryError | None = None
        silence = False
        attempts = self._context.config.put_attempts
        for attempt in range(1, attempts + 1):
            if begun is not None and begun.outcome is not None:
                blob_id, outcome = begun.id, begun.outcome
                begun = None
            else:
                try:
                    blob_id, replicas = self._new_id(_ID_KINDS[record.kind], len(record.data), tried, answering=silence)
                except InsufficientStorage:
                    break
                if self._announce is not None and record.kind is not RecordKind.CHUNK:
                    await self._announce(blob_id)
                # Before it is sent: a write that is cancelled on its way may have happened.
                self._written.append(blob_id)
                # Half of the time for each but the last, so that there is some for another partition.
                outcome = await self.write(record, blob_id, replicas, share=0.5 if attempt < attempts else 1.0).start()
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

    def write(
        self, record: NewRecord, blob_id: BlobId, replicas: PartitionReplicas, *, share: float = 1.0
    ) -> ReplicaWrite:
        """The write of a record under this id, to be started."""
        spec = self._spec
        chunk, sealed = record.kind == RecordKind.CHUNK, record.sealed
        if sealed is None and self._container.settings.encrypted:
            raise InvariantBroken(f"a plain record was to be put into the encrypted container {self._container}")
        request = PutRequest(
            self._request.id,
            blob_id.raw,
            record.kind,
            spec.created_at_ms,
            # A chunk lives while its blob lives, whose time to live may grow later: the composite record alone expires.
            NEVER_MS if chunk else spec.expires_at_ms,
            record.properties,
            record.metadata if sealed is None else sealed.section(blob_id.raw),
            record.digest,
            spec.durability >= Durability.DISK,
            0 if sealed is None else ENCRYPTED,
            b"" if sealed is None else sealed.tags,
        )
        return ReplicaWrite(
            self._request,
            replicas,
            overdue=self._context.silences,
            type=MessageType.PUT,
            message=request,
            body=record.data,
            checks=record.checks,
            geo=spec.durability is Durability.GEO,
            share=share,
        )

    def forget(self) -> None:
        """Nobody will be told of anything that was sent."""
        self._discard(self._written)

    def _discard(self, ids: Sequence[BlobId]) -> None:
        """Let records be forgotten that nobody will ever be told of; nobody waits for it (frontend/router/discards.py)."""
        self._context.discards.forget(self._request.id, ids, self._spec.expires_at_ms)
