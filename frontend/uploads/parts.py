"""One part of an upload session: chunks beneath the id that the blob will have, durable before the part counts."""

from __future__ import annotations

from collections.abc import AsyncIterator

from ambry.blob import NEVER_MS
from ambry.errors import InvalidRequest, InvariantBroken, UpdateConflict
from frontend.request import RequestContext
from frontend.router.chunk_puts import ChunkPuts, WrittenChunks
from frontend.router.chunker import Chunker
from frontend.router.context import RouterContext
from frontend.router.records import RecordPuts
from frontend.router.sealing import sealing_soon
from frontend.router.upload_age import UploadAge
from frontend.router.values import DigestCheck, PutSpec
from frontend.uploads.open_session import OpenSession
from frontend.uploads.rows import Session, UploadPart
from frontend.uploads.sessions import Sessions

SWEEP_MARGIN_S = 86_400
"""Chunks are kept by data nodes for so much longer than a session may take: by then its end has been seen to."""


def spec_of(session: Session, now_ms: int) -> PutSpec:
    """What is put for a session now; the blob is what was said when it began."""
    return PutSpec(
        properties=session.properties,
        metadata=session.metadata,
        created_at_ms=now_ms,
        expires_at_ms=NEVER_MS if session.ttl_s is None else now_ms + session.ttl_s * 1000,
        durability=session.durability,
    )


async def check_as_it_began(request: RequestContext, context: RouterContext, found: OpenSession) -> None:
    """Raises UpdateConflict where the container is encrypted since the session began, whose chunks are not.

    Raises Unavailable where nobody knows whether it is.
    """
    container = request.container
    if container is None:
        raise InvariantBroken("an upload session was to be gone on with before its container was known")
    if found.sealing is None and await sealing_soon(context, container) is not None:
        raise UpdateConflict(
            f"the container {container} is encrypted since the upload session {found.id.hex()} began, which is not: abort it, "
            "and begin a new one"
        )


class PartPut:
    """One part on its way. The session may take `max_s` seconds in all; the part has at most `size_max` bytes."""

    def __init__(
        self,
        request: RequestContext,
        context: RouterContext,
        sessions: Sessions,
        found: OpenSession,
        *,
        size_max: int,
        max_s: int,
        verify: DigestCheck | None,
    ) -> None:
        self._request = request
        self._context = context
        self._sessions = sessions
        self._found = found
        self._size_max = size_max
        self._max_s = max_s
        self._verify = verify
        self._now_ms = context.clock.wall_ms()
        self._records = RecordPuts(request, context, spec_of(found.session, self._now_ms))

    async def run(self, number: int | None, body: AsyncIterator[bytes | None], *, size: int | None) -> UploadPart:
        """Write it. When this returns, the part is durable and counts; one that comes again takes the place of the one before.

        None is a number that no other part has, as what is returned says it.

        Raises what `body` and `verify` raise, what a put raises, and UpdateConflict, UploadGone where the session ended
        meanwhile, or the container is encrypted since it began; then nothing of it stays.
        """
        config = self._context.config
        await check_as_it_began(self._request, self._context, self._found)
        if self._found.sealing is not None:
            self._records.sealing = self._found.sealing.of_chunks()
        chunker = Chunker(
            body,
            chunk_size=config.chunk_size_bytes,
            size=size,
            size_max=self._size_max,
            budget=self._context.budget,
            wait_s=config.memory_wait_ms / 1000,
        )
        try:
            written = await self._write(chunker)
            if self._verify is not None:
                await self._verify(written.digest)
            part = UploadPart(number or 0, written.size, written.digest, self._now_ms, written.refs)
            noted = await self._sessions.note_chunks(self._found, part)
        except BaseException:
            self._records.forget()
            raise
        finally:
            chunker.close()
        # Nobody knows of a write that fails whether it was done: either the part counts, or its chunks are noted as nobody's.
        if number is None:
            return await self._sessions.add_somewhere(self._found, part, noted)
        await self._sessions.add_part(self._found, part, noted)
        return part

    async def _write(self, chunker: Chunker) -> WrittenChunks:
        config = self._context.config
        first = await chunker.next_chunk()
        self._request.renew()
        if not len(first.data):
            raise InvalidRequest("a part has at least one byte; leave an empty one out")
        puts = ChunkPuts(
            self._request,
            self._records,
            chunker,
            parent=self._found.session.blob_id,
            age=UploadAge(self._context.clock, created_at_ms=self._now_ms, max_s=config.upload_max_s),
            parallelism=config.write_parallelism,
            keep_s=self._max_s + SWEEP_MARGIN_S,
        )
        return await puts.write(first)
