"""What can be asked about a blob without its bytes: `/<id>/BlobInfo`, `/UserMetadata`, `/Replicas`, `/BlobChunkIds`."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
from aiohttp import web

from ambry.blob import NEVER_MS, ChunkRef
from ambry.checksum import DIGEST_SIZE
from ambry.ids import ID_TEXT_SIZE, BlobId
from ambry.rest import metadata, names
from ambry.rest.access import Role
from frontend.http.exchange import Exchange, StreamedAnswer, json_response
from frontend.http.inert import GUARDS
from frontend.http.route import Handle, Route
from frontend.rest.blob import ASK_FIRST, NOT_AT_ALL, BlobFinder, digest_of, id_in_path, visible
from frontend.rest.entry import OF_BLOB, Entry
from frontend.rest.resource import EVERYWHERE, READS
from frontend.router.composite import chunk_list
from frontend.router.context import RouterContext
from frontend.router.presence import presence
from frontend.who import in_container

ENTRIES_PER_PIECE = 256
"""Of a list of chunks; they take about as much as is charged for them beside the list, a block."""
_ENTRY = b'{"id":"%b","size":%d,"digest":"%b"}'


class About:
    """The calls that tell about a blob. What they tell may change, so none of it may be kept without asking."""

    def __init__(self, router: RouterContext, finder: BlobFinder, entry: Entry) -> None:
        self._router = router
        self._finder = finder
        self._entry = entry

    def routes(self) -> tuple[Route, ...]:
        def tell(name: str, handle: Handle, headers: frozenset[str] = EVERYWHERE) -> Route:
            return Route(
                op=name.lower(),
                methods=READS,
                target=f"/{{id}}/{name}",
                handle=handle,
                needs=in_container(Role.READ),
                enter=self._entry.by_path,
                headers=headers | OF_BLOB,
                select=self._finder.select_about,
            )

        of_any = EVERYWHERE | {names.GET_OPTION}
        return (
            tell("BlobInfo", self.blob_info, of_any),
            tell("UserMetadata", self.user_metadata, of_any),
            tell("Replicas", self.replicas),
            tell("BlobChunkIds", self.chunk_ids),
        )

    async def blob_info(self, exchange: Exchange) -> web.Response:
        """What a blob is."""
        blob_id = id_in_path(exchange)
        allowed = visible(exchange)
        head = await self._finder.head(exchange, blob_id, allowed)
        headers = self._finder.headers(head, cache=NOT_AT_ALL if allowed.any else ASK_FIRST)
        headers["Content-Type"] = "application/json"
        # They are of the blob's bytes, and these are others.
        for name in ("Content-Encoding", "Content-Disposition", "Accept-Ranges", "ETag", "Last-Modified"):
            headers.pop(name, None)
        body = {
            "id": str(blob_id),
            "size": head.properties.size,
            "digest": digest_of(head.properties),
            "content_type": head.properties.content_type,
            "filename": head.properties.filename,
            "created_at_ms": head.created_at_ms,
            "expires_at_ms": None if head.state.expires_at_ms == NEVER_MS else head.state.expires_at_ms,
            "life_version": head.state.life_version,
            "datacenter": self._router.map.datacenter_name(blob_id.datacenter),
            "partition": blob_id.partition,
            "user_metadata": head.metadata,
        }
        return web.Response(body=msgspec.json.encode(body) + b"\n", headers=headers)

    async def user_metadata(self, exchange: Exchange) -> web.Response:
        """The user metadata of a blob, as JSON and as headers."""
        allowed = visible(exchange)
        head = await self._finder.head(exchange, id_in_path(exchange), allowed)
        response = _answer(head.metadata, NOT_AT_ALL if allowed.any else ASK_FIRST)
        response.headers.update(metadata.encode(head.metadata))
        return response

    async def replicas(self, exchange: Exchange) -> web.Response:
        """What each replica of its partition knows of a blob."""
        blob_id = id_in_path(exchange)
        found = await presence(exchange.context, self._router, blob_id)
        return _answer({"id": str(blob_id), "partition": blob_id.partition, "replicas": found}, NOT_AT_ALL)

    async def chunk_ids(self, exchange: Exchange) -> web.StreamResponse:
        """The chunks of a blob.

        Told in pieces: the list of a large one is long, and whoever takes it slowly holds no second copy of it."""
        blob_id = id_in_path(exchange)
        with contextlib.closing(await chunk_list(exchange.context, self._router, blob_id)) as listed:
            chunks = listed.chunks
            before, after = b'{"id":"%b","chunks":[' % str(blob_id).encode(), b"]}"
            size = len(before) + sum(map(_entry_size, chunks)) + max(0, len(chunks) - 1) + len(after)
            headers = {"Content-Type": "application/json", **GUARDS, "Cache-Control": ASK_FIRST}
            if exchange.method == "HEAD":
                return web.Response(headers={**headers, "Content-Length": str(size)})
            response = StreamedAnswer(status=200, headers=headers, size=size)
            await exchange.send_head(response)
            listed.abort = exchange.give_way
            for start in range(0, max(1, len(chunks)), ENTRIES_PER_PIECE):
                entries = b",".join(map(_entry, chunks[start : start + ENTRIES_PER_PIECE]))
                listed.handed_at = asyncio.get_running_loop().time()
                await exchange.send_piece(response, (b"," if start else before) + entries)
            await exchange.send_piece(response, after)
            await response.write_eof()
        return response


def _entry(chunk: ChunkRef) -> bytes:
    return _ENTRY % (str(BlobId(chunk.id)).encode(), chunk.size, chunk.digest.hex().encode())


def _entry_size(chunk: ChunkRef) -> int:
    return len(_ENTRY % (b"", chunk.size, b"")) + ID_TEXT_SIZE + 2 * DIGEST_SIZE


def _answer(value: object, cache: str) -> web.Response:
    response = json_response(value)
    response.headers.update(GUARDS)
    response.headers["Cache-Control"] = cache
    return response
