"""The chunk list of a large blob, read once for a request that reads many ranges of it."""

from __future__ import annotations

import asyncio

import msgspec

from ambry.checksum import BLOCK_SIZE
from ambry.ids import BlobId
from frontend.request import RequestContext
from frontend.router.composite import CompositeBlob, read_composite
from frontend.router.context import RouterContext

_Key = tuple[BlobId, bool]


class HeldList:
    """The list that one request read last, of one blob. `close` it in any case: it holds memory.

    What a blob holds never changes; whether it is there is asked once for all of the request, as with one range.
    """

    def __init__(self, context: RouterContext) -> None:
        self._context = context
        self._key: _Key | None = None
        self._whole: CompositeBlob | None = None
        self._coming: dict[_Key, asyncio.Event] = {}

    async def read(
        self, request: RequestContext, blob_id: BlobId, *, of: int, any_state: bool = False
    ) -> CompositeBlob:
        """As `read_composite`, whose `charged` is the caller's to give back each time. Raises what that raises."""
        key = blob_id, any_state
        if (coming := self._coming.get(key)) is not None:
            await coming.wait()
        if self._whole is not None and self._key == key:
            charged = self._whole.listed + BLOCK_SIZE
            if self._context.reading.budget.try_take(charged):
                return msgspec.structs.replace(self._whole, charged=charged)
            self.close()  # Nobody waits for memory with some in his hands.
        mine = self._coming[key] = asyncio.Event()
        try:
            whole = await read_composite(request, self._context, blob_id, of=of, any_state=any_state)
        finally:
            self._coming.pop(key, None)
            mine.set()
        self._keep(key, whole)
        return whole

    def close(self) -> bool:
        """Give its memory back; whether it had some. It may be read from again."""
        whole, self._whole, self._key = self._whole, None, None
        if whole is not None:
            self._context.reading.budget.give_back(whole.listed)
        return whole is not None

    def _keep(self, key: _Key, whole: CompositeBlob) -> None:
        self.close()
        if self._context.reading.budget.try_take(whole.listed):
            self._key, self._whole = key, whole
