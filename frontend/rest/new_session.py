"""A new upload session: the id that its blob will have is chosen with it."""

from __future__ import annotations

from ambry.ids import BlobId, IdKind, uuid7
from frontend.container import Container
from frontend.router.context import RouterContext
from frontend.router.sealing import sealing_soon
from frontend.router.values import PutSpec
from frontend.uploads.open_session import OpenSession
from frontend.uploads.rows import SESSION_ID_SIZE, Session
from frontend.uploads.sealing import with_key


async def new_session(
    router: RouterContext, container: Container, spec: PutSpec, *, ttl_s: int | None, now_ms: int, name: str = ""
) -> OpenSession:
    """One that nobody knows yet. Raises InsufficientStorage; what the container's key raises where it must be asked for."""
    sealing = await sealing_soon(router, container)
    blob_id = BlobId.make(
        kind=IdKind.COMPOSITE,
        datacenter=router.datacenter_id,
        account=container.account_id,
        container=container.container_id,
        partition=router.placement.choose(router.config.chunk_size_bytes).id,
        uuid=uuid7(now_ms, router.random_source),
    )
    session = Session(
        blob=blob_id.raw,
        properties=spec.properties,
        metadata=spec.metadata,
        ttl_s=ttl_s,
        durability=spec.durability,
        created_at_ms=now_ms,
        name=name,
    )
    own_id = router.random_source.randbytes(SESSION_ID_SIZE)
    if sealing is None:
        return OpenSession(own_id, session, b"")
    session, sealed = with_key(session, sealing.key)
    return OpenSession(own_id, session, b"", sealed)
