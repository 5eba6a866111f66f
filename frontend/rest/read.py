"""Reads of a blob's bytes: `GET` and `HEAD` of `/<id>`, and of one of its chunks."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from functools import partial

from aiohttp import web

from ambry.errors import InvalidRequest
from ambry.rest import names, values
from ambry.rest.access import Role
from ambry.service.listener import unconfirmed
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
from frontend.router.get import open_blob
from frontend.router.held_lists import HeldList
from frontend.router.values import BlobHead, RangeSpec
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
        ranges = await self._ranges(exchange) if "range" in exchange.headers else ()
        if len(ranges) > 1:
            return await self._read_several(exchange, ranges)
        return await self._read_one(exchange, ranges[0] if ranges else None)

    async def _read_one(self, exchange: Exchange, wanted: RangeSpec | None) -> web.StreamResponse:
        """The whole blob, or one range of it."""
        resolve_empty = _resolves_empty(exchange.headers)
        allowed = visible(exchange)
        download = await open_blob(
            exchange.context,
            self._router,
            id_in_path(exchange),
            wanted=wanted,
            any_state=allowed.any,
            resolve_empty=resolve_empty,
            begun=exchange.begun,
        )
        try:
            head = download.head
            if allowed.any:
                self._finder.check(head, allowed)
            headers = self._headers(exchange, head, allowed)
            # Of an empty blob there is no part: its only range is resolved on request, to all of it.
            partial = wanted is not None and head.properties.size > 0
            if partial:
                [span] = download.spans
                headers["Content-Range"] = content_range(span.first, span.end, head.properties.size)
            return await self._send(exchange, download, 206 if partial else 200, headers)
        finally:
            download.close()

    async def _read_several(self, exchange: Exchange, ranges: Sequence[RangeSpec]) -> web.StreamResponse:
        """Several ranges in one answer, multipart/byteranges (RFC 9110 section 15.3.7.2), read one after the other."""
        blob_id = id_in_path(exchange)
        allowed = visible(exchange)
        head = await self._finder.head(exchange, blob_id, allowed)
        if not head.properties.size and _resolves_empty(exchange.headers):
            return await self._read_one(exchange, None)
        spans = spans_of(ranges, head.properties.size)
        if len(spans) < 2:
            return await self._read_one(exchange, RangeSpec(spans[0].first, spans[0].end - 1) if spans else None)
        # Nobody who stored a blob could know what this request's id would be.
        boundary = exchange.context.id
        part_heads = [part_head(boundary, head.properties.content_type, span, head.properties.size) for span in spans]
        end = last_boundary(boundary)
        headers = self._headers(exchange, head, allowed)
        headers["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
        # The blob's bytes are encoded, not what stands around them; and no browser shows a multipart.
        headers.pop("Content-Encoding", None)
        headers["Content-Disposition"] = disposition("multipart/byteranges", head.properties.filename) or "attachment"
        size = sum(map(len, part_heads)) + sum(span.size for span in spans) + len(end)
        response = StreamedAnswer(status=206, headers=headers, size=size)
        with contextlib.closing(HeldList(self._router)) as held_list:
            for span, before in zip(spans, part_heads, strict=True):
                # In any state: a blob that is deleted meanwhile is read to its end, as with one range.
                wanted = RangeSpec(span.first, span.end - 1)
                exchange.context.renew()
                download = await open_blob(
                    exchange.context, self._router, blob_id, wanted=wanted, any_state=True, held_list=held_list
                )
                try:
                    if not exchange.streaming:
                        await exchange.send_head(response)
                    await exchange.send_piece(response, before)
                    await self._write_all(exchange, response, download)
                finally:
                    download.close()
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

    async def _ranges(self, exchange: Exchange) -> tuple[RangeSpec, ...]:
        """The ranges that count; none for the whole blob."""
        headers = exchange.headers
        ranges = parse_ranges(headers["range"])
        if not ranges or "if-range" not in headers:
            return ranges
        head = await self._finder.head(exchange, id_in_path(exchange), visible(exchange))
        etag = etag_of(head.properties)
        return ranges if range_applies(headers["if-range"], etag=etag, modified_ms=head.created_at_ms) else ()

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
        await self._write_all(exchange, response, download)
        await response.write_eof()
        return response

    async def _write_all(self, exchange: Exchange, response: StreamedAnswer, download: Download) -> None:
        """Send all that is read. The head goes only when the first bytes are here: until then an error can be told."""
        download.abort = exchange.give_way
        download.unsent = partial(_unsent, exchange)
        async for data in download.stream():
            if not exchange.streaming:
                await exchange.send_head(response)
            await exchange.send_piece(response, data)
            del data  # it is not charged any more, and would live until the next piece is here


def _unsent(exchange: Exchange) -> int:
    return 0 if exchange.connection is None else unconfirmed(exchange.connection.transport)


def _resolves_empty(headers: Mapping[str, str]) -> bool:
    value = headers.get(names.RESOLVE_RANGE_ON_EMPTY_BLOB)
    return value is not None and values.flag(names.RESOLVE_RANGE_ON_EMPTY_BLOB, value)
