"""`POST /` of a chunk, and `POST /stitch`: Ambry's older form of an upload in parts."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from aiohttp import web

from ambry.clock import Clock
from ambry.errors import InvalidRequest, TooLarge, UpdateConflict
from ambry.rest import names, values
from ambry.rest import text as rules
from ambry.rest.access import Role
from frontend.config import FrontendConfig
from frontend.containers.quota import Hold, Quotas
from frontend.http.digests import DIGEST_HEADERS
from frontend.http.exchange import Exchange
from frontend.http.route import Route
from frontend.rest.entry import Entry, container_of
from frontend.rest.json_body import json_object
from frontend.rest.new_session import new_session
from frontend.rest.stream import streamed
from frontend.rest.upload import told
from frontend.rest.upload_headers import (
    METADATA_PREFIXES,
    ON_UPLOAD,
    check_durability,
    check_lifetime,
    digests_of,
    put_spec,
)
from frontend.router.context import RouterContext
from frontend.router.values import PutSpec
from frontend.uploads import stitching
from frontend.uploads.completion import BlobSaid, WantedPart, complete, is_said
from frontend.uploads.open_session import OpenSession
from frontend.uploads.parts import PartPut, spec_of
from frontend.uploads.rows import Session, SessionState
from frontend.uploads.sessions import Sessions
from frontend.who import in_container

LIST_BYTES_MAX = 4 << 20
ON_STITCH = ON_UPLOAD - DIGEST_HEADERS - {names.IDEMPOTENCY_KEY}
OF_THE_BLOB = (
    names.FILENAME, names.ENCODED_FILENAME, names.CONTENT_ENCODING, "content-encoding", names.PRIVATE, names.IDEMPOTENCY_KEY,
)  # fmt: skip
"""What is said with the list, and not of a chunk."""


class _List(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    signed_chunk_ids: list[str]


class Stitches:
    """The calls of stitched uploads."""

    def __init__(
        self,
        sessions: Sessions,
        router: RouterContext,
        entry: Entry,
        quotas: Quotas,
        *,
        config: FrontendConfig,
        clock: Clock,
    ) -> None:
        self._sessions = sessions
        self._router = router
        self._entry = entry
        self._quotas = quotas
        self._size_max = config.frontend.blob_size_max
        self._max_s = config.uploads.session_max_s
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                op="stitch",
                methods=("POST",),
                target="/stitch",
                handle=self.stitch,
                needs=in_container(Role.WRITE),
                enter=self._entry.to_upload,
                changes=True,
                takes_body=True,
                headers=ON_STITCH,
                header_prefixes=METADATA_PREFIXES,
                select=self._select,
                statuses=(201,),
            ),
        )

    @staticmethod
    async def _select(exchange: Exchange) -> None:
        """What conditions are about: a new blob, so nothing stands there yet."""

    async def chunk(self, exchange: Exchange) -> web.Response:
        """`POST /` with `x-ambry-chunk-upload: true`: one chunk, durable when it is answered; Location stands for it."""
        said = exchange.headers
        size_max = exchange.at_most(self._chunk_size_max(said.get(names.MAX_UPLOAD_SIZE)))
        text = said.get(names.UPLOAD_SESSION, "")
        if not rules.plain_text(names.UPLOAD_SESSION, text):
            raise InvalidRequest(f"a chunk says in {names.UPLOAD_SESSION} which session it is of, such as a UUID")
        if refused := [name for name in said if name in OF_THE_BLOB or name.startswith(METADATA_PREFIXES)]:
            raise InvalidRequest(f"{refused[0]} is said of the whole blob, with POST /stitch, and not of a chunk")
        size = exchange.size
        if size is not None and size > size_max:
            raise TooLarge(f"the chunk has {size} bytes, and at most {size_max} are allowed")
        now_ms = self._clock.wall_ms()
        ttl_s = stitching.CHUNK_TTL_S if names.TTL not in said else values.ttl_seconds(said[names.TTL])
        if ttl_s is None or ttl_s > stitching.CHUNK_TTL_MAX_S:
            raise InvalidRequest(
                f"a chunk lives for at most {stitching.CHUNK_TTL_MAX_S} s until it is stitched ({names.TTL})"
            )
        container = container_of(exchange)
        spec = put_spec(said, filename="", now_ms=now_ms, has_metadata=False, durability=container.durability)
        check_durability(spec, self._router)
        found = await self._session(exchange, text, spec, now_ms)
        digests = digests_of(said)
        verify = None if digests is None else digests.verify
        put = PartPut(
            exchange.context, self._router, self._sessions, found, size_max=size_max, max_s=self._max_s, verify=verify
        )
        async with (
            Hold(self._quotas, container, size, blobs=0) as held,
            streamed(exchange, self._router, digests) as body,
        ):
            part = await put.run(None, held.over(body), size=size)
        signed = stitching.signed_id(found, part, now_ms + ttl_s * 1000)
        exchange.noted.update(upload=found.id.hex(), part=part.number, size=part.size)
        headers = {
            "Content-Type": "application/json",
            "Cache-Control": "no-store",
            "Location": f"/{signed}",
            names.BLOB_SIZE: str(part.size),
            names.DIGEST: part.digest.hex(),
            names.DURABILITY: spec.durability.name.lower(),
        }
        body_told = msgspec.json.encode({"signedId": signed, "size": part.size, "digest": part.digest.hex()}) + b"\n"
        return web.Response(status=201, body=body_told, headers=headers)

    def _chunk_size_max(self, text: str | None) -> int:
        if text is None or not (text.isascii() and text.isdigit() and 0 < len(text) <= 19):
            raise InvalidRequest(f"a chunk says in {names.MAX_UPLOAD_SIZE} how many bytes it may have at most")
        return min(int(text), self._size_max)

    async def _session(self, exchange: Exchange, text: str, spec: PutSpec, now_ms: int) -> OpenSession:
        """The session of that name, begun where there is none."""
        container = container_of(exchange)
        new = await new_session(self._router, container, spec, ttl_s=None, now_ms=now_ms)
        found = await self._sessions.find_named(container, exchange.context.who.id, text, new, self._max_s)
        await self._sessions.check_takes_parts(found)
        if found.session.durability is not spec.durability:
            raise InvalidRequest(
                f"the chunks of one session are all as durable: {found.session.durability.name.lower()}, as its first one"
            )
        return found

    async def stitch(self, exchange: Exchange) -> web.Response:
        """`POST /stitch`: the blob of these chunks in this order. Again is the same."""
        chunks = [stitching.parse_signed(text) for text in await self._list(exchange)]
        session, container = stitching.session_of(chunks), container_of(exchange)

        async def admit(stands: Session) -> None:
            await self._entry.admit_to_session(exchange, session, stands)
            stitching.check_container(stands.blob_id, container.account_id, container.container_id)

        found = await self._sessions.find(session, admit)
        now_ms = self._clock.wall_ms()
        headers = exchange.headers
        spec = put_spec(
            headers,
            filename="",
            now_ms=now_ms,
            has_metadata=exchange.prefixed,
            durability=found.session.durability,
        )
        check_lifetime(spec.expires_at_ms, container)
        if spec.durability is not found.session.durability:
            raise InvalidRequest(
                f"the chunks are as durable as {found.session.durability.name.lower()}, and so is their blob"
            )
        ttl = headers.get(names.TTL)
        said = BlobSaid(spec.properties, spec.metadata, None if ttl is None else values.ttl_seconds(ttl))
        digests = digests_of(headers)
        if found.session.state is SessionState.OPEN:
            wanted = await stitching.wanted_of(self._sessions, found, chunks, now_ms)
        else:
            wanted = [WantedPart(chunk.part, chunk.size, bytes.fromhex(chunk.digest)) for chunk in chunks]
            if not is_said(found.session, said):
                raise UpdateConflict("the chunks were stitched to a blob of which something else was said")
        blobs = 0 if found.session.state is SessionState.DONE else 1
        async with Hold(self._quotas, container, 0, blobs=blobs):
            result = await complete(
                exchange.context,
                self._router,
                self._sessions,
                found,
                wanted=wanted,
                size_max=self._size_max,
                verify=None if digests is None else digests.verify,
                said=said,
            )
        answer = told(result, spec_of(found.session, result.created_at_ms))
        exchange.noted.update(upload=found.id.hex(), blob=answer.id, size=result.size)
        return web.Response(status=201, body=answer.body, headers=answer.headers)

    async def _list(self, exchange: Exchange) -> Sequence[str]:
        try:
            asked = msgspec.convert(await json_object(exchange, self._router, size_max=LIST_BYTES_MAX), _List)
        except msgspec.ValidationError as cause:
            raise InvalidRequest(f'the body is {{"signedChunkIds": ["/signedId/...", ...]}}: {cause}') from cause
        return asked.signed_chunk_ids
