"""The background loop that ends upload sessions which nobody goes on with, and lets go of what no blob is made of.

Every frontend of a datacenter has one; a lease lets one of them work at a time, and two at once do no harm: all of it is the
same when it is done twice. Rows of parts go when enough replicas have heard that the chunks which no blob lists are deleted,
so a frontend that is killed anywhere in between leaves it to the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ambry.blob import NEVER_MS
from ambry.clock import Clock
from ambry.errors import AmbryError, BlobNotFound, EncryptionKeyDeleted
from ambry.ids import BlobId
from ambry.service.logs import get_logger
from frontend.containers.resolver import Containers
from frontend.metadata.leases import Leases
from frontend.metadata.unreadable import passing_over
from frontend.request import RequestContext
from frontend.router.context import RouterContext
from frontend.router.quorum_read import read_head
from frontend.uploads.bound import BoundLives
from frontend.uploads.completion import commit, give_up
from frontend.uploads.open_session import OpenSession
from frontend.uploads.rows import Session, SessionState
from frontend.uploads.sessions import Sessions

log = get_logger()

TICK_S = 5.0
"""Between two looks at all sessions."""
BURIED_AT_ONCE = 200
FINISH_AFTER_S = 60.0
"""So long after it was decided, whoever completes a session has given up."""


class UploadJanitor:
    """That of one frontend. A session is over `max_s` after it began, or when it was idle for long."""

    def __init__(
        self,
        sessions: Sessions,
        router: RouterContext,
        containers: Containers,
        leases: Leases,
        bound: BoundLives,
        *,
        clock: Clock,
        max_s: int,
    ) -> None:
        self._sessions = sessions
        self._bound = bound
        self._router = router
        self._containers = containers
        self._leases = leases
        self._clock = clock
        self._max_s = max_s
        self._looked_at = 0
        self._ended = 0

    def progress(self) -> dict[str, Any]:
        """For the admin port."""
        return {"sessions": self._looked_at, "ended": self._ended}

    async def tick(self) -> float:
        """Look at all sessions once; the tick of a worker."""
        if not await self._leases.hold("uploads", 3 * TICK_S):
            return TICK_S
        after: bytes | None = None
        self._looked_at = 0
        counting = await self._sessions.places.counting()
        while page := await self._sessions.left.page(after):
            for row in page:
                self._looked_at += 1
                with passing_over("upload session", row.id):
                    found = row.read()
                    counting.see(found.session)
                    await self._look(found, idle=row.idle)
                if not self._looked_at % 50:
                    await self._leases.hold("uploads", 3 * TICK_S)
            after = page[-1].id
        if wrong := await counting.end():
            log.warning("open upload sessions were counted wrongly, and are counted anew", counts=wrong)
        await self._bound.lengthen_all()
        return TICK_S

    async def _look(self, found: OpenSession, *, idle: bool) -> None:
        try:
            found = await self._end(found, idle=idle)
            if found.session.state in (SessionState.DONE, SessionState.ABORTED):
                await self._clean(found)
        except AmbryError as failure:
            log.warning("upload session not seen to, it is tried again", session=found.id.hex(), error=failure.message)

    async def _end(self, found: OpenSession, *, idle: bool) -> OpenSession:
        """End one that nobody goes on with."""
        session = found.session
        age_s = (self._clock.wall_ms() - session.created_at_ms) / 1000
        if session.state is SessionState.OPEN and (age_s > self._max_s or idle):
            self._ended += 1
            if await self._has_blob(session):
                # It was completed, and the metadata was put back from a backup since.
                return await self._sessions.finish(found, SessionState.DONE)
            log.info("upload session is over, nobody went on with it", session=found.id.hex(), age_s=round(age_s))
            return await self._sessions.finish(found, SessionState.ABORTED, idle=idle)
        if session.state is SessionState.COMPLETING and session.completion is not None:
            since_s = (self._clock.wall_ms() - session.completion.created_at_ms) / 1000
            if since_s > FINISH_AFTER_S:
                return await self._complete(found)
        return found

    async def _complete(self, found: OpenSession) -> OpenSession:
        request = await self._request(found.session)
        try:
            opened = await self._sessions.opened(found)
        except EncryptionKeyDeleted:
            log.warning("upload session is over, its container's key was deleted", session=found.id.hex())
            return await give_up(request, self._router, self._sessions, found)
        return await commit(request, self._router, self._sessions, opened)

    async def _has_blob(self, session: Session) -> bool:
        """Raises Unavailable where nobody can tell."""
        try:
            await read_head(await self._request(session), self._router, session.blob_id, any_state=True)
        except EncryptionKeyDeleted:
            return True  # it is there, and nobody will read it
        except BlobNotFound:
            return False
        return True

    async def _clean(self, found: OpenSession) -> None:
        """Let chunks go that no blob lists, then the rows that know of them."""
        done = found.session.state is SessionState.DONE
        kept = frozenset(found.session.completion.parts if done and found.session.completion else ())
        unused = [
            BlobId(ref.id)
            async for part in self._sessions.all_parts(found.id)
            if part.number not in kept
            for ref in part.refs
        ]
        if done and found.session.completion is None:
            unused = []  # nobody knows which its blob lists
        if await self._bury(found.id.hex(), unused):
            await self._sessions.left.drop_parts(found)
            await self._sessions.left.note_cleaned(found)

    async def _bury(self, request_id: str, ids: Sequence[BlobId]) -> bool:
        for start in range(0, len(ids), BURIED_AT_ONCE):
            if not await self._router.discards.bury(request_id, ids[start : start + BURIED_AT_ONCE], NEVER_MS):
                return False
        return True

    async def _request(self, session: Session) -> RequestContext:
        timeout_s = self._router.config.request_timeout_ms / 1000
        container = await self._containers.resolve_id(session.blob_id.account, session.blob_id.container)
        return RequestContext.of_ours(self._router.random_source, timeout_s=timeout_s, container=container)
