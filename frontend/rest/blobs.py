"""The blob calls of the HTTP API: upload, read, head, delete and what is around them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import ClassVar

import msgspec
from aiohttp import web

from ambry.blob import NEVER_MS
from ambry.checksum import Buffer
from ambry.clock import Clock
from ambry.errors import InvalidBlobId, InvalidRequest, NotSupported, PreconditionFailed, TooLarge
from ambry.ids import ID_TEXT_SIZE, BlobId
from ambry.rest import metadata
from ambry.rest.text import percent_decoded
from ambry.service.admin import json_response
from frontend import metrics
from frontend.config import FrontendSection
from frontend.http.body import ClientGone, ExpectedDigests, read_body
from frontend.http.conditions import CONDITIONAL_HEADERS, Condition, etag_of, evaluate, http_date, range_applies
from frontend.http.ranges import content_range, parse_range
from frontend.metadata.accounts import Accounts
from frontend.rest.headers import blob_headers, expiry, put_spec, target_container, ttl_text
from frontend.rest.request import Request
from frontend.router.get import Download
from frontend.router.router import Router
from frontend.router.values import BlobHead, RangeSpec, Span

RESERVED_FIRST_SEGMENTS = frozenset({"named", "uploads", "stitch", "accounts", "batch", "s3", "changes"})


def parse_id(text: str) -> BlobId:
    """A blob id from a path; a file extension behind it is ignored. Raises InvalidBlobId."""
    if len(text) > ID_TEXT_SIZE and text[ID_TEXT_SIZE] == ".":
        text = text[:ID_TEXT_SIZE]
    return BlobId.parse(text)


class BlobCalls:
    """The handlers. Each takes a Request and returns a response, or raises AmbryError."""

    def __init__(self, router: Router, accounts: Accounts, *, config: FrontendSection, clock: Clock) -> None:
        self._router = router
        self._accounts = accounts
        self._config = config
        self._clock = clock

    # --- upload ---

    async def upload(self, request: Request, filename: str = "") -> web.StreamResponse:
        http = request.http
        size = self._declared_size(http)
        request.context.container = target_container(http.headers, self._accounts)
        spec = put_spec(http.headers, filename=filename, now_ms=self._clock.wall_ms())
        digests = ExpectedDigests(http.headers)
        if http.transport is None:
            # The connection ended before this call began, and aiohttp tells only calls that run already: the body would be
            # waited for until its deadline.
            raise ClientGone
        await request.continue_if_expected()
        body = read_body(http.content, stall_timeout_s=self._config.body_stall_timeout_s, digests=digests)
        result = await self._router.put(
            request.context, spec, body, size=size, size_max=self._config.blob_size_max, verify=digests.verify
        )
        metrics.BYTES_IN.inc(result.size)
        request.note(blob=str(result.id), size=result.size)
        text = str(result.id)
        summary = {"id": text, "size": result.size, "digest": result.digest.hex()}
        return web.Response(
            status=201,
            body=msgspec.json.encode(summary) + b"\n",
            headers={
                "Content-Type": "application/json",
                "Location": f"/{text}",
                "ETag": etag_of(result.digest),
                "x-ambry-blob-size": str(result.size),
                "x-ambry-digest": result.digest.hex(),
                "x-ambry-durability": spec.durability.name.lower(),
                "x-ambry-creation-time": http_date(result.created_at_ms),
            },
        )

    async def upload_to_path(self, request: Request, path: str) -> web.StreamResponse:
        """`PUT /<filename>`, what `curl -T` sends: a new blob that remembers the name."""
        name = percent_decoded("the name in the path", path)
        if "/" in name or name in RESERVED_FIRST_SEGMENTS:
            raise InvalidRequest(f"PUT goes to / or to /<filename>; {path!r} is neither")
        return await self.upload(request, filename=name)

    def _declared_size(self, http: web.BaseRequest) -> int | None:
        """Content-Length, None for a chunked body. Raises NotSupported, InvalidRequest, TooLarge."""
        encoding = http.headers.get("Transfer-Encoding")
        if encoding is not None:
            if encoding.strip().lower() != "chunked":
                raise NotSupported(f"Transfer-Encoding {encoding!r} is not supported; send the body as it is")
            if http.version < (1, 1):
                raise InvalidRequest("Transfer-Encoding needs HTTP/1.1")
            return None
        size = http.content_length or 0
        if size > self._config.blob_size_max:
            raise TooLarge(f"{size} bytes exceed the largest allowed blob of {self._config.blob_size_max} bytes")
        return size

    # --- read ---

    async def read(self, request: Request, blob_id: BlobId) -> web.StreamResponse:
        """GET and HEAD."""
        http = request.http
        request.note(blob=str(blob_id))
        any_state = self._includes_gone(http)
        resolve_empty = http.headers.get("x-ambry-resolve-range-on-empty-blob", "").lower() == "true"
        wanted = parse_range(http.headers.get("Range"))
        if http.method == "HEAD" or any(name in http.headers for name in CONDITIONAL_HEADERS):
            head = await self._router.head(request.context, blob_id, any_state=any_state)
            answer = self._answered_by_condition(http, head)
            if answer is not None:
                return answer
            if not range_applies(
                http.headers.get("If-Range"), etag=etag_of(head.properties.digest), modified_ms=head.created_at_ms
            ):
                wanted = None
            if http.method == "HEAD":
                return self._head(head, None if resolve_empty and not head.size else wanted)
        reader = await self._router.open(
            request.context,
            blob_id,
            wanted=wanted,
            any_state=any_state,
            resolve_empty=resolve_empty,
        )
        try:
            return await self._send(request, reader, partial=wanted is not None)
        finally:
            reader.close()

    @staticmethod
    def _includes_gone(http: web.BaseRequest) -> bool:
        option = http.headers.get("x-ambry-get-option", "None").lower()
        if option not in ("none", "include_all", "include_deleted_blobs", "include_expired_blobs"):
            raise InvalidRequest(
                f"x-ambry-get-option is None, Include_Deleted_Blobs, Include_Expired_Blobs or Include_All, not {option!r}"
            )
        return option != "none"

    def _answered_by_condition(self, http: web.BaseRequest, head: BlobHead) -> web.Response | None:
        outcome = evaluate(http.headers, etag=etag_of(head.properties.digest), modified_ms=head.created_at_ms)
        if outcome is Condition.FAILED:
            raise PreconditionFailed(f"blob {head.id} does not fulfil the request's condition")
        if outcome is Condition.NOT_MODIFIED:
            headers = blob_headers(head, self._accounts)
            return web.Response(
                status=304, headers={name: headers[name] for name in ("ETag", "Cache-Control", "Last-Modified")}
            )
        return None

    def _head(self, head: BlobHead, wanted: RangeSpec | None) -> web.Response:
        headers = blob_headers(head, self._accounts)
        status = 200
        span = Span(0, head.size)
        if wanted is not None:
            span = wanted.resolve(head.size)
            status = 206
            headers["Content-Range"] = content_range(span.first, span.end, head.size)
        headers["Content-Length"] = str(span.size)
        return web.Response(status=status, headers=headers)

    async def _send(self, request: Request, reader: Download, *, partial: bool) -> web.StreamResponse:
        head = reader.head
        headers = blob_headers(head, self._accounts)
        size = reader.span.size
        status = 200
        if partial and head.size:
            status = 206
            headers["Content-Range"] = content_range(reader.span.first, reader.span.end, head.size)
        metrics.BYTES_OUT.inc(size)
        if reader.complete:
            # aiohttp sends header and body of a small Response in one write.
            return web.Response(status=status, headers=headers, body=bytes(reader.beginning))
        response = web.StreamResponse(status=status, headers=headers)
        response.content_length = size
        request.prepare_headers(response)
        await response.prepare(request.http)
        request.streaming = True
        if len(reader.beginning):
            await self._write(request, response, reader.beginning)
        async for data in reader.stream():
            await self._write(request, response, data)
        await response.write_eof()
        return response

    async def _write(self, request: Request, response: web.StreamResponse, data: Buffer) -> None:
        """Wait until the client took the bytes, or enough of them. Raises ClientGone when it takes none for too long.

        What it does not take stays in our memory, and comes out of the budget that all share.
        """
        transport = request.http.transport
        left = len(data) + (transport.get_write_buffer_size() if transport is not None else 0)
        writing = asyncio.create_task(response.write(data))
        try:
            while not (await asyncio.wait((writing,), timeout=self._config.body_stall_timeout_s))[0]:
                if transport is None or transport.get_write_buffer_size() >= left:
                    raise ClientGone
                left = transport.get_write_buffer_size()
            await writing
        finally:
            writing.cancel()

    # --- around a blob ---

    async def blob_info(self, request: Request, blob_id: BlobId) -> web.StreamResponse:
        head = await self._router.head(request.context, blob_id)
        headers = blob_headers(head, self._accounts)
        headers["Content-Type"] = "application/json"
        body = {
            "id": str(blob_id),
            "size": head.size,
            "digest": head.properties.digest.hex(),
            "content_type": head.properties.content_type,
            "filename": head.properties.filename,
            "created_at_ms": head.created_at_ms,
            "expires_at_ms": None if head.state.expires_at_ms == NEVER_MS else head.state.expires_at_ms,
            "life_version": head.state.life_version,
            "datacenter": self._router.context.map.datacenter_name(blob_id.datacenter),
            "partition": blob_id.partition,
            "user_metadata": head.metadata,
        }
        return web.Response(body=msgspec.json.encode(body) + b"\n", headers=headers)

    async def user_metadata(self, request: Request, blob_id: BlobId) -> web.StreamResponse:
        head = await self._router.head(request.context, blob_id)
        response = json_response(head.metadata)
        response.headers.update(metadata.encode(head.metadata))
        return response

    async def replicas(self, request: Request, blob_id: BlobId) -> web.StreamResponse:
        found = await self._router.presence(request.context, blob_id)
        return json_response({"id": str(blob_id), "partition": blob_id.partition, "replicas": found})

    async def chunk_ids(self, request: Request, blob_id: BlobId) -> web.StreamResponse:
        composite = await self._router.composite(request.context, blob_id)
        chunks = composite.chunks if composite else ()
        return json_response(
            {
                "id": str(blob_id),
                "chunks": [
                    {"id": str(BlobId(chunk.id)), "size": chunk.size, "digest": chunk.digest.hex()} for chunk in chunks
                ],
            }
        )

    SUBRESOURCES: ClassVar[dict[str, Callable[[BlobCalls, Request, BlobId], Awaitable[web.StreamResponse]]]] = {
        "blobinfo": blob_info,
        "usermetadata": user_metadata,
        "replicas": replicas,
        "blobchunkids": chunk_ids,
    }

    # --- updates ---

    async def delete(self, request: Request, blob_id: BlobId) -> web.StreamResponse:
        request.note(blob=str(blob_id))
        await self._router.delete(request.context, blob_id)
        return web.Response(status=202)

    def _id_header(self, request: Request) -> BlobId:
        text = request.http.headers.get("x-ambry-blob-id")
        if text is None:
            raise InvalidBlobId("the header x-ambry-blob-id must name the blob")
        blob_id = parse_id(text.lstrip("/"))
        request.note(blob=str(blob_id))
        return blob_id

    async def update_ttl(self, request: Request) -> web.StreamResponse:
        blob_id = self._id_header(request)
        expires_at_ms = expiry(request.http.headers.get("x-ambry-ttl"), self._clock.wall_ms())
        head = await self._router.extend_ttl(request.context, blob_id, expires_at_ms)
        return web.Response(status=200, headers={"x-ambry-ttl": ttl_text(head.state, head.created_at_ms)})

    async def undelete(self, request: Request) -> web.StreamResponse:
        await self._router.undelete(request.context, self._id_header(request))
        return web.Response(status=200)
