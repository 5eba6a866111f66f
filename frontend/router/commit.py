"""The composite record of a blob whose chunks are durable: with it the blob exists, and before it nobody sees anything."""

from __future__ import annotations

from msgspec.structs import replace

from ambry.blob import Composite
from ambry.checksum import digest
from ambry.errors import RequestTimeout
from ambry.format import composite as composite_format
from ambry.format.record import RecordKind
from frontend.request import RequestContext
from frontend.router.chunk_puts import WrittenChunks
from frontend.router.context import RouterContext
from frontend.router.presence import any_given_up
from frontend.router.quorum_write import ReplicaWrite, write_persistently
from frontend.router.records import CompositeId, RecordPuts, new_record
from frontend.router.upload_age import UploadAge
from frontend.router.values import PutSpec


async def commit_composite(
    request: RequestContext,
    context: RouterContext,
    records: RecordPuts,
    composite: CompositeId,
    spec: PutSpec,
    chunks: WrittenChunks,
    age: UploadAge,
) -> None:
    """Put the record under its id; doing it again with the same content is the same put.

    Raises QuorumNotReached (it may or may not have happened), InsufficientStorage, BlobGone; RequestTimeout when data nodes
    gave chunks up because the upload took so long.
    """
    payload = composite_format.encode(Composite(total_size=chunks.size, chunks=chunks.refs))
    properties = replace(spec.properties, size=chunks.size, digest=chunks.digest)
    record = new_record(RecordKind.COMPOSITE, properties, spec.metadata, payload, digest(payload), records.sealing)

    def write() -> ReplicaWrite:
        age.refuse_old()
        return records.write(record, composite.id, composite.replicas)

    # The chunks name this id, so a retry goes to the same partition; the same put twice is one.
    await write_persistently(request, write, attempts=context.config.put_attempts)
    # From now on nobody calls the chunks abandoned. Whoever did before, though that is against all settings, is found here.
    if age.took_its_time() and await any_given_up(request, context, [ref.id for ref in chunks.refs]):
        raise RequestTimeout(
            f"the upload ran for {age.ran_s():.0f} s, and data nodes gave chunks of it up as abandoned: is their "
            "sweep.grace_s well above router.upload_max_s? Nothing was stored"
        )
