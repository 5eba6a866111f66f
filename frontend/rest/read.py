"""Reads of a blob's bytes: `GET` and `HEAD` of `/<id>`, and of one of its chunks."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from itertools import accumulate

from aiohttp import web

from ambry.errors import InvalidRequest
from ambry.rest import names, values
from ambry.rest.access import Role
from frontend.http.conditions import range_applies
from frontend.http.exchange import Exchange, StreamedAnswer
from frontend.http.inert import GUARDS, disposition
from frontend.http.ranges import content_range, last_boundary, parse_ranges, part_head, spans_of
from frontend.http.route import Handle, Route, Select
from frontend.rest.blob import ALIVE, BlobFinder, Visible, digest_of, etag_of, id_in_path, visible
from frontend.rest.entry import OF_BLOB, Entry
from frontend.rest.resource import EVERYWHERE, READS
from frontend.router.composite import chunk_list
from frontend.router.context import RouterContext
from frontend.router.download import Download
from frontend.router.get import open_blob, open_spans
from frontend.router.values import BlobHead, RangeSpec, Span
from frontend.who import in_container

ON_READ = EVERYWHERE | OF_BLOB | {names.GET_OPTION, names.RESOLVE_RANGE_ON_EMPTY_BLOB}
_SEGMENT_DIGITS_MAX = 9
WHOLE_BYTES = 64 << 10
"""Answers of so many bytes are sent in one write. Larger ones are streams, whose memory is watched over."""


class Reads:
    """The calls that answer with a blob's bytes."""

    def __init__(self, router: RouterContext, finder: BlobFinder, entry: Entry) -> None:
        self._router = router
        self._finder = finder
        self._entry = entry

    def routes(self) -> tuple[Route, ...]:
        shown, about = self._finder.select_shown, self._finder.select_about
        segment = "/{id}/Segment/{n}"

        def read(
            op: str, methods: tuple[str, ...], target: str, handle: Handle, select: Select, headers: frozenset[str]
        ) -> Route:
            enter = self._entry.by_path
            return Route(
                op=op,
                methods=methods,
                target=target,
                handle=handle,
                needs=in_container(Role.READ),
                enter=enter,
                headers=headers,
                select=select,
                statuses=(200, 206) if op == "get" else (200,),
                gives=("*/*",),
            )

        return (
            read("get", ("GET",), "/{id}", self.read, shown, ON_READ),
            read("head", ("HEAD",), "/{id}", self.head, shown, ON_READ),
            read("segment", READS, segment, self.segment, about, EVERYWHERE | OF_BLOB),
        )

    async def read(self, exchange: Exchange) -> web.StreamResponse:
        """The bytes of a blob, or ranges of them."""
        ranges = parse_ranges(exchange.headers["range"]) if "range" in exchange.headers else ()
        resolve_empty = _resolves_empty(exchange.headers)
        allowed = visible(exchange)
        parts: Sequence[Span] = ()
        """What the ranges are of the blob; none for the whole."""

        def spans(head: BlobHead) -> Sequence[Span]:
            nonlocal parts
            if allowed.any:
                self._finder.check(head, allowed)
            size = head.properties.size
            # Of an empty blob there is no part: its ranges are resolved on request, to all of it.
            if ranges and (size or not resolve_empty) and _ranges_apply(exchange, head):
                parts = spans_of(ranges, size)
            return parts or (Span(0, size),)

        download = await open_spans(
            exchange.context,
            self._router,
            id_in_path(exchange),
            spans,
            likely=ranges or (None,),
            any_state=allowed.any,
            begun=exchange.begun,
        )
        try:
            head = download.head
            headers = self._headers(exchange, head, allowed)
            if len(parts) > 1:
                return await self._send_parts(exchange, download, headers)
            if parts:
                headers["Content-Range"] = content_range(parts[0].first, parts[0].end, head.properties.size)
            return await self._send(exchange, download, 206 if parts else 200, headers)
        finally:
            download.close()

    async def _send_parts(self, exchange: Exchange, download: Download, headers: dict[str, str]) -> web.StreamResponse:
        """Several ranges in one answer, multipart/byteranges (RFC 9110 section 15.3.7.2)."""
        # Nobody who stored a blob could know what this request's id would be.
        boundary = exchange.context.id
        properties, spans = download.head.properties, download.spans
        part_heads = [part_head(boundary, properties.content_type, span, properties.size) for span in spans]
        end = last_boundary(boundary)
        headers["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
        # The blob's bytes are encoded, not what stands around them; and no browser shows a multipart.
        headers.pop("Content-Encoding", None)
        headers["Content-Disposition"] = disposition("multipart/byteranges", properties.filename) or "attachment"
        size = sum(map(len, part_heads)) + download.size + len(end)
        response = StreamedAnswer(status=206, headers=headers, size=size)
        starts = accumulate([span.size for span in spans], initial=0)
        await self._write_all(exchange, response, download, dict(zip(starts, part_heads, strict=False)))
        await exchange.send_piece(response, end)
        await response.write_eof()
        return response

    def _headers(self, exchange: Exchange, head: BlobHead, allowed: Visible) -> dict[str, str]:
        """What an answer tells of the blob; of one that a name points to, also which it is."""
        named = exchange.about is not None
        headers = self._finder.headers(head, cache=self._finder.cache(head, allowed, named=named))
        if named:
            headers["Content-Location"] = f"/{head.id}"
        return headers

    async def head(self, exchange: Exchange) -> web.Response:
        """HEAD: what GET says without a Range, which is defined for GET alone (RFC 9110 section 14.2)."""
        allowed = visible(exchange)
        _resolves_empty(exchange.headers)
        head = await self._finder.head(exchange, id_in_path(exchange), allowed)
        headers = self._headers(exchange, head, allowed)
        headers["Content-Length"] = str(head.properties.size)
        return web.Response(headers=headers)

    async def segment(self, exchange: Exchange) -> web.StreamResponse:
        """One data chunk, by its place in the blob: what `BlobChunkIds` lists, or the whole of a blob of one record."""
        blob_id = id_in_path(exchange)
        text = exchange.target.segments[2]
        if not (text.isascii() and text.isdigit() and len(text) <= _SEGMENT_DIGITS_MAX):
            raise InvalidRequest(f"a segment has a number, not {text[:20]!r}")
        number = int(text)
        with contextlib.closing(await chunk_list(exchange.context, self._router, blob_id)) as listed:
            count = max(1, len(listed.chunks))
            if number >= count:
                raise InvalidRequest(f"blob {blob_id} has {count} segments, numbered from 0")
            chunk = listed.chunks[number] if listed.chunks else None
            first = sum(before.size for before in listed.chunks[:number])
        wanted = RangeSpec(first, first + chunk.size - 1) if chunk is not None else None
        download = await open_blob(exchange.context, self._router, blob_id, wanted=wanted)
        try:
            digest = chunk.digest.hex() if chunk is not None else digest_of(download.head.properties)
            headers = {
                "Content-Type": "application/octet-stream",
                "Cache-Control": self._finder.cache(download.head, ALIVE),
                **GUARDS,
                names.DIGEST: digest,
                names.BLOB_SIZE: str(download.head.properties.size),
            }
            if exchange.method == "HEAD":
                headers["Content-Length"] = str(download.size)
                return web.Response(headers=headers)
            return await self._send(exchange, download, 200, headers)
        finally:
            download.close()

    async def _send(
        self, exchange: Exchange, download: Download, status: int, headers: dict[str, str]
    ) -> web.StreamResponse:
        if len(download.beginning) == download.size <= WHOLE_BYTES:
            # Head and body in one write.
            whole = web.Response(status=status, headers=headers, body=bytes(download.beginning))
            download.abort = exchange.give_way
            download.hand_all()
            return await exchange.send_whole(whole)
        response = StreamedAnswer(status=status, headers=headers, size=download.size)
        await self._write_all(exchange, response, download, {})
        await response.write_eof()
        return response

    async def _write_all(
        self, exchange: Exchange, response: StreamedAnswer, download: Download, before: Mapping[int, bytes]
    ) -> None:
        """Send all that is read, with what stands before some of its pieces, by where they begin.

        The head goes only when the first bytes are here: until then an error can be told.
        """
        download.abort = exchange.give_way
        download.unsent = exchange.unsent
        sent = 0
        async for data in download.stream():
            if not exchange.streaming:
                await exchange.send_head(response)
            if sent in before:
                await exchange.send_piece(response, before[sent])
            await exchange.send_piece(response, data)
            sent += len(data)
            del data  # it is not charged any more, and would live until the next piece is here


def _ranges_apply(exchange: Exchange, head: BlobHead) -> bool:
    """Whether the ranges of a request count, as its If-Range says."""
    if_range = exchange.headers.get("if-range")
    return range_applies(if_range, etag=etag_of(head.properties), modified_ms=head.created_at_ms)


def _resolves_empty(headers: Mapping[str, str]) -> bool:
    value = headers.get(names.RESOLVE_RANGE_ON_EMPTY_BLOB)
    return value is not None and values.flag(names.RESOLVE_RANGE_ON_EMPTY_BLOB, value)
