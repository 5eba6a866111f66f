"""Uploads in parts that go on another day: `/uploads` and what is below it.

A session fixes the id of its blob when it begins. Its parts come in any order, at any time and at once, each acknowledged when
it is durable; completing it writes one record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import web

from ambry.clock import Clock
from ambry.errors import InvalidRequest
from ambry.rest import names, values
from ambry.rest import text as rules
from ambry.rest.access import Role
from frontend.config import FrontendConfig
from frontend.container import Container
from frontend.containers.quota import Hold, Quotas
from frontend.http.digests import DIGEST_HEADERS
from frontend.http.exchange import Exchange
from frontend.http.route import Handle, Route
from frontend.names.rows import name_key
from frontend.rest.entry import Entry, container_of, decide_on, enter
from frontend.rest.json_body import json_object
from frontend.rest.named_rules import check_has_names
from frontend.rest.new_session import new_session
from frontend.rest.resource import EVERYWHERE, READS, json_page, of_this_moment
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
from frontend.uploads.completion import WantedPart, complete
from frontend.uploads.open_session import OpenSession
from frontend.uploads.parts import PartPut, spec_of
from frontend.uploads.rows import SESSION_ID_SIZE, Session, SessionState, UploadPart
from frontend.uploads.sessions import Sessions, check_number
from frontend.who import in_container

ON_SESSION = (ON_UPLOAD - DIGEST_HEADERS - {names.DIGEST, names.IDEMPOTENCY_KEY}) | {names.UPLOAD_NAME}
ON_PART = EVERYWHERE | DIGEST_HEADERS | {names.DIGEST}
PARTS_SHOWN = 1_000


class _Completing(msgspec.Struct, forbid_unknown_fields=True):
    parts: list[_WantedPart] | None = None


class _WantedPart(msgspec.Struct, forbid_unknown_fields=True):
    part: int
    size: int | None = None
    digest: str | None = None


ANSWERS = {"upload_complete": (201,), "upload_abort": (202,)}
"""Of operations that do not answer 200."""


class UploadSessions:
    """The calls of upload sessions."""

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
        self._config = config.frontend
        self._uploads = config.uploads
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        def on_session(op: str, methods: tuple[str, ...], below: str, handle: Handle, headers: frozenset[str]) -> Route:
            return Route(
                op=op,
                methods=methods,
                target="/uploads/{upload}" + below,
                handle=handle,
                needs=in_container(Role.WRITE),
                enter=self._enter,
                changes=methods != READS,
                takes_body=methods != READS and op != "upload_abort",
                headers=headers,
                query=frozenset({"after"}) if methods == READS else frozenset(),
                select=of_this_moment,
                statuses=ANSWERS.get(op, (200,)),
                takes=("application/octet-stream",) if op == "upload_part" else ("application/json",),
                gives=() if op == "upload_abort" else ("application/json",),
            )

        begin = Route(
            op="upload_begin",
            methods=("POST",),
            target="/uploads",
            handle=self.begin,
            needs=in_container(Role.WRITE),
            enter=self._enter_new,
            changes=True,
            headers=ON_SESSION,
            header_prefixes=METADATA_PREFIXES,
            select=of_this_moment,
            statuses=(201,),
        )
        return (
            begin,
            on_session("upload_part", ("PUT",), "/{part}", self.part, ON_PART),
            on_session("upload_show", READS, "", self.show, EVERYWHERE),
            on_session("upload_complete", ("POST",), "/complete", self.complete, EVERYWHERE | {names.DIGEST}),
            on_session("upload_abort", ("DELETE",), "", self.abort, EVERYWHERE),
        )

    async def _enter(self, exchange: Exchange) -> None:
        id = session_id(exchange.target.segments[1])

        async def admit(session: Session) -> None:
            container = await self._entry.admit_to_session(exchange, id, session)
            exchange.name = session.name or None
            enter(exchange, container)

        exchange.named = await self._sessions.find(id, admit)

    async def _enter_new(self, exchange: Exchange) -> None:
        """One for a name takes what a put of that takes."""
        text = exchange.headers.get(names.UPLOAD_NAME)
        if text is not None:
            exchange.name = rules.percent_decoded(names.UPLOAD_NAME, text)
            name_key(exchange.name)
        await self._entry.to_upload(exchange)
        if text is not None:
            decide_on(exchange, Role.NAME, container_of(exchange), exchange.name)
            check_has_names(container_of(exchange))

    async def begin(self, exchange: Exchange) -> web.Response:
        """`POST /uploads`: what an upload's headers say is said here, of the blob to be."""
        now_ms = self._clock.wall_ms()
        container = container_of(exchange)
        spec = put_spec(
            exchange.headers,
            filename="",
            now_ms=now_ms,
            has_metadata=exchange.prefixed,
            durability=container.durability,
        )
        check_lifetime(spec.expires_at_ms, container)
        check_durability(spec, self._router)
        ttl = exchange.headers.get(names.TTL)
        ttl_s = None if ttl is None else values.ttl_seconds(ttl)
        new = await new_session(self._router, container, spec, ttl_s=ttl_s, now_ms=now_ms, name=exchange.name or "")
        await self._sessions.begin(new, container, exchange.context.who.id)
        exchange.noted["upload"] = new.id.hex()
        return json_page(self._shown(new, container), 201, Location=f"/uploads/{new.id.hex()}")

    async def part(self, exchange: Exchange) -> web.Response:
        """`PUT /uploads/<u>/<n>`: a part, durable when it is answered. Again is the same; other bytes take its place."""
        found = _found(exchange)
        text = exchange.target.segments[2]
        if not (text.isascii() and text.isdigit() and len(text) <= 6):
            raise InvalidRequest(f"a part has a number, not {text[:20]!r}")
        number = check_number(int(text))
        await self._sessions.check_takes_parts(found)
        size_max = exchange.at_most(self._config.blob_size_max)
        size = exchange.size
        if size is not None and size > size_max:
            raise exchange.too_large("the part", self._config.blob_size_max)
        digests = digests_of(exchange.headers)
        verify = None if digests is None else digests.verify
        max_s = self._uploads.session_max_s
        put = PartPut(
            exchange.context, self._router, self._sessions, found, size_max=size_max, max_s=max_s, verify=verify
        )
        # Of a part that is put again, or of a session that comes to nothing, it comes back when that was counted.
        hold = Hold(self._quotas, container_of(exchange), size, blobs=0)
        async with hold, streamed(exchange, self._router, digests) as body:
            part = await put.run(number, hold.over(body), size=size)
        exchange.noted.update(upload=found.id.hex(), part=number, size=part.size)
        answer = json_page(_part_shown(part), ETag=f'"{part.digest.hex()}"')
        answer.headers[names.DIGEST] = part.digest.hex()
        answer.headers[names.DURABILITY] = found.session.durability.name.lower()
        return answer

    async def show(self, exchange: Exchange) -> web.Response:
        """`GET /uploads/<u>`: its state and a page of its parts, by number beyond `?after=`."""
        found = _found(exchange)
        after_text = exchange.target.query_pairs().get("after", "0")
        if not (after_text.isascii() and after_text.isdigit() and len(after_text) <= 6):
            raise InvalidRequest(f"after is the number of a part, not {after_text[:20]!r}")
        shown: list[dict[str, Any]] = []
        more: int | None = None
        async for part in self._sessions.parts(found, after=int(after_text)):
            if len(shown) == PARTS_SHOWN:
                more = shown[-1]["part"]
                break
            shown.append(_part_shown(part))
        return json_page({**self._shown(found, container_of(exchange)), "parts": shown, "next": more})

    async def complete(self, exchange: Exchange) -> web.Response:
        """`POST /uploads/<u>/complete`: the blob. Again is the same."""
        found = _found(exchange)
        asked = await self._asked(exchange)
        digests = digests_of(exchange.headers)
        # Its bytes were taken with the parts. Repeated after a failure it may take a second blob, until that is counted.
        blobs = 0 if found.session.state is SessionState.DONE else 1
        if found.session.state is SessionState.OPEN:
            # The container may ask for a time to live since the session began.
            check_lifetime(spec_of(found.session, self._clock.wall_ms()).expires_at_ms, container_of(exchange))
        async with Hold(self._quotas, container_of(exchange), 0, blobs=blobs):
            result = await complete(
                exchange.context,
                self._router,
                self._sessions,
                found,
                wanted=asked,
                size_max=self._config.blob_size_max,
                verify=None if digests is None else digests.verify,
            )
        answer = told(result, spec_of(found.session, result.created_at_ms))
        exchange.noted.update(upload=found.id.hex(), blob=answer.id, size=result.size)
        return web.Response(status=201, body=answer.body, headers=answer.headers)

    async def _asked(self, exchange: Exchange) -> Sequence[WantedPart] | None:
        try:
            asked = msgspec.convert(await json_object(exchange, self._router, may_be_empty=True), _Completing)
        except msgspec.ValidationError as cause:
            raise InvalidRequest(
                f'the body is {{"parts": [{{"part": 1, "size": 5, "digest": "..."}}, ...]}} or nothing: {cause}'
            ) from cause
        if asked.parts is None:
            return None
        return [
            WantedPart(each.part, each.size, None if each.digest is None else values.digest(each.digest))
            for each in asked.parts
        ]

    async def abort(self, exchange: Exchange) -> web.Response:
        """`DELETE /uploads/<u>`: nothing of it stays. One that made a blob is over, and the blob stays."""
        found = _found(exchange)
        await self._sessions.check_takes_parts(found)
        await self._sessions.finish(found, SessionState.ABORTED)
        exchange.noted["upload"] = found.id.hex()
        return web.Response(status=202)

    def _shown(self, found: OpenSession, container: Container) -> dict[str, Any]:
        session = found.session
        return {
            "upload": found.id.hex(),
            "id": str(session.blob_id),
            "state": session.state.name.lower(),
            "created_at_ms": session.created_at_ms,
            "idle_s": self._uploads.session_idle_s,
            "ends_at_ms": session.created_at_ms + 1000 * self._uploads.session_max_s,
            "durability": session.durability.name.lower(),
            "account": container.account_name,
            "container": container.container_name,
            **({"name": session.name} if session.name else {}),
        }


def _found(exchange: Exchange) -> OpenSession:
    """The session that a request is about, as it was when the request entered."""
    found: OpenSession = exchange.named
    return found


def session_id(text: str) -> bytes:
    """Raises InvalidRequest."""
    try:
        raw = bytes.fromhex(text) if len(text) == 2 * SESSION_ID_SIZE else b""
    except ValueError:
        raw = b""
    if len(raw) != SESSION_ID_SIZE:
        raise InvalidRequest(f"an upload session has {2 * SESSION_ID_SIZE} hexadecimal digits, not {text[:40]!r}")
    return raw


def _part_shown(part: UploadPart) -> dict[str, Any]:
    return {"part": part.number, "size": part.size, "digest": part.digest.hex(), "arrived_at_ms": part.arrived_at_ms}
