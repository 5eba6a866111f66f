"""`POST /batch/put`: many small blobs in one body of frames, one answer that says what became of each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from aiohttp import web

from ambry.checksum import digest
from ambry.clock import Clock
from ambry.errors import AmbryError, ChecksumMismatch, InvalidRequest, MediaTypeUnsupported
from ambry.rest import names, values
from ambry.rest.access import Role
from ambry.rest.frames import CONTENT_TYPE, HEADER_SIZE_MAX, ApiFrame, FrameReader
from frontend.containers.quota import Hold, Quotas
from frontend.http.body import body_of
from frontend.http.digests import DIGEST_HEADERS
from frontend.http.exchange import Exchange
from frontend.http.route import Route
from frontend.rest.batch_items import ITEMS_MAX, check_count, failed_item, told_items
from frontend.rest.entry import OF_BLOB, Entry, container_of
from frontend.rest.resource import EVERYWHERE
from frontend.rest.upload import Uploads
from frontend.rest.upload_headers import METADATA_PREFIXES, ON_UPLOAD, check_durability, check_lifetime, put_spec
from frontend.router.batch_puts import BatchPut, SmallBlob
from frontend.router.budget import Need
from frontend.router.context import RouterContext
from frontend.router.values import PutResult, PutSpec
from frontend.who import in_container

BLOB_BYTES_MAX = 1 << 20
"""Of one blob of a batch; a larger one is worth a request of its own."""
GROUP_BYTES_MAX = 2 << 20
GROUP_MAX = 512
"""Blobs that are put together."""
HELD_BYTES = 2 * GROUP_BYTES_MAX + 2 * (BLOB_BYTES_MAX + HEADER_SIZE_MAX)
"""What one request holds of the budget of uploads: a group, its body as it is sent, and a frame that is not whole yet."""

ON_BATCH_PUT = EVERYWHERE | OF_BLOB | {names.DURABILITY, names.TTL, names.OWNER_ID, names.PRIVATE}
"""Of the request: they hold for each of its blobs that says nothing else."""
_FOR_EACH = frozenset({names.SERVICE_ID, names.OWNER_ID, names.TTL, names.PRIVATE, names.DURABILITY})
_OF_ITEM = (ON_UPLOAD | {"content-type"}) - OF_BLOB - DIGEST_HEADERS - {names.DURABILITY, names.IDEMPOTENCY_KEY}


class BatchPuts:
    """The call that makes many blobs."""

    def __init__(self, router: RouterContext, entry: Entry, quotas: Quotas | None, *, clock: Clock) -> None:
        self._router = router
        self._entry = entry
        self._quotas = quotas
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                op="batch_put",
                methods=("POST",),
                target="/batch/put",
                handle=self.put,
                needs=in_container(Role.WRITE),
                enter=self._entry.to_upload,
                changes=True,
                takes_body=True,
                headers=ON_BATCH_PUT,
                select=Uploads.select_nothing,
                takes=(CONTENT_TYPE,),
            ),
        )

    async def put(self, exchange: Exchange) -> web.Response:
        """Store many small blobs, each with a status of its own."""
        kind = exchange.headers.get("content-type", "").partition(";")[0].strip(" \t").lower()
        if kind != CONTENT_TYPE:
            raise MediaTypeUnsupported(
                f"a batch of blobs is a body of {CONTENT_TYPE}, and not {kind[:60] or 'untyped'!r}"
            )
        shared = self._spec(exchange, {})  # what holds for all must be right before anything is stored
        budget = self._router.budget
        await budget.take(HELD_BYTES, Need.LARGE, timeout_s=self._router.config.memory_wait_ms / 1000)
        try:
            batch = BatchPut(exchange.context, self._router)
            try:
                answers = await self._put_all(exchange, batch)
            except BaseException:
                batch.forget()
                raise
        finally:
            budget.give_back(HELD_BYTES)
        exchange.noted["blobs"] = len(answers)
        answer = told_items(exchange, answers)
        answer.headers[names.DURABILITY] = shared.durability.name.lower()
        return answer

    async def _put_all(self, exchange: Exchange, batch: BatchPut) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = []
        group: list[tuple[int, SmallBlob]] = []
        specs: dict[tuple[tuple[str, str], ...], PutSpec] = {}
        """Of this group, by what blobs say of themselves: most of a batch say the same."""
        held = 0
        async for frame in self._frames(exchange):
            index = len(answers)
            if index >= ITEMS_MAX:
                raise InvalidRequest(f"a batch has at most {ITEMS_MAX} items, and this one more; send several")
            answers.append({})
            if group and (held + len(frame.body) > GROUP_BYTES_MAX or len(group) == GROUP_MAX):
                await self._put_group(exchange, batch, group, answers)
                group, held = [], 0
                specs.clear()  # they say when their blobs were made
            try:
                _check_digest(frame)
                said = tuple(frame.headers.items())
                spec = specs.get(said)
                if spec is None:
                    spec = specs[said] = self._spec(exchange, frame.headers)
                group.append((index, SmallBlob(spec, frame.body)))
                held += len(frame.body)
            except AmbryError as error:
                answers[index] = failed_item(index, error)
        check_count(len(answers))
        if group:
            await self._put_group(exchange, batch, group, answers)
        exchange.context.check_standing()
        self._entry.now(container_of(exchange)).check_active()
        return answers

    async def _put_group(
        self,
        exchange: Exchange,
        batch: BatchPut,
        group: list[tuple[int, SmallBlob]],
        answers: list[dict[str, Any]],
    ) -> None:
        fits: list[tuple[int, SmallBlob, Hold]] = []
        try:
            for index, blob in group:
                hold = Hold(self._quotas, container_of(exchange), len(blob.body))
                try:
                    await hold.begin()
                except AmbryError as error:
                    answers[index] = failed_item(index, error)
                else:
                    fits.append((index, blob, hold))
            results = await batch.put([blob for _, blob, _ in fits]) if fits else []
            for (index, _, hold), result in zip(fits, results, strict=True):
                stored = isinstance(result, PutResult)
                hold.end(stored=stored)
                answers[index] = _stored(index, result) if isinstance(result, PutResult) else failed_item(index, result)
        finally:
            for _, _, hold in fits:
                hold.end(stored=False)

    def _spec(self, exchange: Exchange, own: Mapping[str, str]) -> PutSpec:
        """What one blob is to be; `own` are its own headers. Raises InvalidRequest, HeadersTooLarge."""
        for name in own:
            if name not in _OF_ITEM and not name.startswith(METADATA_PREFIXES):
                raise InvalidRequest(f"{name[:60]} is not understood of a blob in a batch; leave it out")
        given = {name: value for name, value in exchange.headers.items() if name in _FOR_EACH}
        container = self._entry.now(container_of(exchange))
        spec = put_spec({**given, **own}, filename="", now_ms=self._clock.wall_ms(), durability=container.durability)
        check_lifetime(spec.expires_at_ms, container)
        check_durability(spec, self._router)
        return spec

    async def _frames(self, exchange: Exchange) -> AsyncIterator[ApiFrame]:
        reader = FrameReader(body_size_max=BLOB_BYTES_MAX)
        if exchange.body is not None:
            for frame in reader.feed(exchange.body):
                yield frame
        else:
            budget, wait_s = self._router.budget, self._router.config.memory_wait_ms / 1000
            body = body_of(exchange, budget=budget, wait_s=wait_s, digests=None)
            try:
                await exchange.continue_if_expected()
                async for piece in body:
                    if piece is not None:
                        for frame in reader.feed(piece):
                            yield frame
            finally:
                body.close()
        reader.close()


def _check_digest(frame: ApiFrame) -> None:
    """Take the digest that a blob says off its headers. Raises InvalidRequest, ChecksumMismatch."""
    expected = frame.headers.pop(names.DIGEST, None)
    if expected is not None and values.digest(expected) != digest(frame.body):
        raise ChecksumMismatch("the blob's xxh3-128 is not the one that was expected; it was not stored, send it again")


def _stored(index: int, result: PutResult) -> dict[str, Any]:
    return {"index": index, "status": 201, "id": str(result.id), "size": result.size, "digest": result.digest.hex()}
