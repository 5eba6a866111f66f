"""A new upload session: the id that its blob will have is chosen with it."""

from __future__ import annotations

from typing import NamedTuple

from ambry.ids import BlobId, IdKind, uuid7
from frontend.container import Container
from frontend.router.context import RouterContext
from frontend.router.values import PutSpec
from frontend.uploads.parts import check_may_have_parts
from frontend.uploads.rows import SESSION_ID_SIZE, Session


class NewSession(NamedTuple):
    id: bytes
    session: Session


def new_session(
    router: RouterContext, container: Container, spec: PutSpec, *, ttl_s: int | None, now_ms: int
) -> NewSession:
    """One that nobody knows yet. Raises InsufficientStorage, NotSupported."""
    check_may_have_parts(container)
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
    )
    return NewSession(router.random_source.randbytes(SESSION_ID_SIZE), session)
