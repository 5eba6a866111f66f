"""Putting many small blobs at once: in one partition, with one question to each of its replicas, so that they share a sync.

What that leaves unconfirmed is put for itself, under a new id, as any other; the replicas hear that the first one is deleted
(frontend/router/discards.py). Nothing of a batch of which its client was told nothing may stay: `forget` it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from ambry.checksum import Buffer, digest
from ambry.durability import Durability
from ambry.errors import AmbryError, InsufficientStorage, InvariantBroken
from ambry.format.properties import encode_properties
from ambry.format.record import ENCRYPTED, RecordKind
from ambry.ids import BlobId, IdKind, uuid7
from ambry.protocol.frame import MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.blobs import NewBlob, PutsReply, PutsRequest
from ambry.service.logs import get_logger
from frontend.container import Container
from frontend.request import RequestContext
from frontend.router.context import RouterContext
from frontend.router.put import PutOperation
from frontend.router.quorum_write import Confirmed, ReplicaWrite
from frontend.router.sealing import Sealing, seal, sealing_soon
from frontend.router.values import PutResult, PutSpec

log = get_logger()

ALONE_AT_ONCE = 16


class SmallBlob(msgspec.Struct, frozen=True):
    """One that is to be put. All of a batch are to be equally durable."""

    spec: PutSpec
    body: bytes


class BatchPut:
    """The puts of one request."""

    def __init__(self, request: RequestContext, context: RouterContext) -> None:
        self._request = request
        self._context = context
        self._stored: list[tuple[BlobId, int]] = []
        """With the expiry of each."""

    async def put(self, blobs: Sequence[SmallBlob]) -> list[PutResult | AmbryError]:
        """Put some; their memory is the caller's. What became of each, in their order."""
        self._request.renew()
        container = self._request.container
        if container is None:
            raise InvariantBroken("a put came here before it was known into which container")
        try:
            sealing = await sealing_soon(self._context, container)
        except AmbryError as error:
            return [error] * len(blobs)
        found: list[PutResult | AmbryError | None] = list(await self._put_together(blobs, container, sealing))
        numbers = iter([number for number, result in enumerate(found) if result is None])

        async def alone() -> None:
            for number in numbers:
                found[number] = await self._put_alone(blobs[number])

        await asyncio.gather(*(alone() for _ in range(min(ALONE_AT_ONCE, found.count(None)))))
        results = [result for result in found if result is not None]
        for blob, result in zip(blobs, results, strict=True):
            if isinstance(result, PutResult):
                self._stored.append((result.id, blob.spec.expires_at_ms))
        return results

    async def _put_together(
        self, blobs: Sequence[SmallBlob], container: Container, sealing: Sealing | None
    ) -> list[PutResult | None]:
        """None for those that were not confirmed."""
        request, context = self._request, self._context
        try:
            replicas = context.placement.choose(sum(len(blob.body) for blob in blobs))
        except InsufficientStorage:
            return [None] * len(blobs)
        ids: list[BlobId] = []
        new: list[NewBlob] = []
        digests: list[bytes] = []
        plain = [blob.body for blob in blobs]
        # What is sealed is encrypted in the body that is sent.
        body: Buffer = b"".join(plain) if sealing is None else bytearray().join(plain)
        view, end = memoryview(body), 0
        for blob in blobs:
            spec = blob.spec
            blob_id = BlobId.make(
                kind=IdKind.SIMPLE,
                datacenter=context.datacenter_id,
                account=container.account_id,
                container=container.container_id,
                partition=replicas.id,
                uuid=uuid7(spec.created_at_ms, context.random_source),
            )
            whole = digest(blob.body)
            size = len(blob.body)
            properties = replace(spec.properties, size=size, digest=whole)
            ids.append(blob_id)
            digests.append(whole)
            times = (spec.created_at_ms, spec.expires_at_ms)
            if sealing is None:
                new.append(NewBlob(blob_id.raw, *times, encode_properties(properties), spec.metadata, whole, size))
                continue
            start, end = end, end + size
            content = seal(sealing, RecordKind.BLOB, properties, spec.metadata, view[start:end])
            section, tags = content.parts.section(blob_id.raw), content.parts.tags
            own = digest(content.data)
            new.append(NewBlob(blob_id.raw, *times, content.properties, section, own, size, ENCRYPTED, tags))
        durability = blobs[0].spec.durability
        write = ReplicaWrite(
            request,
            replicas,
            overdue=context.silences,
            type=MessageType.PUTS,
            message=PutsRequest(request.id, durability >= Durability.DISK, new),
            body=body,
            geo=durability is Durability.GEO,
            share=0.5,
        )
        missed = set(range(len(blobs)))
        try:
            outcome = await write.start()
            if isinstance(outcome, Confirmed):
                replies = [messages.decode(frame.header, PutsReply) for frame in outcome.replies]
                missed = {each.place for reply in replies for each in reply.failed}
            else:
                log.warning("batch found too few replicas", partition=replicas.id, error=outcome.error.message)
        except AmbryError as error:
            log.warning("batch was answered badly", partition=replicas.id, error=error.message)
        finally:
            for place in missed:
                if place < len(ids):
                    context.discards.forget(request.id, [ids[place]], blobs[place].spec.expires_at_ms)
        return [
            None
            if place in missed
            else PutResult(
                id=ids[place], size=new[place].size, digest=digests[place], created_at_ms=new[place].created_at_ms
            )
            for place in range(len(blobs))
        ]

    async def _put_alone(self, blob: SmallBlob) -> PutResult | AmbryError:
        try:
            return await PutOperation(self._request, self._context, blob.spec, None).put_simple(blob.body)
        except AmbryError as error:
            return error

    def forget(self) -> None:
        """Nobody will be told of any that was stored."""
        for blob_id, expires_at_ms in self._stored:
            self._context.discards.forget(self._request.id, [blob_id], expires_at_ms)
        self._stored.clear()
